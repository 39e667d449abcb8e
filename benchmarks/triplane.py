"""The triplane sampler against torch's `grid_sample`, `torch.compile` of it and plain Triton, on an NVIDIA GPU.

    python benchmarks/triplane.py --output benchmarks/RESULTS.md
    python benchmarks/triplane.py --rehearse          the same code, tiny, on the processor: does it run?

Times are medians of 20 calls by CUDA events, after a warm-up, each after a write of more than the L2 cache holds. A call of ours
is what the engine calls: operator, clearing, sorting and casting included. torch samples three planes in its own layout, and
nobody asks it to turn the samples around. The byte bound counts what must be read and written at least (points, planes once,
samples or their gradient once), at the bandwidth of a copy measured in the same run. What does not fit into `--seconds` is left
out; compiling comes last.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import gc
import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from results import table, write_section
from tetraview.kernels import programs, triplane
from torch import Tensor

SECTION = "gpu-triplane"
RUNS, FLUSH_BYTES, COPY_BYTES = 20, 2**31, 2**30
CHECKED_POINTS = 2**20
TOLERANCE = {torch.float32: 2e-3, torch.float16: 2e-2}
AXES = ((0, 1), (0, 2), (1, 2))


@dataclass
class Row:
    """One case of sampling.

    Attributes:
        name: Name of the set of points.
        points: Makes them: [N, 3] in -1..1.
        side, channels, dtype, objects: Size, type and number of the planes.
        compiled: Whether torch.compile is timed too: it takes seconds to compile.
        modes: Ways of the backward pass.
        times: Milliseconds, by direction and contestant; a text instead where it failed.
    """

    name: str
    points: Callable[[torch.device], Tensor]
    side: int
    channels: int
    dtype: torch.dtype = torch.float32
    objects: int = 1
    compiled: bool = True
    modes: tuple[str, ...] = ("atomic", "sorted")
    times: dict[str, float | str] = field(default_factory=dict)
    count: int = 0
    difference: float = 0.0

    def bytes_at_least(self, forward: bool) -> int:
        """KERNELS' bound: points, samples or their gradient, planes or theirs (in float)."""
        texels = self.objects * 3 * self.side**2 * self.channels
        moved = self.count * (12 + self.channels * self.dtype.itemsize)
        return moved + texels * (self.dtype.itemsize if forward else 4)


def lattice(steps: int) -> Callable[[torch.device], Tensor]:
    """Points of a cubic lattice, z fastest."""

    def make(device: torch.device) -> Tensor:
        axis = (torch.arange(steps, device=device) + 0.5) * (2 / steps) - 1
        return torch.cartesian_prod(axis, axis, axis)

    return make


def rays(objects: int, px: int, samples: int) -> Callable[[torch.device], Tensor]:
    """Samples along the pixels' rays of a camera at distance 4, one image for each object, samples fastest."""

    def make(device: torch.device) -> Tensor:
        across = ((torch.arange(px, device=device) + 0.5) * (2 / px) - 1) * 0.268  # 30 degrees
        directions = torch.stack([across.expand(px, px), torch.ones(px, px, device=device), across[:, None].expand(px, px)], -1)
        depth = 3 + (torch.arange(samples, device=device) + 0.5) * (2 / samples)
        points = directions.reshape(-1, 1, 3) * depth[:, None] - torch.tensor([0.0, 4.0, 0.0], device=device)
        return points.reshape(-1, 3).repeat(objects, 1)

    return make


def scattered(count: int) -> Callable[[torch.device], Tensor]:
    """Points in no order."""
    return lambda device: torch.rand(count, 3, device=device, generator=torch.Generator(device).manual_seed(0)) * 2 - 1


def surface(px: int, order: str) -> Callable[[torch.device], Tensor]:
    """Points of a bumpy sphere, one a texel of a square atlas: in its rows or in no order."""

    def make(device: torch.device) -> Tensor:
        u, v = torch.meshgrid(*[(torch.arange(px, device=device) + 0.5) / px] * 2, indexing="ij")
        azimuth, height = v.flatten() * 2 * torch.pi, u.flatten() * 1.98 - 0.99
        radius = 0.75 + 0.1 * torch.sin(5 * azimuth) * torch.cos(7 * height)
        ring = (1 - height**2).sqrt() * radius
        points = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), height * radius], 1)
        if order == "in no order":
            return points[torch.randperm(len(points), device=device, generator=torch.Generator(device).manual_seed(0))]
        return points

    return make


def all_rows(rehearse: bool) -> list[Row]:
    """The cases of the byte-bound table first, then those of the order of points and of the texture plane."""
    small, large, px, samples, count, atlas = (6, 8, 4, 6, 500, 16) if rehearse else (128, 256, 128, 96, 2**21, 1448)
    coarse, fine, texture = (4, 8, 16) if rehearse else (64, 256, 512)
    half = torch.float16
    rows = [
        Row(f"{small}³ lattice", lattice(small), coarse, 40),
        Row(f"{small}³ lattice", lattice(small), coarse, 80),
        Row(f"{small}³ lattice", lattice(small), fine, 32),
        Row(f"{large}³ lattice", lattice(large), fine, 32),
        Row(f"{large}³ lattice", lattice(large), fine, 32, half),
        Row(f"4 x {px}² rays of {samples}", rays(4, px, samples), fine, 32, objects=4),
        Row(f"{count:,} in no order", scattered(count), coarse, 40, compiled=False),
        Row(f"{count:,} in no order", scattered(count), fine, 32, compiled=False),
    ]
    orders = ("in its rows", "in no order")
    rows += [Row(f"{atlas}² of a surface, {order}", surface(atlas, order), texture, 32, compiled=False) for order in orders]
    return [rows[k] for k in (0, 2, 4, 5, -2, -1)] if rehearse else rows


class Bench:
    """Times calls on a device until its time is over."""

    def __init__(self, device: torch.device, seconds: float, runs: int) -> None:
        self.device, self.runs = device, runs
        self.end = time.monotonic() + seconds
        cuda = device.type == "cuda"
        memory = torch.cuda.get_device_properties(device).total_memory if cuda else 2048
        self.flush = torch.empty(min(FLUSH_BYTES, memory // 32), dtype=torch.uint8, device=device)
        size = COPY_BYTES if cuda else 2**16
        here, there = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
        ms = self.milliseconds(lambda: there.copy_(here))
        self.copy_gb_s = 2 * size / ms / 1e6

    def milliseconds(self, call: Callable[[], object]) -> float:
        """Median time of a call."""
        for _ in range(3):
            call()
        if self.device.type != "cuda":
            times = []
            for _ in range(self.runs):
                start = time.perf_counter()
                call()
                times.append((time.perf_counter() - start) * 1e3)
            return statistics.median(times)
        torch.cuda.synchronize(self.device)
        events = []
        for _ in range(self.runs):
            self.flush.zero_()  # takes the GPU longer than Python takes to queue the call
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize(self.device)
        return statistics.median(start.elapsed_time(end) for start, end in events)

    def note(self, row: Row, what: str, prepare: Callable[[], Callable[[], object]]) -> None:
        """Time what `prepare` gives and note it in the row, or why there is no time."""
        if time.monotonic() > self.end:
            row.times[what] = "no time"
            return
        try:
            row.times[what] = self.milliseconds(prepare())
        except Exception as error:  # one contestant that fails must not cost the others' figures
            row.times[what] = "no memory" if isinstance(error, torch.cuda.OutOfMemoryError) else "failed"
            print(f"  {what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def torch_sample(planes: list[Tensor], grids: list[Tensor]) -> Tensor:
    """Three planes [B, C, H, W] at grids [B, 1, n, 2], summed: [B, C, 1, n]."""
    xy, xz, yz = (F.grid_sample(plane, grid, align_corners=False) for plane, grid in zip(planes, grids, strict=True))
    return xy + xz + yz


def torch_inputs(planes: Tensor, points: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The same in torch's layout; the points of each object follow each other, as many for each."""
    layout = [planes[:, k].permute(0, 3, 1, 2).contiguous().requires_grad_() for k in range(3)]
    grids = [points[:, list(axes)].reshape(len(planes), 1, -1, 2).to(planes.dtype) for axes in AXES]
    return layout, grids


def scene(row: Row, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Planes, batch index, points."""
    points = row.points(device)
    row.count = len(points)
    shape = (row.objects, 3, row.side, row.side, row.channels)
    planes = torch.randn(shape, device=device, generator=torch.Generator(device).manual_seed(1)).to(row.dtype)
    index = torch.arange(row.objects, device=device).repeat_interleave(len(points) // row.objects)
    return planes.requires_grad_(), index, points


def check(row: Row, device: torch.device) -> None:
    """Compare with torch in float on some of the points: forward and all modes of the backward; notes the largest difference."""
    planes, index, points = scene(row, device)
    each = min(CHECKED_POINTS, len(points)) // row.objects
    points = points.reshape(row.objects, -1, 3)[:, :each].reshape(-1, 3).contiguous()
    index = torch.arange(row.objects, device=device).repeat_interleave(each)
    layout, grids = torch_inputs(planes.detach().float(), points)
    expected = torch_sample(layout, grids)
    upstream = torch.randn(expected.shape, device=device)
    backs = torch.stack(torch.autograd.grad(expected, layout, upstream), 1).permute(0, 1, 3, 4, 2)
    flat = upstream.squeeze(2).permute(0, 2, 1).reshape(len(points), -1)
    expected = expected.detach().squeeze(2).permute(0, 2, 1).reshape(len(points), -1)
    pairs = []

    def largest(pairs: list[tuple[Tensor, Tensor]]) -> float:
        return max(float((ours.float() - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)

    for mode in row.modes:
        samples = triplane.sample_triplanes(planes, index, points, mode=mode)
        (back,) = torch.autograd.grad(samples, planes, flat.to(row.dtype))
        pairs += [(samples.detach(), expected), (back, backs)]
    row.difference = largest(pairs)
    if not row.difference <= TOLERANCE[row.dtype]:
        raise SystemExit(f"{row.name}, {row.side}²: results differ by {row.difference:.1e} of the largest value")
    try:
        triton = importlib.import_module("triton_triplane")
        there = triton.sample(planes.detach(), index, points)
        difference = largest([(there, expected), (triton.gradient(flat.to(row.dtype), index, points, planes.shape), backs)])
        failed = "" if difference <= TOLERANCE[row.dtype] else "wrong"
    except ImportError:
        failed = "no Triton"
    except Exception as error:  # it is not what is measured here
        failed = "failed"
        print(f"  Triton: {type(error).__name__}: {error}", flush=True)
    if failed:
        row.times.update({"forward triton": failed, "backward triton": failed})


def time_ours(bench: Bench, row: Row) -> None:
    planes, index, points = scene(row, bench.device)
    with torch.no_grad():
        bench.note(row, "forward ours", lambda: lambda: triplane.sample_triplanes(planes, index, points))
    for mode in row.modes:

        def prepare(mode: str = mode) -> Callable[[], object]:
            samples = triplane.sample_triplanes(planes, index, points, mode=mode)
            upstream = torch.randn_like(samples)
            return lambda: torch.autograd.grad(samples, planes, upstream, retain_graph=True)

        bench.note(row, f"backward, {mode} ours", prepare)


def time_torch(bench: Bench, row: Row, name: str, function: Callable[[list[Tensor], list[Tensor]], Tensor]) -> None:
    planes, _, points = scene(row, bench.device)
    layout, grids = torch_inputs(planes.detach(), points)
    still = [plane.detach() for plane in layout]

    def forward() -> Tensor:
        with torch.no_grad():
            return function(still, grids)

    def prepare() -> Callable[[], object]:
        samples = function(layout, grids)
        upstream = torch.randn_like(samples)
        return lambda: torch.autograd.grad(samples, layout, upstream, retain_graph=True)

    bench.note(row, f"forward {name}", lambda: forward)
    bench.note(row, f"backward {name}", prepare)


def time_triton(bench: Bench, row: Row) -> None:
    if "forward triton" in row.times:  # it failed the check
        return
    triton = importlib.import_module("triton_triplane")
    planes, index, points = scene(row, bench.device)
    still = planes.detach()
    bench.note(row, "forward triton", lambda: lambda: triton.sample(still, index, points))
    upstream = torch.randn(len(points), row.channels, device=bench.device).to(row.dtype)
    bench.note(row, "backward triton", lambda: lambda: triton.gradient(upstream, index, points, planes.shape))


def shown(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def lines_of(rows: list[Row], copy_gb_s: float) -> str:
    """The table: a line for each pass of each row."""
    head = ("points", "planes", "pass", "torch ms", "compiled ms", "Triton ms", "ours ms", "x torch", "GB/s", "of the bound")
    lines = []
    for row in rows:
        sort = {torch.float32: "fp32", torch.float16: "fp16"}[row.dtype]
        planes = (
            f"{row.objects} x {row.side}², {row.channels} {sort}" if row.objects > 1 else f"{row.side}², {row.channels} {sort}"
        )
        for direction in ("forward", *(f"backward, {mode}" for mode in row.modes)):
            side = direction.split(",")[0]
            ours, theirs = row.times.get(f"{direction} ours"), row.times.get(f"{side} torch")
            others = [shown(row.times.get(f"{side} {name}")) for name in ("torch", "compiled", "triton")]
            ratio = speed = share = "-"
            if isinstance(ours, float):
                rate = row.bytes_at_least(side == "forward") / ours / 1e6
                speed, share = f"{rate:,.0f}", f"{100 * rate / copy_gb_s:.0f} %"
                ratio = f"{theirs / ours:.1f}" if isinstance(theirs, float) else "-"
            lines.append((row.name, planes, direction, *others, shown(ours), ratio, speed, share))
    return table(head, lines)


def report(rows: list[Row], bench: Bench) -> str:
    """The section: what it was measured on and how, and the table."""
    shapes = [(row.objects, 3, row.side, row.side, row.channels) for row in rows]
    sorts = [
        f"{row.name}, {row.side}²" for row, shape in zip(rows, shapes, strict=True) if triplane._sorting_pays(shape, row.count)
    ]
    return (
        f"{described(bench.device)}.\n\nA copy reaches {bench.copy_gb_s:,.0f} GB/s, read and write counted: the bound. Medians of"
        f" {bench.runs} calls, caches flushed. The three planes are summed. The backward pass is for the planes alone; torch's is"
        f" for the points too, which cannot be turned off, and its fp16 takes fp16 points. All agree with torch in fp32 on"
        f" {CHECKED_POINTS:,} points or fewer: largest difference {max(row.difference for row in rows):.0e} of the largest value."
        f" Of the backward passes the engine takes the atomic one, but the sorted one for: {'; '.join(sorts) or 'none of these'}."
        f"\n\n{lines_of(rows, bench.copy_gb_s)}"
    )


def described(device: torch.device) -> str:
    """Device, driver and versions."""
    if device.type != "cuda":
        return "no GPU: a rehearsal, not a measurement"
    versions = [f"torch {torch.__version__}", f"CUDA {torch.version.cuda}"]
    for package in ("triton", "cupy"):
        with contextlib.suppress(ImportError):
            versions.append(f"{package} {importlib.import_module(package).__version__}")
    with contextlib.suppress(Exception):
        versions.append(f"NVRTC {importlib.import_module('tetraview.kernels.nvrtc').version()}")
        driver = importlib.import_module("cupy").cuda.runtime.driverGetVersion()
        versions.append(f"driver for CUDA {driver // 1000}.{driver % 1000 // 10}")
    with contextlib.suppress(OSError):
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
        versions.append(next((f"driver {word}" for word in first.split() if word[:1].isdigit()), "driver unknown"))
    about = torch.cuda.get_device_properties(device)
    name = f"{about.name}, {about.multi_processor_count} multiprocessors, {about.total_memory / 2**30:.0f} GiB"
    return f"{name}; {', '.join(versions)}; {platform.system()}, Python {platform.python_version()}; {datetime.date.today()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=80, help="what is not begun by then is left out (default 80)")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the processor if there is no GPU")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"replace this file's section {SECTION}")
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    if not cuda and not options.rehearse:
        print("no CUDA GPU: not measured", file=sys.stderr)
        return 1
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    with contextlib.ExitStack() as stack:
        if not cuda:
            shim = importlib.import_module("tetraview.tests.kernels.cuda_on_cpu")
            stack.enter_context(programs.use_backend("cpu", shim.cpu_program))
        if programs.program("triplane", triplane.VARIANTS[0], device) is None:
            print("triplane.cu cannot be compiled or loaded here: not measured", file=sys.stderr)
            return 1
        save = functools.partial(write_section, options.output, SECTION) if options.output else lambda text: None
        print(measure(device, options.seconds, options.rehearse, save))
    return 0


def measure(device: torch.device, seconds: float, rehearse: bool, save: Callable[[str], None]) -> str:
    """Everything; the section's text, which is also saved as soon as there is one and whenever it grows."""
    bench = Bench(device, seconds, 3 if rehearse else RUNS)
    rows = all_rows(rehearse)
    for row in rows:
        start = time.monotonic()
        check(row, device)
        time_ours(bench, row)
        time_torch(bench, row, "torch", torch_sample)
        time_triton(bench, row)
        figures = ", ".join(f"{what} {shown(value)}" for what, value in row.times.items())
        print(f"{row.name}, {row.side}², in {time.monotonic() - start:.1f} s: {figures}", flush=True)
    text = report(rows, bench)
    save(text)
    for row in rows:
        if row.compiled:
            torch._dynamo.reset()
            backend = "inductor" if device.type == "cuda" else "aot_eager"
            time_torch(bench, row, "compiled", torch.compile(torch_sample, dynamic=False, backend=backend))
            figures = ", ".join(f"{what} {shown(value)}" for what, value in row.times.items() if "compiled" in what)
            print(f"{row.name}, {row.side}²: {figures}", flush=True)
            text = report(rows, bench)
            save(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
