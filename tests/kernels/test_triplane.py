"""The triplane sampler's own source against its twin in float64: forward, checks, torch.compile, the order of points."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tetraview.kernels import programs, reference, sources, triplane
from tetraview.kernels.triplane import sample_triplanes
from torch import Tensor

from . import cuda_on_cpu

CASES = [
    (torch.float32, 32, False, (1, 2, 3)),
    (torch.float16, 32, False, (1,)),
    (torch.float32, 40, True, (2, 3)),
    (torch.float16, 24, True, (2, 3)),
    (torch.bfloat16, 6, False, (2, 3)),
    (torch.float32, 5, True, (2, 3)),
]
"""Type, channels, concat, numbers of objects: of the kernel's variants, since each other program takes seconds to compile."""

Case = tuple[torch.dtype, int, bool, tuple[int, ...]]
ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SPECIAL = (-1.0, 1.0, -1.0001, 1.0001, 0.0, 0.5, -0.75, 1.4, -30.0, 1e30, float("nan"), float("inf"), -float("inf"))


def scene(
    batch: int, height: int, width: int, channels: int, count: int, dtype: torch.dtype, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Planes, batch index and points; a third of the coordinates are borders, centres and corners of texels, or special."""
    random = torch.Generator().manual_seed(seed)
    planes = torch.randn(batch, 3, height, width, channels, generator=random).to(dtype)
    points = torch.rand(count, 3, generator=random) * 2.6 - 1.3
    steps = torch.randint(-2, 2 * max(height, width) + 3, (count, 3), generator=random)
    on_texels = steps / torch.tensor([width, height, height]) - 1  # half a texel apart
    special = torch.tensor(SPECIAL)[torch.randint(0, len(SPECIAL), (count, 3), generator=random)]
    kind = torch.randint(0, 6, (count, 3), generator=random)
    points = torch.where(kind == 0, on_texels, torch.where(kind == 1, special, points))
    return planes, torch.randint(0, batch, (count,), generator=random), points


def twin(planes: Tensor, batch_index: Tensor, points: Tensor, concat: bool = False) -> Tensor:
    """The reference in float64 on the CPU."""
    return reference.sample_triplanes(planes.detach().cpu().double(), batch_index.cpu(), points.cpu().double(), concat)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(CASES),
    objects=st.integers(0, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(0, 300),
    seed=st.integers(0, 999),
)
def test_samples_are_the_twin_s(
    kernel_device: torch.device, case: Case, objects: int, height: int, width: int, count: int, seed: int
) -> None:
    dtype, channels, concat, batches = case
    batch = batches[objects % len(batches)]
    planes, index, points = scene(batch, height, width, channels, count, dtype, seed)
    ours = sample_triplanes(planes.to(kernel_device), index.to(kernel_device), points.to(kernel_device), concat)
    assert ours.dtype == dtype and ours.device == kernel_device
    expected = twin(planes, index, points, concat)
    assert ours.shape == expected.shape == (count, channels * (3 if concat else 1))
    torch.testing.assert_close(ours.double().cpu(), expected, rtol=ROUNDING[dtype], atol=3 * ROUNDING[dtype])


def test_indices_of_64_bits_give_the_same(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 7, 5, 32, 3000, torch.float32, 0))
    expected = sample_triplanes(planes, index, points)
    asked = []
    real = programs.program

    def spy(source, macros, device):
        asked.append(macros["INDEX"])
        return real(source, macros, device)

    monkeypatch.setattr(programs, "program", spy)
    monkeypatch.setattr(triplane, "INT_LIMIT", 100)
    torch.testing.assert_close(sample_triplanes(planes, index, points), expected, rtol=1e-6, atol=1e-6)
    assert asked == ["i64"]


def test_a_texel_that_is_not_finite_shows_only_where_it_has_weight(kernel_device: torch.device) -> None:
    planes, index, points = scene(2, 6, 6, 32, 4000, torch.float32, 3)
    bad = torch.rand(planes.shape[:4], generator=torch.Generator().manual_seed(1)) < 0.1
    planes[bad] = float("nan")
    weight = twin(bad[..., None].double(), index, points)
    ours = sample_triplanes(planes.to(kernel_device), index.to(kernel_device), points.to(kernel_device)).cpu()
    clear = (weight == 0) | (weight > 1e-4)  # float and double may differ about whether a point is on a border
    assert torch.equal(ours.isnan().all(1)[clear[:, 0]], (weight > 0)[:, 0][clear[:, 0]])
    assert 0.1 < ours.isnan().any(1).float().mean() < 0.9


@pytest.mark.parametrize("concat", [False, True])
def test_nothing_outside_of_the_tensors_is_read_or_written(kernel_device: torch.device, concat: bool) -> None:
    channels = 40 if concat else 32
    planes, index, points = scene(2, 5, 7, channels, 1000, torch.float32, 4)
    expected = twin(planes, index, points, concat)

    def within_canaries(tensor: Tensor) -> Tensor:
        buffer = torch.full((tensor.numel() + 512,), float("nan"), device=kernel_device)
        view = buffer[256:-256].view(tensor.shape)
        return view.copy_(tensor)

    ours = sample_triplanes(within_canaries(planes), index.to(kernel_device), within_canaries(points), concat)
    torch.testing.assert_close(ours.double().cpu(), expected, rtol=1e-5, atol=3e-5)

    out = torch.full((expected.numel() + 512,), float("nan"), device=kernel_device)
    program = programs.program("triplane", triplane.definitions(torch.float32, channels, concat=concat), kernel_device)
    assert program is not None
    args = [planes.to(kernel_device), index.to(kernel_device), points.to(kernel_device), out[256:-256], 2, 5, 7, 1000]
    program.launch("triplane_forward", 40, 256, args)  # 10240 threads for 8000 or 10000
    torch.testing.assert_close(out[256:-256].view_as(ours), ours, rtol=0, atol=0)
    assert out[:256].isnan().all() and out[-256:].isnan().all()


def test_objects_that_are_not_there_read_zeros(kernel_device: torch.device) -> None:
    planes, _, points = scene(2, 4, 4, 32, 6, torch.float32, 5)
    index = torch.tensor([0, -1, 2, 2**40, 1, -(2**40)])
    ours = sample_triplanes(planes.to(kernel_device), index.to(kernel_device), torch.zeros_like(points).to(kernel_device))
    assert ours.abs().sum(1).bool().tolist() == [True, False, False, False, True, False]


def test_views_and_other_types_of_points_are_taken(kernel_device: torch.device) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 6, 5, 32, 200, torch.float32, 6))
    expected = sample_triplanes(planes, index, points)
    strided = planes.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)
    assert torch.equal(sample_triplanes(strided, index, points), expected)
    assert torch.equal(sample_triplanes(planes, index, points.double()), expected)
    assert torch.equal(sample_triplanes(planes, index, points.repeat(1, 2)[:, 3:]), expected)


def test_vectors_are_read_from_addresses_that_allow_it(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor forgives what a GPU does not: planes and gradients at any multiple of their type's size."""
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 6, 5, 32, 200, torch.float32, 6))
    launched = []

    class Watched:
        def __init__(self, program: sources.Program) -> None:
            self.program = program

        def launch(self, kernel: str, grid: int, block: int, args: list) -> None:
            launched.append(kernel)
            assert kernel == "triplane_cells" or args[0].data_ptr() % 16 == 0
            self.program.launch(kernel, grid, block, args)

    def off_by_one(tensor: Tensor) -> Tensor:
        view = torch.empty(tensor.numel() + 1, device=kernel_device)[1:].view_as(tensor)
        assert view.data_ptr() % 16 == 4
        return view.copy_(tensor)

    upstream = torch.randn(200, 32, device=kernel_device)
    expected = sample_triplanes(planes, index, points)
    real = programs.program
    monkeypatch.setattr(programs, "program", lambda *args: Watched(real(*args)))
    for mode in ("atomic", "sorted"):
        odd = off_by_one(planes).requires_grad_()
        ours = sample_triplanes(odd, index, points, mode=mode)
        assert torch.equal(ours, expected)
        torch.autograd.grad(ours, odd, off_by_one(upstream))
    assert launched == [
        "triplane_forward",
        "triplane_backward_atomic",
        "triplane_forward",
        "triplane_cells",
        "triplane_backward_sorted",
    ]


def test_autocast_changes_no_type(kernel_device: torch.device) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(1, 6, 5, 32, 200, torch.float32, 7))
    expected = sample_triplanes(planes, index, points)
    with torch.autocast(kernel_device.type, torch.bfloat16):
        assert torch.equal(sample_triplanes(planes, index, points), expected)
        assert sample_triplanes(planes.bfloat16(), index, points).dtype == torch.bfloat16


def test_float64_takes_the_twin(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 6, 5, 32, 200, torch.float32, 7))
    monkeypatch.setattr(programs, "program", None)
    ours = sample_triplanes(planes.double(), index, points.double(), True)
    assert torch.equal(ours, reference.sample_triplanes(planes.double(), index, points.double(), True))


@pytest.mark.parametrize("concat", [False, True])
def test_a_program_that_cannot_be_made_leaves_the_twin(concat: bool) -> None:
    planes, index, points = scene(2, 6, 5, 40 if concat else 32, 200, torch.float32, 7)
    planes.requires_grad_()
    results = []
    for backend in (lambda *_: None, cuda_on_cpu.cpu_program):
        with programs.use_backend("cpu", backend):
            samples = sample_triplanes(planes, index, points, concat)
            results.append((samples, *torch.autograd.grad(samples.square().sum(), planes)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_is_traced_whole(kernel_device: torch.device, backend: str) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 6, 5, 32, 200, torch.float32, 8))
    planes.requires_grad_()

    def loss(planes: Tensor, points: Tensor) -> Tensor:
        return (sample_triplanes(planes * 2, index, points * 0.5).sin()).sum()

    torch._dynamo.reset()
    results = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend=backend)):
        value = function(planes, points)
        results.append((value, *torch.autograd.grad(value, planes)))
    torch.testing.assert_close(results[1], results[0])


def test_operators_keep_what_torch_asks_of_them(kernel_device: torch.device) -> None:
    planes, index, points = (tensor.to(kernel_device) for tensor in scene(2, 4, 5, 32, 30, torch.float32, 9))
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(triplane._sample, (planes.requires_grad_(), index, points, False, "sorted"), test_utils=tests)
    gradient = torch.randn(30, 32, device=kernel_device)
    args = (gradient, index, points, list(planes.shape), False, "sorted")
    torch.library.opcheck(triplane._backward, args, test_utils=tests)


GOOD = {"planes": torch.zeros(2, 3, 4, 4, 8), "batch_index": torch.zeros(5, dtype=torch.long), "points": torch.zeros(5, 3)}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"planes": torch.zeros(2, 4, 4, 4, 8)}, r"planes: expected float \[B, 3, H, W, C\], got float32 \[2, 4, 4, 4, 8\]"),
        ({"planes": torch.zeros(3, 4, 4, 8)}, r"planes: expected float \[B, 3, H, W, C\], got float32 \[3, 4, 4, 8\]"),
        ({"planes": torch.zeros(2, 3, 0, 4, 8)}, r"planes: expected .*, got float32 \[2, 3, 0, 4, 8\]"),
        ({"planes": GOOD["planes"].int()}, r"planes: expected .*, got int32 \[2, 3, 4, 4, 8\]"),
        ({"points": torch.zeros(5, 2)}, r"points: expected float \[N, 3\], got float32 \[5, 2\]"),
        ({"points": torch.zeros(5, 3).long()}, r"points: expected float \[N, 3\], got int64 \[5, 3\]"),
        ({"batch_index": torch.zeros(5)}, r"batch_index: expected int64 \[5\], got float32 \[5\]"),
        ({"batch_index": torch.zeros(4).long()}, r"batch_index: expected int64 \[5\], got int64 \[4\]"),
        ({"points": torch.zeros(5, 3, device="meta")}, r"points: expected on cpu as planes, got on meta"),
        ({"mode": "fastest"}, r"mode: expected one of auto, atomic, sorted, got 'fastest'"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        sample_triplanes(**{**GOOD, **wrong})


def test_variants_are_what_the_front_asks_for_and_run(kernel_device: torch.device) -> None:
    """Each variant samples: none is compiled in vain, none is missing a macro."""
    for macros in triplane.VARIANTS:
        program = programs.program("triplane", macros, kernel_device)
        assert program is not None
        dtype = next(dtype for dtype, name in triplane.STORAGE.items() if name == macros["STORAGE"])
        planes, index, points = scene(1, 3, 4, int(macros["CHANNELS"]), 20, dtype, 1)
        out = torch.zeros(20, int(macros["CHANNELS"]) * (3 if macros["CONCAT"] else 1), dtype=dtype, device=kernel_device)
        args = [*(tensor.to(kernel_device) for tensor in (planes, index, points)), out, 1, 3, 4, 20]
        program.launch("triplane_forward", 10, 256, args)
        expected = twin(planes, index, points, bool(macros["CONCAT"]))
        torch.testing.assert_close(out.double().cpu(), expected, rtol=ROUNDING[dtype], atol=3 * ROUNDING[dtype])
