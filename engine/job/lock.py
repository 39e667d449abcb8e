"""A lock on a job's folder, so that two jobs never write into one; it names its holder. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import EngineError

logger = logging.getLogger(__name__)

LOCK_NAME = ".tetraview-lock"
_FAR = 1 << 30
"""Windows locks a byte; this one lies behind the text, so that others may read who holds the lock."""
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder during the block.

    The system drops the lock when its holder ends, however it ends: the file that a killed job leaves locks nothing. Where the
    file system has no locks, the block runs without one.

    Raises:
        EngineError: Another job holds it; one sentence names that job.
        OSError: The lock's file cannot be written.
    """
    path = folder / LOCK_NAME
    file = _lock(path)
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(file, 0)
        os.write(file, json.dumps(holder).encode())
        yield
    finally:
        if sys.platform != "win32":  # first the name, then the lock: a new holder finds a file of its own
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(file)
        if sys.platform == "win32":  # an open file has to keep its name there
            with contextlib.suppress(OSError):
                path.unlink()


def _lock(path: Path) -> int:
    """The descriptor of the lock's file, locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _take(file)
            if _is_named(file, path):
                return file
        except OSError as error:
            if error.errno in _HELD:
                text = _holder(path)
                os.close(file)
                raise EngineError(text) from error
            logger.info("%s cannot be locked: %s", path, error)
            return file
        os.close(file)  # its holder has just removed it: begin again with a new one


def _take(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_named(file: int, path: Path) -> bool:
    """Whether the file still has its name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _holder(path: Path) -> str:
    """The sentence about who holds the lock."""
    who = ""
    with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f" (process {holder['pid']} on {holder['host']}, since {holder['started']})"
    return f"Another job is writing into {path.parent}{who}: wait for its end, or choose another output folder."
