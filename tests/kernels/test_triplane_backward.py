"""The gradient for the planes, in both modes, from the kernel's own source against the twin in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tetraview.kernels import programs, reference, triplane
from tetraview.kernels.triplane import sample_triplanes
from torch import Tensor

from . import cuda_on_cpu
from .test_triplane import CASES, ROUNDING, Case, scene


def gradients(
    device: torch.device, planes: Tensor, batch_index: Tensor, points: Tensor, upstream: Tensor, concat: bool = False, **options
) -> Tensor:
    """The gradient by the front, brought to the CPU."""
    planes = planes.to(device).requires_grad_()
    samples = sample_triplanes(planes, batch_index.to(device), points.to(device), concat, **options)
    (gradient,) = torch.autograd.grad(samples, planes, upstream.to(device))
    assert gradient.dtype == planes.dtype and gradient.device == device
    return gradient.cpu()


def twin_gradient(planes: Tensor, batch_index: Tensor, points: Tensor, upstream: Tensor, concat: bool = False) -> Tensor:
    """The gradient of the reference in float64, by torch's own differentiation."""
    planes = planes.detach().double().requires_grad_()
    samples = reference.sample_triplanes(planes, batch_index, points.double(), concat)
    return torch.autograd.grad(samples, planes, upstream.double())[0]


def upstream_of(points: Tensor, channels: int, dtype: torch.dtype, concat: bool = False) -> Tensor:
    random = torch.Generator().manual_seed(17)
    return torch.randn(len(points), channels * (3 if concat else 1), generator=random).to(dtype)


def assert_gradient(ours: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(
        ours.double(), expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype] * max(1.0, expected.abs().max())
    )


@pytest.mark.parametrize("mode", ["atomic", "sorted"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(CASES),
    objects=st.integers(0, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(0, 300),
    longest_run=st.sampled_from([1, 2, 5, 32]),
    seed=st.integers(0, 999),
)
def test_gradients_are_the_twin_s(
    kernel_device: torch.device,
    mode: str,
    case: Case,
    objects: int,
    height: int,
    width: int,
    count: int,
    longest_run: int,
    seed: int,
) -> None:
    dtype, channels, concat, batches = case
    planes, index, points = scene(batches[objects % len(batches)], height, width, channels, count, dtype, seed)
    upstream = upstream_of(points, channels, dtype, concat)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triplane, "_ATOMIC_THREADS", 1)
        patch.setattr(triplane, "_LONGEST_RUN", longest_run)
        ours = gradients(kernel_device, planes, index, points, upstream, concat, mode=mode)
    assert_gradient(ours, twin_gradient(planes, index, points, upstream, concat), dtype)


def curve(count: int, step: float, seed: int) -> Tensor:
    """Points along a path that turns: cells follow each other by steps of one along either axis, both, or more."""
    random = torch.Generator().manual_seed(seed)
    walk = (torch.randn(count, 3, generator=random) * step).cumsum(0)
    return (walk + 3).remainder(4).sub(2).abs() * 2.4 - 1.2  # to and fro in -1.2..1.2


@pytest.mark.parametrize("step", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("concat", [False, True])
def test_runs_along_a_path_lose_nothing_when_the_cell_moves(
    kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch, step: float, concat: bool
) -> None:
    monkeypatch.setattr(triplane, "_ATOMIC_THREADS", 1)
    channels = 40 if concat else 32
    planes = torch.zeros(2, 3, 9, 14, channels)
    points = curve(2000, step, 1)
    index = torch.arange(2000) // 37 % 2  # the object changes within runs
    upstream = upstream_of(points, channels, torch.float32, concat)
    ours = gradients(kernel_device, planes, index, points, upstream, concat, mode="atomic")
    assert_gradient(ours, twin_gradient(planes, index, points, upstream, concat), torch.float32)


def test_sorting_gives_the_same_bits_in_whatever_order_threads_run(kernel_device: torch.device) -> None:
    planes, index, points = scene(2, 5, 6, 32, 5000, torch.float32, 2)
    upstream = upstream_of(points, 32, torch.float32)
    results = []
    program = programs.program("triplane", triplane.definitions(torch.float32, 32), kernel_device)
    for seed in (0, 1, 2, 3):
        if isinstance(program, cuda_on_cpu.CpuProgram):
            program.seed = seed
        results.append(gradients(kernel_device, planes, index, points, upstream, mode="sorted"))
        assert torch.equal(results[-1], results[0])
    assert_gradient(results[0], twin_gradient(planes, index, points, upstream), torch.float32)


def test_determinism_asked_of_torch_beats_the_mode(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    planes, index, points = scene(2, 5, 6, 32, 100, torch.float32, 2)
    upstream, used = upstream_of(points, 32, torch.float32), []
    for mode in ("atomic", "sorted"):
        real = getattr(triplane, f"_backward_{mode}")
        monkeypatch.setattr(triplane, f"_backward_{mode}", lambda *args, m=mode, f=real: used.append(m) or f(*args))
    gradients(kernel_device, planes, index, points, upstream, mode="atomic")
    torch.use_deterministic_algorithms(True)
    try:
        gradients(kernel_device, planes, index, points, upstream, mode="atomic")
    finally:
        torch.use_deterministic_algorithms(False)
    gradients(kernel_device, planes, index, points, upstream, mode="sorted")
    gradients(kernel_device, planes, index, points, upstream)
    assert used == ["atomic", "sorted", "sorted", "atomic"]
    monkeypatch.setattr(triplane, "L2_BYTES", 1000)  # planes outgrow the cache, 100 points for 60 texels
    gradients(kernel_device, planes, index, points, upstream)
    gradients(kernel_device, planes, index[:50], points[:50], upstream[:50])
    assert used[4:] == ["sorted", "atomic"]


def test_auto_sorts_for_the_texture_plane_alone() -> None:
    assert triplane._sorting_pays([1, 3, 512, 512, 32], 2_000_000)
    assert not triplane._sorting_pays([1, 3, 512, 512, 32], 100_000)  # a sorted pass would visit mostly empty texels
    assert not triplane._sorting_pays([1, 3, 256, 256, 32], 256**3)
    assert not triplane._sorting_pays([4, 3, 256, 256, 32], 4 * 128**2 * 96)  # one object's at a time fit the cache
    assert not triplane._sorting_pays([1, 3, 64, 64, 80], 128**3)


@pytest.mark.parametrize("mode", ["atomic", "sorted"])
def test_nothing_outside_of_the_gradient_is_written(kernel_device: torch.device, mode: str) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 5, 7, 32, 999, torch.float32, 4))
    upstream = upstream_of(points, 32, torch.float32)
    expected = twin_gradient(planes.cpu(), index.cpu(), points.cpu(), upstream)
    program = programs.program("triplane", triplane.definitions(torch.float32, 32), kernel_device)
    assert program is not None

    def within_canaries(tensor: Tensor, fill: float) -> tuple[Tensor, Tensor]:
        buffer = torch.full((tensor.numel() + 512,), fill, dtype=tensor.dtype, device=kernel_device)
        return buffer, buffer[256:-256].view(tensor.shape).copy_(tensor)

    _, upstream_view = within_canaries(upstream, float("nan"))
    _, points_view = within_canaries(points, float("nan"))
    buffer, out = within_canaries(torch.zeros(planes.shape), 7.0)
    sizes = (2, 5, 7, 999)
    if mode == "atomic":
        args = (upstream_view, index, points_view, out, *sizes, 10)
        program.launch("triplane_backward_atomic", 20, 128, args)  # 2560 threads, 800 of them wanted
    else:
        cell_buffer, cells = within_canaries(torch.zeros(3, 999, dtype=torch.int32), -5)
        program.launch("triplane_cells", 4, 256, (index, points_view, cells, *sizes))
        assert (cell_buffer[:256] == -5).all() and (cell_buffer[-256:] == -5).all()
        assert cells.min() >= 0 and cells.max() == 2 * 6 * 8
        ordered, order = cells.sort(dim=1, stable=True)
        start = torch.searchsorted(ordered, torch.arange(97, dtype=torch.int32, device=kernel_device).expand(3, -1).contiguous())
        args = (upstream_view, points_view, order, start, out, *sizes)
        program.launch("triplane_backward_sorted", 60, 256, args)
    assert_gradient(out.cpu(), expected, torch.float32)
    assert (buffer[:256] == 7).all() and (buffer[-256:] == 7).all()


@pytest.mark.parametrize("mode", ["atomic", "sorted"])
def test_a_gradient_that_is_not_finite_stays_in_the_texels_that_were_read(kernel_device: torch.device, mode: str) -> None:
    """A tap outside has no texel, not that of the next row, of the next plane, or behind the last: 0 * inf would show there."""
    random = torch.Generator().manual_seed(3)
    points = torch.rand(300, 3, generator=random) * 1.8 - 0.9
    bad = torch.arange(0, 300, 7)
    sides = torch.tensor(
        [[1.0, 0.3, 0.3], [-1.0, -0.2, 0.4], [0.1, 1.0, 0.3], [0.4, -1.0, 0.1], [0.2, 0.3, 1.0], [0.3, 0.1, -1.0]]
    )
    points[bad] = sides.repeat(8, 1)[: len(bad)] + torch.rand(len(bad), 3, generator=random) * 0.02 - 0.01
    index = torch.arange(300) % 2
    planes, upstream = torch.zeros(2, 3, 5, 7, 32), torch.zeros(300, 32)
    upstream[bad] = 1.0
    read = twin_gradient(planes, index, points, upstream) > 0
    upstream[bad] = float("inf")
    ours = gradients(kernel_device, planes, index, points, upstream, mode=mode)
    assert torch.equal(ours == float("inf"), read)
    assert torch.equal(ours.isfinite(), ~read)
    assert 0.1 < read.float().mean() < 0.9


@pytest.mark.parametrize("arch", [0, 900])
def test_vector_and_scalar_atomics_agree(arch: int) -> None:
    """The same source with the architecture of a vector-atomics GPU and without."""
    planes, index, points = scene(1, 6, 6, 32, 400, torch.float32, 8)
    upstream = upstream_of(points, 32, torch.float32)

    def backend(source, macros, device):
        return cuda_on_cpu.cpu_program(source, {**macros, "TETRAVIEW_ARCH": arch} if arch else macros, device)

    with programs.use_backend("cpu", backend):
        ours = gradients(torch.device("cpu"), planes, index, points, upstream, mode="atomic")
    assert_gradient(ours, twin_gradient(planes, index, points, upstream), torch.float32)


@pytest.mark.parametrize("mode", ["atomic", "sorted"])
def test_points_take_no_gradient_and_every_object_its_own(kernel_device: torch.device, mode: str) -> None:
    planes, _, points = (tensor.to(kernel_device) for tensor in scene(3, 4, 4, 32, 60, torch.float32, 5))
    planes.requires_grad_()
    points = points.nan_to_num(0, 0, 0).clamp(-0.7, 0.7).requires_grad_()  # within the outermost centres
    index = torch.where(torch.arange(60) % 2 == 0, 0, torch.tensor([-1, 2**40, 2]).repeat(20)).to(kernel_device)
    samples = sample_triplanes(planes, index, points, mode=mode)
    for_planes, for_points = torch.autograd.grad(samples.sum(), (planes, points), allow_unused=True)
    assert for_points is None
    per_object = for_planes.sum((1, 2, 3, 4)) / (3 * 32)
    torch.testing.assert_close(per_object.cpu(), torch.tensor([30.0, 0.0, 10.0]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("concat", [False, True])
def test_the_twin_s_own_gradient_is_that_of_torch(concat: bool) -> None:
    planes, index, points = scene(2, 5, 7, 4, 300, torch.float64, 1)
    points = points.double()
    planes.requires_grad_()
    upstream = upstream_of(points, 4, torch.float64, concat)
    ours = reference.triplane_gradient(upstream, index, points, planes.shape, concat)
    samples = reference.sample_triplanes(planes, index, points, concat)
    torch.testing.assert_close(ours, torch.autograd.grad(samples, planes, upstream)[0], rtol=0, atol=1e-12)
    small = planes[:, :, :3, :2].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: reference.sample_triplanes(p, index[:20], points[:20], concat), small)
