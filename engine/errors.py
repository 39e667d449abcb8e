"""Errors that an artist may read: one sentence that says what is wrong and what to do."""

from __future__ import annotations


class EngineError(Exception):
    """A failure whose text is fit to show as it stands.

    Args:
        message: One sentence: what is wrong, and what to do about it.
        fix: Name of the operator or preference that fixes it, for a button beside the message; None without one.
    """

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


class InvalidRequestError(EngineError, ValueError):
    """The request cannot be run as it stands (a missing view, a budget out of range)."""


class PhotoError(EngineError):
    """A photo cannot be used; the message names the file."""


class WeightsError(EngineError):
    """Weights are missing, damaged or of another architecture."""


class EngineMissingError(EngineError):
    """The engine's private Python environment is not installed."""


class EngineStoppedError(EngineError):
    """The engine process ended or fell silent before the job was done.

    Args:
        exit_code: Its exit status, negative for a signal; None if it had to be killed.
        log_tail: The last lines of its log.
    """

    def __init__(
        self, message: str, *, fix: str | None = None, exit_code: int | None = None, log_tail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, fix=fix)
        self.exit_code = exit_code
        self.log_tail = log_tail


class CancelledError(EngineError):
    """The artist cancelled the job."""
