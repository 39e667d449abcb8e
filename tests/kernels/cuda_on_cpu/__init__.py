"""The kernels' own sources, compiled as C++ and run on the CPU: a backend of `kernels.programs`.

Each `.cu` is included after `cuda.h`, which supplies threads, barriers, warp functions, atomics and vector types; for each kernel
a launcher is generated from its signature. Needs a C++20 compiler (`c++`, or what CXX names).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tetraview.kernels.sources import FOLDER, HEADER, Argument, Definitions

HERE = Path(__file__).resolve().parent
FLAGS = (
    "-std=c++20",
    "-O1",
    "-g",
    "-fPIC",
    "-shared",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-ffp-contract=off",
)
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')
_SYNCHRONISES = re.compile(r"__sync|__shfl|__ballot|__any_sync|__all_sync|__match")

folder = Path(tempfile.mkdtemp(prefix="cuda-on-cpu-"))
"""Where the libraries of this process are built."""


def compiler() -> str | None:
    """The C++ compiler, None if there is none."""
    return shutil.which(os.environ.get("CXX", "c++"))


class CpuProgram:
    """A `.cu` as a shared library; see `kernels.sources.Program`.

    Attributes:
        seed: Order in which a block's threads take turns; 0: by their index.
    """

    def __init__(self, library: Path, kernels: dict[str, int], seed: int = 1) -> None:
        self._library, self._kernels, self.seed = ctypes.CDLL(str(library)), kernels, seed

    def launch(self, kernel: str, grid: int, block: int, args: Sequence[Argument]) -> None:
        if len(args) != self._kernels[kernel]:
            raise TypeError(f"{kernel} takes {self._kernels[kernel]} arguments, got {len(args)}")
        if not (0 <= grid < 2**31 and 1 <= block <= 1024):
            raise ValueError(f"a launch of {grid} blocks of {block} threads")
        if grid:
            fixed = (ctypes.c_longlong(grid), ctypes.c_longlong(block), ctypes.c_uint(self.seed))
            getattr(self._library, f"launch_{kernel}")(*fixed, *[_as_c(arg) for arg in args])


def cpu_program(source: str, definitions: Definitions, device: torch.device) -> CpuProgram:
    """A backend for `kernels.programs.use_backend("cpu", ...)`. The macro TETRAVIEW_ARCH may be among the definitions."""
    del device
    return build(FOLDER / f"{source}.cu", tuple(sorted(definitions.items())))


@functools.cache
def build(path: Path, definitions: tuple[tuple[str, str | int], ...] = ()) -> CpuProgram:
    """Compile one `.cu` with macros.

    Raises:
        RuntimeError: It does not compile; with what the compiler says.
    """
    text = path.read_text()
    kernels = _KERNEL.findall(text)
    if not kernels:
        raise ValueError(f"no kernel found in {path.name}")
    uses_fibers = "true" if _SYNCHRONISES.search(text) else "false"
    launchers = [_launcher(name, parameters, uses_fibers) for name, parameters in kernels]
    code = "\n".join([f'#include "{HERE / "cuda.h"}"', f'#include "{FOLDER / HEADER}"', f'#include "{path}"', *launchers])
    key = hashlib.sha256(repr((path, definitions)).encode()).hexdigest()[:12]
    unit, library = folder / f"{path.stem}-{key}.cpp", folder / f"{path.stem}-{key}.so"
    unit.write_text(code)
    macros = [f"-D{name}={value}" for name, value in definitions]
    done = subprocess.run([compiler() or "c++", *FLAGS, *macros, str(unit), "-o", str(library)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{path.name} does not compile as C++:\n{done.stderr}")
    return CpuProgram(library, {name: len(_split(parameters)) for name, parameters in kernels})


def _split(parameters: str) -> list[str]:
    return [parameter.strip() for parameter in parameters.split(",") if parameter.strip()]


def _launcher(name: str, parameters: str, uses_fibers: str) -> str:
    names = [re.split(r"[\s*&]+", parameter)[-1] for parameter in _split(parameters)]
    return (
        f'extern "C" void launch_{name}(long long grid_, long long block_, unsigned seed_, {parameters}) {{\n'
        f"    cuda_on_cpu::launch(grid_, block_, {uses_fibers}, seed_, [&] {{ {name}({', '.join(names)}); }});\n}}"
    )


def _as_c(arg: Argument) -> ctypes.c_void_p | ctypes.c_longlong | ctypes.c_float:
    if isinstance(arg, torch.Tensor):
        if not arg.is_contiguous() or arg.device.type != "cpu":
            raise ValueError(f"a kernel's tensor must be contiguous and on the CPU, got {tuple(arg.stride())} on {arg.device}")
        return ctypes.c_void_p(arg.data_ptr() or None)
    return ctypes.c_float(arg) if isinstance(arg, float) else ctypes.c_longlong(arg)
