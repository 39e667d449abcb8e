"""Every kernel once or more, small, against its torch twin: what compute-sanitizer watches.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck python benchmarks/every_kernel.py
    python benchmarks/every_kernel.py --rehearse       the same sources, compiled as C++, on the processor

Torch's and CuPy's allocators hand out parts of larger blocks, in which a read beyond the end goes unseen: hence the variable.
Fails if a result differs, or if a kernel of `kernels/*.cu` was not launched.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tetraview.engine.geometry.extract_on_device import lattice_tile
from tetraview.engine.geometry.lattice import Lattice
from tetraview.kernels import programs, raster, reference, reference_raster, reference_tets, sources, tets, triplane

_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(")
_TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


class Watched:
    """A program that notes which kernels are launched."""

    def __init__(self, program: sources.Program, launched: set[str]) -> None:
        self._program, self._launched = program, launched

    def launch(self, kernel: str, grid: int, block: int, args: Sequence[sources.Argument]) -> None:
        self._program.launch(kernel, grid, block, args)
        if grid:
            self._launched.add(kernel)


def watch(backend: programs.Backend, launched: set[str]) -> programs.Backend:
    """A backend whose programs note their launches, and that never leaves the work to a twin."""

    def watched(source: str, definitions: sources.Definitions, device: torch.device) -> sources.Program:
        program = backend(source, definitions, device)
        if program is None:
            raise SystemExit(f"{source}.cu cannot run on {device}")
        return Watched(program, launched)

    return watched


def kernels_of_sources() -> set[str]:
    """Names of all kernels in `kernels/*.cu`."""
    return {name for path in sources.FOLDER.glob("*.cu") for name in _KERNEL.findall(path.read_text(encoding="utf-8"))}


def check_triplane(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    cases = [
        (torch.float32, 32, 1, False), (torch.float32, 32, 2, False), (torch.float32, 5, 2, True),
        (torch.float16, 24, 1, True), (torch.bfloat16, 6, 2, False),
    ]  # fmt: skip
    for dtype, channels, objects, concat in cases:
        count = 517
        planes = torch.randn(objects, 3, 9, 9, channels, generator=generator).to(dtype)
        points = torch.randn(count, 3, generator=generator) * 0.7
        points[:3] = torch.tensor([[float("nan"), 0, 0], [1, -1, 1], [9, 9, 9]])
        index = torch.randint(objects, (count,), generator=generator)
        exact = planes.double().requires_grad_()
        expected = reference.sample_triplanes(exact, index, points.double(), concat)
        gradient = torch.randn(expected.shape, generator=generator)
        (expected_gradient,) = torch.autograd.grad(expected, exact, gradient.double())
        for mode in ("atomic", "sorted"):
            here = planes.to(device).requires_grad_()
            result = triplane.sample_triplanes(here, index.to(device), points.to(device), concat, mode=mode)
            (back,) = torch.autograd.grad(result, here, gradient.to(device, dtype))
            _same(f"triplane {dtype} {channels}", result, expected, _TOLERANCE[dtype])
            _same(f"triplane backward, {mode}, {dtype} {channels}", back, expected_gradient, 4 * _TOLERANCE[dtype])


def check_raster(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(60, 3, generator=generator, dtype=torch.float64) * torch.tensor([70.0, 50, 1]) + torch.tensor(
        [-5, -5, 0.5]
    )
    points[:, :2] *= points[:, 2:]
    faces = torch.randint(60, (40, 3), generator=generator)
    expected = reference_raster.rasterize(points, faces, 41, 59)
    result = raster.rasterize(points.to(device), faces.to(device), 41, 59)
    if not torch.equal(result.face_index.cpu(), expected.face_index):
        raise SystemExit("raster: other triangles than the twin's")
    _same("raster: barycentrics", result.barycentrics, expected.barycentrics, 1e-4)


def check_tets(device: torch.device) -> None:
    lattice = Lattice(16)
    points = lattice.positions(lattice.ijk(np.arange(lattice.n_verts)))
    sdf = torch.from_numpy((0.7 - np.linalg.norm(points, axis=1)).astype(np.float32))
    periods = torch.from_numpy(lattice.tet_periods())
    for index_dtype in (torch.int32, torch.int64):
        options = {"index_dtype": index_dtype}
        expected = reference_tets.march_lattice(sdf, periods, lattice_tile(torch.device("cpu")), 16, **options)
        result = tets.march_lattice(sdf.to(device), periods.to(device), lattice_tile(device), 16, **options)
        if not torch.equal(result.faces.cpu(), expected.faces):
            raise SystemExit("tets: other faces than the twin's")
        _same("tets: vertices", result.verts, expected.verts, 1e-6)


CHECKS: tuple[Callable[[torch.device], None], ...] = (check_triplane, check_raster, check_tets)


def _same(what: str, result: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    if result.shape != expected.shape:
        raise SystemExit(f"{what}: {tuple(result.shape)}, expected {tuple(expected.shape)}")
    scale = max(1.0, float(expected.detach().abs().max()))
    difference = float((result.detach().cpu().double() - expected.detach().double()).abs().max()) / scale
    if not difference <= tolerance:
        raise SystemExit(f"{what}: differs by {difference:.2e} of the largest value, more than {tolerance:.0e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="on the processor; needs a C++ compiler")
    options = parser.parse_args()
    if options.rehearse:
        device, backend = torch.device("cpu"), importlib.import_module("tetraview.tests.kernels.cuda_on_cpu").cpu_program
    elif torch.cuda.is_available():
        device, backend = (
            torch.device("cuda", torch.cuda.current_device()),
            importlib.import_module("tetraview.kernels.loader").cuda_program,
        )
    else:
        print("no CUDA GPU: not run", file=sys.stderr)
        return 1
    launched: set[str] = set()
    with programs.use_backend(device.type, watch(backend, launched)):
        for check in CHECKS:
            start = time.perf_counter()
            check(device)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            print(f"{check.__name__}: equal ({time.perf_counter() - start:.1f} s)", flush=True)
    left_out = kernels_of_sources() - launched
    if left_out:
        print(f"never launched: {', '.join(sorted(left_out))}", file=sys.stderr)
        return 1
    print(f"launched: {', '.join(sorted(launched))}")
    print(f"{len(launched)} kernels, all there are, equal to their twins")
    return 0


if __name__ == "__main__":
    sys.exit(main())
