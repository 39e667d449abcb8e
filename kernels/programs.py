"""One compiled `.cu` with its definitions, ready to launch, on whatever runs it.

The fronts (`triplane.py`, `raster.py`, `tets.py`) ask `program` for what they need and get None where nothing can run it: then
they call their torch twin. On a CUDA device `loader` compiles at run time; tests run the same sources on the CPU (`use_backend`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from .sources import Definitions, Program

Backend = Callable[[str, Definitions, torch.device], Program | None]

_backends: dict[str, Backend] = {}


def program(source: str, definitions: Definitions, device: torch.device) -> Program | None:
    """The program `<source>.cu` compiled with `definitions` as macros, for a device; None if that device runs none.

    Args:
        source: Name of the `.cu` file in this folder, without its suffix.
        definitions: Macros and their values.
        device: Device of the arguments of its launches.
    """
    backend = _backends.get(device.type)
    if backend is not None:
        return backend(source, definitions, device)
    if device.type == "cuda":
        from .loader import cuda_program

        return cuda_program(source, definitions, device)
    return None


def may_run(device: torch.device) -> bool:
    """Whether `program` may find something for a device; it compiles nothing, so that torch.compile can trace it."""
    return device.type == "cuda" or device.type in _backends


@contextlib.contextmanager
def use_backend(device_type: str, backend: Backend) -> Iterator[None]:
    """Have programs for a type of device made by `backend` within the block."""
    before = dict(_backends)
    _backends[device_type] = backend
    try:
        yield
    finally:
        _backends.clear()
        _backends.update(before)
