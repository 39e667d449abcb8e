"""Errors that an artist may read: one sentence that says what is wrong and what to do."""

from __future__ import annotations

import errno


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


_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "failed to map segment", "bad_alloc")
"""What libraries say, in small letters, that have errors of their own for a lack of memory."""


def explained(error: Exception) -> EngineError | None:
    """An error of the disk or of memory as one sentence for an artist; None if it is neither.

    An `EngineError` comes back as it is.
    """
    if isinstance(error, EngineError):
        return error
    number, said = getattr(error, "errno", None), str(error).lower()
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(word in said for word in _NO_MEMORY):
        return EngineError("The computer is out of memory: close other programs, or choose a smaller texture or fewer triangles.")
    if not isinstance(error, OSError) or error.errno is None:
        return None
    place = error.filename2 or error.filename
    where = f"{place}" if place else "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return EngineError(f"There is no room left to write {where}: free some space on the disk, or choose another folder.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EngineError(f"You may not write or read {where}: choose another folder, or change its permissions.")
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ESTALE):
        return EngineError(f"The file or folder {where} cannot be reached: check that its disk is connected, and try again.")
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        kind = "a folder" if error.errno == errno.EISDIR else "a file"
        return EngineError(f"The file {where} cannot be written, because {kind} is in its place: choose another name.")
    return EngineError(f"The file {where} cannot be used ({error.strerror}): choose another place, or try again.")
