"""NVRTC, NVIDIA's run-time compiler, bound through ctypes: from a `.cu` of this folder to machine code for one architecture.

Needs no GPU, no CUDA toolkit and no compiler: one wheel (`nvidia-cuda-nvrtc`, a dependency of PyTorch's CUDA builds), whose
library is opened by its absolute path. What LD_LIBRARY_PATH, CUDA_PATH or CUDA_HOME point to does not matter. Nothing is
opened before the first use.
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .sources import FOLDER, HEADER, Definitions

OPTIONS = ("-std=c++17", "-lineinfo", "--ptxas-options=-v")
"""Options of every compilation; -v puts registers and spills into the log."""

_LIBRARIES = (
    ("nvidia/cu13/lib", "libnvrtc.so.*", "libnvrtc-builtins.so.*"),
    ("nvidia/cu13/bin", "**/nvrtc64_*_0.dll", "**/nvrtc-builtins64_*.dll"),
    ("nvidia/cuda_nvrtc/lib", "libnvrtc.so.*", "libnvrtc-builtins.so.*"),
    ("nvidia/cuda_nvrtc/bin", "**/nvrtc64_*_0.dll", "**/nvrtc-builtins64_*.dll"),
)
"""Folder in site-packages, the compiler and what it loads by name; CUDA 13's wheel, then CUDA 12's, on Linux and Windows."""

_ENTRY = re.compile(r"ptxas info\s*: Compiling entry function '(\w+)' for '\w+'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"ptxas info\s*: Used (\d+) registers(.*)")


class NvrtcError(Exception):
    """NVRTC is not there, does not know the architecture, or cannot compile the source; the text holds what it said."""


@dataclass(frozen=True)
class Resources:
    """Resources of one kernel.

    Attributes:
        registers: 32-bit registers per thread.
        spill_bytes: Stored to and loaded from local memory for want of registers, a thread.
        stack_bytes: Local memory, a thread.
        shared_bytes: Static shared memory, a block.
    """

    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Cubin:
    """A compiled `.cu`.

    Attributes:
        data: An ELF file for one architecture; PTX if the target was a virtual one.
        log: The compiler's output: warnings, and the resources of each kernel.
    """

    data: bytes
    log: str

    @property
    def resources(self) -> dict[str, Resources]:
        """Read from the log, by kernel; empty for PTX, whose registers the driver assigns."""
        return parse_resources(self.log)


def find_libraries(roots: Sequence[str | Path] | None = None, cuda: str | None = torch.version.cuda) -> tuple[Path, Path]:
    """Absolute paths of NVRTC and of the built-in functions it loads, from the wheel.

    Args:
        roots: Folders that packages are installed in; None for those of this Python, its own site-packages first.
        cuda: Version of CUDA that torch was built for: if two wheels are there, the one of that major version is taken.

    Raises:
        NvrtcError: There is no such wheel.
    """
    if roots is None:
        paths = sysconfig.get_paths()
        roots = list(dict.fromkeys([paths["platlib"], paths["purelib"], *filter(None, sys.path)]))
    found = list(_find(roots))
    if not found:
        raise NvrtcError("NVRTC is not installed: install the CUDA engine again (package nvidia-cuda-nvrtc).")
    wanted = (cuda or "").split(".")[0]
    _, library, builtins = next((entry for entry in found if entry[0] == wanted), found[0])
    return library, builtins


def _find(roots: Sequence[str | Path]) -> Iterator[tuple[str, Path, Path]]:
    """Major version, compiler and built-ins of every wheel, the newest major version of each root first."""
    for root in roots:
        for folder, library, builtins in _LIBRARIES:
            for path in sorted(Path(root, folder).glob(library)):
                beside = [one for one in sorted(Path(root, folder).glob(builtins)) if one.parent == path.parent]
                if beside:
                    yield "13" if "cu13" in folder else "12", path.absolute(), beside[-1].absolute()


@functools.cache
def _library() -> ctypes.CDLL:
    """NVRTC, opened once. The built-ins are opened before it: it asks for them by bare name and then gets these."""
    path, builtins = find_libraries()
    try:
        ctypes.CDLL(str(builtins))
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NvrtcError(f"NVRTC cannot be loaded ({error}): install the CUDA engine again.") from error
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    program, text = ctypes.c_void_p, ctypes.c_char_p
    texts = ctypes.POINTER(ctypes.c_char_p)
    library.nvrtcCreateProgram.argtypes = [ctypes.POINTER(program), text, text, ctypes.c_int, texts, texts]
    library.nvrtcCompileProgram.argtypes = [program, ctypes.c_int, texts]
    library.nvrtcDestroyProgram.argtypes = [ctypes.POINTER(program)]
    for what in ("CUBIN", "PTX", "ProgramLog"):
        getattr(library, f"nvrtcGet{what}Size").argtypes = [program, ctypes.POINTER(ctypes.c_size_t)]
        getattr(library, f"nvrtcGet{what}").argtypes = [program, ctypes.c_char_p]
    return library


def version() -> str:
    """Version of NVRTC, such as "13.0".

    Raises:
        NvrtcError: It is not there.
    """
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


@functools.cache
def known_archs() -> tuple[int, ...]:
    """Architectures that NVRTC compiles for, rising: 75, 80, ..., 120.

    Raises:
        NvrtcError: It is not there.
    """
    count = ctypes.c_int()
    _check(_library().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    archs = (ctypes.c_int * count.value)()
    _check(_library().nvrtcGetSupportedArchs(archs))
    return tuple(sorted(archs))


def best_target(arch: int, known: Sequence[int]) -> str:
    """Choose the target to compile for, for a GPU of an architecture.

    Args:
        arch: Ten times its compute capability: 89 for 8.9.
        known: Architectures the compiler knows, see `known_archs`.

    Returns:
        "sm_89" (machine code) for the GPU itself or the newest older one of its major version, whose code it runs; for a newer
        major version "compute_121" (PTX, which its driver translates), of the newest known.

    Raises:
        NvrtcError: The GPU is older than all of them.
    """
    older = [one for one in known if one <= arch]
    if not older:
        raise NvrtcError(f"A GPU of compute capability {arch / 10} is too old: its kernels need {min(known) / 10} or newer.")
    newest = max(older)
    return f"sm_{newest}" if newest // 10 == arch // 10 else f"compute_{newest}"


def compile_cubin(source: str | Path, definitions: Definitions, arch: int) -> Cubin:
    """Machine code of a `.cu` for one architecture.

    Args:
        source: Name of the `.cu` in this folder, without its suffix, or a path of one elsewhere. `device.cuh` is put before it.
        definitions: Macros and their values.
        arch: Ten times the compute capability: 90 for an H100.

    Raises:
        NvrtcError: It does not compile, with NVRTC's log; or NVRTC is not there, or does not know the architecture.
    """
    return compile_source(source, definitions, f"sm_{arch}")


def source_path(source: str | Path) -> Path:
    """The file of a `.cu`: `source` itself if it is a path, else in this folder."""
    return source if isinstance(source, Path) else FOLDER / f"{source}.cu"


def compile_source(source: str | Path, definitions: Definitions, target: str) -> Cubin:
    """As `compile_cubin`, for a target of `best_target`: "sm_90", or "compute_90" for PTX."""
    path = source_path(source)
    text = f'#include "{HEADER}"\n#line 1 "{path.name}"\n{path.read_text(encoding="utf-8")}'
    header = (FOLDER / HEADER).read_text(encoding="utf-8")
    options = [f"--gpu-architecture={target}", *OPTIONS, *(f"-D{name}={value}" for name, value in sorted(definitions.items()))]
    library, program = _library(), ctypes.c_void_p()
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), path.name.encode(), 1, _texts([header]), _texts([HEADER])
    )
    _check(created)
    try:
        result = library.nvrtcCompileProgram(program, len(options), _texts(options))
        log = _read(library, program, "ProgramLog").decode("utf-8", "replace").rstrip("\0\n ")
        if result:
            raise NvrtcError(f"{path.name} does not compile for {target} ({' '.join(options)}):\n{log or _reason(result)}")
        return Cubin(_read(library, program, "CUBIN" if target.startswith("sm_") else "PTX"), log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def parse_resources(log: str) -> dict[str, Resources]:
    """Resources of each kernel from what `--ptxas-options=-v` prints."""
    found: dict[str, Resources] = {}
    name, stack, spill = "", 0, 0
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            name, stack, spill = entry[1], 0, 0
        elif frame := _STACK.search(line):
            stack, spill = int(frame[1]), int(frame[2]) + int(frame[3])
        elif (used := _USED.search(line)) and name:
            shared = re.search(r"(\d+) bytes smem", used[2])
            found[name] = Resources(int(used[1]), spill, stack, int(shared[1]) if shared else 0)
    return found


def _texts(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


def _read(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(library, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _reason(result: int) -> str:
    return str(_library().nvrtcGetErrorString(result).decode())


def _check(result: int) -> None:
    if result:
        raise NvrtcError(f"NVRTC failed: {_reason(result)}.")
