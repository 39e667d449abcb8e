"""From a `.cu` of this folder to kernels that launch on torch's stream: compiled at first use, kept on disk, loaded by CuPy.

NVRTC (`nvrtc`) makes machine code for the very GPU, into `kernels/` of the user's data folder, under a name that changes with all
that it depends on. CuPy only loads and launches it; all memory is torch's. If any of that fails, one warning says so, the failure
is remembered, and the fronts run their torch twins. Neither CuPy nor NVRTC is touched before a front asks for a CUDA device.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import logging
import os
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from . import nvrtc
from .sources import FOLDER, HEADER, Argument, Definitions, Program

logger = logging.getLogger(__name__)

_programs: dict[tuple[str, tuple[tuple[str, str | int], ...], int], CudaProgram | None] = {}
_warned: set[str] = set()
_lock = threading.RLock()


class _Stream:
    """A stream of torch as CuPy takes it; not every version of torch's own class has this method."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


class CudaProgram:
    """A `.cu` on a GPU; see `sources.Program`.

    Args:
        module: CuPy's module, loaded on that GPU.
        device: The GPU, with its index.
        cupy: The module `cupy`.
    """

    def __init__(self, module: Any, device: torch.device, cupy: Any) -> None:
        self._module, self._device, self._cupy = module, device, cupy
        self._functions: dict[str, Any] = {}

    def launch(self, kernel: str, grid: int, block: int, args: Sequence[Argument]) -> None:
        if not (0 <= grid < 2**31 and 1 <= block <= 1024):
            raise ValueError(f"a launch of {grid} blocks of {block} threads")
        values = [self._value(kernel, arg) for arg in args]
        if not grid:
            return
        with _current(self._cupy, self._device):
            if kernel not in self._functions:
                self._functions[kernel] = self._module.get_function(kernel)
            stream = _Stream(torch.cuda.current_stream(self._device).cuda_stream)
            self._functions[kernel]((grid,), (block,), values, stream=self._cupy.cuda.Stream.from_external(stream))

    def _value(self, kernel: str, arg: Argument) -> numpy.generic:
        """An argument as CuPy passes it on, in eight bytes or, for a float, four."""
        if isinstance(arg, Tensor):
            if not arg.is_contiguous() or arg.device != self._device:
                raise ValueError(
                    f"{kernel}: a tensor must be contiguous and on {self._device}, got strides {arg.stride()} on {arg.device}"
                )
            return numpy.uint64(arg.data_ptr())
        if isinstance(arg, int):
            return numpy.int64(arg)
        if isinstance(arg, float):
            return numpy.float32(arg)
        raise TypeError(f"{kernel}: an argument must be a tensor, an int or a float, got {type(arg).__name__}")


def cuda_program(source: str, definitions: Definitions, device: torch.device) -> Program | None:
    """The backend of `programs.program` for CUDA devices: compiled and loaded once per process and GPU.

    Args:
        source: Name of the `.cu` file in this folder, without its suffix.
        definitions: Macros and their values.
        device: A CUDA device; without an index, the current one.

    Returns:
        None if it cannot run there; the first time for each source, a warning says why. Later calls fail at once.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    key = (source, tuple(sorted(definitions.items())), index)
    with _lock:
        if key not in _programs:
            try:
                _programs[key] = _load(source, definitions, torch.device("cuda", index))
            except Exception as error:  # CuPy, NVRTC and the driver fail each in their own way
                _programs[key] = None
                _warn(source, error)
        return _programs[key]


def sources() -> tuple[str, ...]:
    """Names of the `.cu` files of this folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.cu")))


def variants(source: str) -> tuple[Definitions, ...]:
    """The definitions that the front of a `.cu` compiles it with: its constant `VARIANTS`.

    Raises:
        AttributeError: The front lists none.
    """
    found: tuple[Definitions, ...] = importlib.import_module(f".{source}", __package__).VARIANTS
    return found


def target(device: torch.device) -> str:
    """The architecture that is compiled for a CUDA device, such as "sm_90".

    Raises:
        nvrtc.NvrtcError: Nothing can be.
    """
    if torch.version.hip:
        raise nvrtc.NvrtcError("The kernels need an NVIDIA GPU.")
    major, minor = torch.cuda.get_device_capability(device)
    return nvrtc.best_target(10 * major + minor, nvrtc.known_archs())


def cache_folder() -> Path:
    """Folder of the compiled kernels in the user's data folder, whose rule is that of the engine's `job.folder.default_home`."""
    if chosen := os.environ.get("TETRAVIEW_HOME"):
        home = Path(chosen).expanduser().absolute()
    elif sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "Tetraview"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support" / "Tetraview"
    else:
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tetraview"
    return home / "kernels"


def cache_key(source: str | Path, definitions: Definitions, target: str, driver: int) -> str:
    """Name under which machine code is kept: a hash of everything that it depends on.

    Args:
        source, definitions, target: See `nvrtc.compile_source`.
        driver: Version of the driver, as CUDA counts.
    """
    texts = [path.read_text(encoding="utf-8") for path in (nvrtc.source_path(source), FOLDER / HEADER)]
    facts = [*texts, sorted(definitions.items()), target, nvrtc.OPTIONS, nvrtc.version(), driver]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def machine_code(source: str | Path, definitions: Definitions, target: str, driver: int, folder: Path) -> bytes:
    """The result of `nvrtc.compile_source`, read from disk if it is there and whole, else compiled now and stored.

    A file holds the hash of the code and the code. A folder that cannot be written costs time at the next start, nothing else.

    Raises:
        nvrtc.NvrtcError: It does not compile.
    """
    path = folder / f"{nvrtc.source_path(source).stem}-{cache_key(source, definitions, target, driver)[:32]}.bin"
    with contextlib.suppress(OSError):
        kept = path.read_bytes()
        if hashlib.sha256(kept[32:]).digest() == kept[:32]:
            return kept[32:]
        logger.warning("%s is damaged and is compiled again", path)
    code = nvrtc.compile_source(source, definitions, target).data
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("cannot keep %s: %s", path, error)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return code


def _load(source: str, definitions: Definitions, device: torch.device) -> CudaProgram:
    arch = target(device)
    with torch.cuda.device(device):  # importing CuPy may change the current device
        cupy = _cupy()
    code = machine_code(source, definitions, arch, int(cupy.cuda.runtime.driverGetVersion()), cache_folder())
    with _current(cupy, device):
        module = cupy.cuda.function.Module()
        module.load(code)
    return CudaProgram(module, device, cupy)


@functools.cache
def _cupy() -> Any:
    """The module `cupy`, which from then on draws memory from torch's pool, should it ever need any: two pools would starve each
    other."""
    import cupy

    def allocate(size: int, index: int) -> int:
        return int(torch.cuda.caching_allocator_alloc(size, index, torch.cuda.current_stream(index)))

    def free(address: int, index: int) -> None:
        del index
        torch.cuda.caching_allocator_delete(address)

    cupy.cuda.set_allocator(cupy.cuda.PythonFunctionAllocator(allocate, free).malloc)
    return cupy


@contextlib.contextmanager
def _current(cupy: Any, device: torch.device) -> Iterator[None]:
    """Have both libraries regard `device` as the current one: each asks a CUDA runtime of its own."""
    with torch.cuda.device(device), cupy.cuda.Device(device.index):
        yield


def _warn(source: str, error: Exception) -> None:
    if source in _warned:
        return
    _warned.add(source)
    reason = str(error).strip() or type(error).__name__
    warnings.warn(
        f"The compiled {source} kernels cannot run on this graphics card, slower PyTorch code takes their place; "
        f"update the NVIDIA driver or install the CUDA engine again. The reason: {reason}",
        RuntimeWarning,
        stacklevel=4,
    )
