"""Errors of the disk and of memory in words for an artist."""

from __future__ import annotations

import errno
import os

import pytest
from tetraview.engine.errors import EngineError, PhotoError, explained


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no room left"), (errno.EACCES, "permissions"), (errno.EROFS, "permissions"),
        (errno.ENOENT, "cannot be reached"), (errno.EIO, "cannot be reached"), (errno.EISDIR, "a folder is in its place"),
        (errno.ENOTDIR, "a file is in its place"), (errno.ELOOP, "cannot be used"),
    ],
)  # fmt: skip
def test_errors_of_the_disk_name_the_place_and_what_to_do(number: int, words: str) -> None:
    known = explained(OSError(number, os.strerror(number), "/lost/chair.glb"))
    assert isinstance(known, EngineError)
    assert words in str(known) and "/lost/chair.glb" in str(known) and str(known).count(". ") == 0


def test_memory_is_said_whoever_ran_out_of_it() -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")):
        assert "out of memory" in str(explained(error))


def test_what_is_neither_is_left_alone() -> None:
    error = PhotoError("The photo is upside down.")
    assert explained(error) is error
    assert explained(ZeroDivisionError("by us")) is None
    assert explained(OSError("without a number")) is None
