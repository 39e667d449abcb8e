"""Messages between Blender and the engine process: one JSON object per line, UTF-8, over the child's stdin and stdout.

Commands, to the engine (`"command"`):
    generate {job_id, request, stop_after}   cancel {job_id}   ping {token}   shutdown
Messages, from the engine (`"message"`):
    hello {protocol, engine_version, python, torch, device, note, pid}   once, when it can take jobs
    event {job_id, event}                    an event of `types.py`, as `event_to_dict` writes it
    error {job_id, kind, text, fix}          the job failed; `kind` is a class of `errors.py`; job_id null: no job's fault
    done {job_id}   cancelled {job_id}       the last message of a job, as is error
    pong {token}   heartbeat {}

Standard library only; both sides import it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import errors, request_fields
from ..types import GenerateRequest

PROTOCOL_VERSION = 2
HEARTBEAT_S = 1.0
MAX_LINE_BYTES = 1 << 20

_ERROR_KINDS: dict[str, type[errors.EngineError]] = {
    cls.__name__: cls
    for cls in (
        errors.EngineError,
        errors.InvalidRequestError,
        errors.PhotoError,
        errors.WeightsError,
        errors.EngineMissingError,
        errors.EngineStoppedError,
        errors.CancelledError,
    )
}


class ProtocolError(ValueError):
    """A line that is not a message of this protocol."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One line, with its newline."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes, key: str) -> dict[str, Any]:
    """The message in a line.

    Args:
        line: One line, with or without its newline.
        key: "command" or "message": the field that names what it is.

    Raises:
        ProtocolError: Too long, no JSON, no object, or `key` is missing.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"a line of {len(line)} bytes is longer than {MAX_LINE_BYTES}")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get(key), str):
        raise ProtocolError(f"no {key!r} in {line[:80]!r}")
    return message


def request_to_dict(request: GenerateRequest) -> dict[str, Any]:
    """The request, ready for JSON."""
    return request_fields.request_to_dict(request)


def request_from_dict(fields: Any) -> GenerateRequest:
    """The request that `request_to_dict` was given.

    Raises:
        InvalidRequestError: A field is missing, unknown or of another type.
    """
    request: GenerateRequest = request_fields.request_from_dict(GenerateRequest, fields)
    return request


def error_to_dict(error: errors.EngineError) -> dict[str, Any]:
    """`kind`, `text` and `fix` of an error message."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _ERROR_KINDS)
    return {"kind": kind, "text": str(error), "fix": error.fix}


def error_from_dict(message: Mapping[str, Any]) -> errors.EngineError:
    """The error that `error_to_dict` was given; an `EngineError` if its kind is unknown here."""
    cls = _ERROR_KINDS.get(str(message.get("kind")), errors.EngineError)
    fix = message.get("fix")
    return cls(str(message.get("text", "The engine failed and did not say why.")), fix=fix if isinstance(fix, str) else None)
