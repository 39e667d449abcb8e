"""The separable sampling of a lattice against point-wise sampling: values, gradients, and how they come about."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.kernels.lattice import add_tables, axis_weights, first_layer_planes, resample_planes, sample_lattice
from tetraview.kernels.reference import sample_images, sample_triplanes

CPU = torch.device("cpu")


def _planes(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def _points(resolution: int) -> torch.Tensor:
    axis = torch.arange(resolution + 1, dtype=torch.float64) * (2 / resolution) - 1
    return torch.cartesian_prod(axis, axis, axis)


def _point_by_point(planes: torch.Tensor, resolution: int) -> torch.Tensor:
    points = _points(resolution)
    batch = len(planes)
    index = torch.arange(batch).repeat_interleave(len(points))
    samples = sample_triplanes(planes, index, points.repeat(batch, 1))
    return samples.reshape(batch, *(resolution + 1,) * 3, -1)


def _side_by_side(planes: torch.Tensor, resolution: int) -> torch.Tensor:
    only = torch.eye(3, dtype=planes.dtype)[:, :, None, None, None]
    return torch.cat([_point_by_point(planes * only[k], resolution) for k in range(3)], -1)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 2),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.integers(1, 4),
    resolution=st.integers(1, 14),
    seed=st.integers(0, 999),
)
def test_lattice_equals_points_forward_and_backward(
    batch: int, height: int, width: int, channels: int, resolution: int, seed: int
) -> None:
    planes = _planes(seed, batch, 3, height, width, channels)
    ours, theirs = sample_lattice(planes, resolution), _point_by_point(planes, resolution)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = _planes(seed + 1, *ours.shape).detach()
    (gradient,) = torch.autograd.grad(ours, planes, upstream)
    (expected,) = torch.autograd.grad(theirs, planes, upstream)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("size", "resolution"), [(3, 4), (5, 3)])
def test_gradcheck(size: int, resolution: int) -> None:
    planes = _planes(4, 1, 3, size, size, 1)
    assert torch.autograd.gradcheck(lambda p: sample_lattice(p, resolution), planes)
    assert torch.autograd.gradcheck(lambda p: sample_lattice(p, resolution, slice(1, 3)).square(), planes)


@pytest.mark.parametrize("resolution", [3, 8, 20])
def test_tables_are_the_samples_of_each_plane(resolution: int) -> None:
    planes = _planes(2, 2, 3, 6, 9, 4)
    axis = torch.arange(resolution + 1, dtype=torch.float64) * (2 / resolution) - 1
    xy = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)  # columns vary fastest
    images = planes.flatten(0, 1)
    expected = sample_images(images, torch.arange(6).repeat_interleave(len(xy)), xy.repeat(6, 1))
    tables = resample_planes(planes, resolution)
    assert tables.shape == (2, 3, resolution + 1, resolution + 1, 4)
    torch.testing.assert_close(tables.reshape(expected.shape), expected, rtol=0, atol=1e-12)


def test_weights_fall_off_at_the_border_and_sum_to_one_within() -> None:
    weights = axis_weights(8, 4, torch.float64, CPU)  # texel centres at -0.75, -0.25, 0.25, 0.75; places every 0.25
    assert weights[0].tolist() == weights[8].flip(0).tolist() == [0.5, 0, 0, 0]  # the other half lies outside and is zero
    assert weights[1].tolist() == [1, 0, 0, 0] and weights[2].tolist() == [0.5, 0.5, 0, 0]
    assert weights[1:-1].sum(1).tolist() == [1] * 7
    with pytest.raises(ValueError, match="at least 1, got 0 and 4"):
        axis_weights(0, 4, torch.float64, CPU)


def test_slabs_are_parts_of_the_whole() -> None:
    planes = _planes(3, 2, 3, 5, 5, 3)
    whole, tables = sample_lattice(planes, 7), resample_planes(planes, 7)
    slabs = [add_tables(tables, slice(start, start + 3)) for start in range(0, 8, 3)]
    assert [slab.shape[1] for slab in slabs] == [3, 3, 2]
    assert torch.equal(torch.cat(slabs, 1), whole)
    assert torch.equal(sample_lattice(planes, 7, slice(2, 4)), whole[:, 2:4])
    (gradient,) = torch.autograd.grad(torch.cat(slabs, 1).square().sum(), planes, retain_graph=True)
    (expected,) = torch.autograd.grad(whole.square().sum(), planes)
    torch.testing.assert_close(gradient, expected)


def test_the_gradient_is_made_of_products_and_sums_without_atomics() -> None:
    planes = _planes(1, 1, 3, 4, 4, 2)
    names, todo = set(), [sample_lattice(planes, 6).grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.add(type(node).__name__.removesuffix("0").removesuffix("Backward"))
            todo += [parent for parent, _ in node.next_functions]
    scattering = [name for name in names if any(word in name for word in ("Index", "Gather", "Scatter", "Embedding", "Grid"))]
    assert "Add" in names and not scattering
    assert names & {"Bmm", "Mm", "UnsafeView"}


@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize(("channels", "width"), [(4, 3), (2, 7)])
def test_the_first_layer_commutes_with_sampling(concat: bool, channels: int, width: int) -> None:
    planes = _planes(6, 2, 3, 5, 5, channels)
    weight = _planes(7, width, 3 * channels if concat else channels)
    bias = _planes(8, width)
    ours = sample_lattice(first_layer_planes(planes, weight), 6) + bias
    theirs = F.linear((_side_by_side if concat else _point_by_point)(planes, 6), weight, bias)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), (planes, weight, bias)),
        torch.autograd.grad(theirs.square().sum(), (planes, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_planes_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    planes = _planes(9, 1, 3, 16, 16, 8).detach().to(dtype)
    exact = resample_planes(planes.double(), 24)
    with torch.autocast("cpu", torch.bfloat16):
        tables = resample_planes(planes, 24)
    assert tables.dtype == dtype
    torch.testing.assert_close(tables, exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_run_gives_the_same_bits_on_every_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    exact = _planes(5, 2, 3, 24, 24, 8)
    planes = exact.detach().float().to(device).requires_grad_()
    upstream = _planes(6, 2, 34, 34, 34, 8).detach()
    runs = []
    for _ in range(3):
        samples = sample_lattice(planes, 33)
        runs.append((samples.detach(), *torch.autograd.grad(samples, planes, upstream.float().to(device))))
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))
    expected = sample_lattice(exact, 33)
    torch.testing.assert_close(runs[0][0].cpu().double(), expected, rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(expected, exact, upstream)
    torch.testing.assert_close(runs[0][1].cpu().double(), gradient, rtol=1e-4, atol=1e-3)


def test_wrong_shapes_are_named() -> None:
    planes = torch.zeros(1, 3, 4, 4, 2)
    for call, text in (
        (lambda: sample_lattice(planes[0], 4), r"planes: expected \[B, 3, H, W, C\], got \[3, 4, 4, 2\]"),
        (lambda: sample_lattice(planes[:, :2], 4), r"got \[1, 2, 4, 4, 2\]"),
        (lambda: add_tables(torch.zeros(1, 3, 4, 5, 2)), r"tables: expected \[B, 3, G \+ 1, G \+ 1, C\]"),
        (lambda: first_layer_planes(planes, torch.zeros(5, 3)), r"weight: expected \[D, 2\] or \[D, 6\], got \[5, 3\]"),
        (lambda: first_layer_planes(planes[0], torch.zeros(5, 2)), "planes: expected"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
