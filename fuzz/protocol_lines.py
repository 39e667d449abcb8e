"""A line between Blender and the engine process, read by either side."""

from __future__ import annotations

import contextlib

from tetraview.engine.errors import EngineError, InvalidRequestError
from tetraview.engine.process import protocol
from tetraview.engine.types import event_from_dict


def run(data: bytes) -> None:
    """Read the bytes as a command and as a message; only the errors that the two sides answer are expected."""
    for key in ("command", "message"):
        try:
            line = protocol.decode(data, key)
        except protocol.ProtocolError:
            continue
        assert protocol.decode(protocol.encode(line), key) == line or "NaN" in repr(line) or "nan" in repr(line)
        assert isinstance(protocol.error_from_dict(line), EngineError)
        with contextlib.suppress(InvalidRequestError):
            protocol.request_from_dict(line.get("request")).check()
        with contextlib.suppress(ValueError, TypeError, KeyError):  # the client then ends its jobs
            event_from_dict(line["event"])
