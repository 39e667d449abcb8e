"""Marching tetrahedra on the implicit lattice: the kernel's own source against its torch twin and numpy's `march_lattice`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tetraview.engine.geometry.cleanup import is_watertight, signed_volume
from tetraview.engine.geometry.extract_on_device import lattice_tile
from tetraview.engine.geometry.lattice import Lattice
from tetraview.engine.geometry.marching_tets import LatticeSurface
from tetraview.engine.geometry.marching_tets import march_lattice as numpy_march
from tetraview.kernels import programs, reference_tets, sources, tets
from tetraview.kernels.reference_tets import Surface

from . import cuda_on_cpu

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sphere": lambda p: 0.7 - np.linalg.norm(p, axis=1),
    "torus": lambda p: 0.2 - np.hypot(np.hypot(p[:, 0], p[:, 1]) - 0.55, p[:, 2]),
    "thin sheet": lambda p: 0.03 - np.abs(p[:, 2] - 0.01),
    "zero on the lattice": lambda p: 0.5 - np.abs(p).max(1),
    "cut by the border": lambda p: 1.2 - np.linalg.norm(p, axis=1),
    "all inside": lambda p: np.ones(len(p)),
    "nothing inside": lambda p: -1 - p[:, 0] ** 2,
    "zero everywhere": lambda p: np.zeros(len(p)),
    "huge and tiny": lambda p: np.where(p[:, 0] > p[:, 1], 3e38, -1e-42),
    "infinite": lambda p: np.where(p[:, 0] > p[:, 1], np.inf, -1.0),
}


def _positions(lattice: Lattice) -> np.ndarray:
    return lattice.positions(lattice.ijk(np.arange(lattice.n_verts)))


def _within_box(lattice: Lattice, values: np.ndarray) -> np.ndarray:
    return np.where(lattice.interior(), values, -1.0).astype(np.float32)


def _march(
    march: Callable[..., Surface], lattice: Lattice, sdf: np.ndarray, periods: np.ndarray, device: torch.device, **options
):
    tile = lattice_tile(device)
    return march(torch.tensor(sdf, device=device), torch.tensor(periods, device=device), tile, lattice.resolution, **options)


def _assert_is(surface: Surface, expected: LatticeSurface, lattice: Lattice) -> None:
    """Ids, faces and sdf exactly, positions to float rounding."""
    assert np.array_equal(surface.faces.cpu().numpy(), expected.faces)
    assert np.array_equal(lattice.ijk(surface.ends.cpu().numpy()), expected.ends)
    assert np.array_equal(surface.sdf.cpu().numpy(), expected.sdf)
    with np.errstate(invalid="ignore"):  # an infinite sdf has no share
        verts = expected.verts()
    np.testing.assert_allclose(surface.verts.cpu().numpy(), verts, rtol=0, atol=2e-7)


def _check_both(lattice: Lattice, sdf: np.ndarray, periods: np.ndarray, device: torch.device) -> LatticeSurface:
    expected = numpy_march(lattice, sdf, periods)
    for march in (tets.march_lattice, reference_tets.march_lattice):
        _assert_is(_march(march, lattice, sdf, periods, device), expected, lattice)
    return expected


@pytest.fixture
def no_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is marched in this test is marched by the kernel."""
    monkeypatch.setattr(reference_tets, "march_lattice", None)


@pytest.fixture(params=[0, 1, 12345])
def thread_order(request: pytest.FixtureRequest, kernel_device: torch.device) -> Iterator[int]:
    """Orders in which a block's threads take turns; only the CPU has them."""
    if kernel_device.type != "cpu":
        pytest.skip("a GPU orders its threads itself")

    def backend(source: str, definitions: sources.Definitions, device: torch.device) -> sources.Program:
        program = cuda_on_cpu.cpu_program(source, definitions, device)
        program.seed = request.param
        return program

    with programs.use_backend("cpu", backend):
        yield request.param


@pytest.mark.parametrize("resolution", [4, 20, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_come_out_as_from_numpy(shape: str, resolution: int, kernel_device: torch.device) -> None:
    lattice = Lattice(resolution)
    sdf = _within_box(lattice, SHAPES[shape](_positions(lattice)))
    expected = _check_both(lattice, sdf, lattice.tet_periods(), kernel_device)
    assert resolution == 4 or (len(expected.faces) == 0) == (shape in ("nothing inside", "zero everywhere"))
    assert is_watertight(expected.faces)


def test_the_finest_lattice(kernel_device: torch.device) -> None:
    lattice = Lattice(256)
    sdf = _within_box(lattice, SHAPES["torus"](_positions(lattice)))
    expected = _check_both(lattice, sdf, lattice.tet_periods(), kernel_device)
    assert len(expected.faces) > 100_000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    resolution=st.integers(1, 7).map(lambda n: 4 * n),
    seed=st.integers(0, 2**31),
    levels=st.sampled_from([(-1.0, 1.0), (-2.0, -0.25, 0.0, 0.5, 3.0), (-1.0,) * 30 + (1.0,), (1.0,) * 30 + (-1.0,)]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    in_box=st.booleans(),
)
def test_any_field_over_any_periods_comes_out_as_from_numpy(
    resolution: int, seed: int, levels: tuple[float, ...], share: float, in_box: bool, kernel_device: torch.device
) -> None:
    random, lattice = np.random.default_rng(seed), Lattice(resolution)
    sdf = random.choice(np.array(levels, np.float32), lattice.n_verts)
    sdf = _within_box(lattice, sdf) if in_box else sdf
    periods = lattice.tet_periods()
    periods = periods[random.random(len(periods)) < share] if share < 1 else periods
    _check_both(lattice, sdf, periods, kernel_device)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(resolution=st.integers(2, 6).map(lambda n: 4 * n), seed=st.integers(0, 2**31))
def test_one_vertex_alone_at_the_border_is_a_closed_bump(resolution: int, seed: int, kernel_device: torch.device) -> None:
    random, lattice = np.random.default_rng(seed), Lattice(resolution)
    ijk = lattice.ijk(np.arange(lattice.n_verts))
    near = lattice.interior() & ((ijk <= 2) | (ijk >= resolution - 2)).any(1)
    sdf = np.full(lattice.n_verts, -1, np.float32)
    sdf[random.choice(near.nonzero()[0])] = 0.5
    expected = _check_both(lattice, sdf, lattice.tet_periods(), kernel_device)
    assert is_watertight(expected.faces) and signed_volume(expected.verts(), expected.faces) > 0
    assert len(expected.ends) - len(expected.faces) / 2 == 2  # one sphere


@pytest.mark.usefixtures("no_twin")
def test_every_order_of_threads_gives_the_same_bits(thread_order: int, kernel_device: torch.device) -> None:
    lattice = Lattice(20)
    sdf = _within_box(lattice, np.random.default_rng(5).normal(size=lattice.n_verts))
    _assert_is(
        _march(tets.march_lattice, lattice, sdf, lattice.tet_periods(), kernel_device),
        numpy_march(lattice, sdf, lattice.tet_periods()),
        lattice,
    )


@pytest.mark.usefixtures("no_twin")
def test_periods_may_come_in_any_order_and_faces_follow_it(kernel_device: torch.device) -> None:
    lattice = Lattice(16)
    sdf = _within_box(lattice, SHAPES["torus"](_positions(lattice)))
    periods = np.random.default_rng(3).permutation(lattice.tet_periods())
    expected = numpy_march(lattice, sdf, periods)
    assert not np.array_equal(expected.faces, numpy_march(lattice, sdf, lattice.tet_periods()).faces)
    _assert_is(_march(tets.march_lattice, lattice, sdf, periods, kernel_device), expected, lattice)


@pytest.mark.usefixtures("no_twin")
def test_int32_faces_are_the_int64_ones(kernel_device: torch.device) -> None:
    lattice = Lattice(24)
    sdf = _within_box(lattice, SHAPES["sphere"](_positions(lattice)))
    wide, narrow = (
        _march(tets.march_lattice, lattice, sdf, lattice.tet_periods(), kernel_device, index_dtype=dtype).faces
        for dtype in (torch.int64, torch.int32)
    )
    assert (wide.dtype, narrow.dtype) == (torch.int64, torch.int32)
    assert torch.equal(wide, narrow.long()) and len(wide) > 100


@pytest.mark.usefixtures("no_twin")
def test_exact_interpolation_on_request(kernel_device: torch.device) -> None:
    lattice = Lattice(16)
    sdf = _within_box(lattice, SHAPES["zero on the lattice"](_positions(lattice)))
    surface = _march(tets.march_lattice, lattice, sdf, lattice.tet_periods(), kernel_device, min_share=0.0)
    expected = numpy_march(lattice, sdf, lattice.tet_periods())
    np.testing.assert_allclose(surface.verts.cpu().numpy(), expected.verts(min_share=0), rtol=0, atol=2e-7)
    assert np.abs(expected.verts(min_share=0) - expected.verts()).max() > 1e-5


@pytest.mark.usefixtures("no_twin")
def test_nothing_around_the_arguments_is_read_or_written(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor handed over lies within a larger one of NaN, or of the largest integer; its surroundings stay as they were."""
    lattice = Lattice(8)
    sdf = _within_box(lattice, SHAPES["sphere"](_positions(lattice)))
    expected = numpy_march(lattice, sdf, lattice.tet_periods())
    guarded: list[tuple[torch.Tensor, slice]] = []

    def fill(dtype: torch.dtype) -> float:
        return float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max

    def within(tensor: torch.Tensor) -> torch.Tensor:
        whole = torch.full((tensor.numel() + 256,), fill(tensor.dtype), dtype=tensor.dtype, device=tensor.device)
        inner = slice(128, 128 + tensor.numel())
        whole[inner] = tensor.reshape(-1)
        guarded.append((whole, inner))
        return whole[inner].view(tensor.shape)

    real = {name: getattr(torch, name) for name in ("empty", "zeros")}
    for name, make in real.items():
        monkeypatch.setattr(tets.torch, name, lambda *size, make=make, **options: within(make(*size, **options)))
    tile = lattice_tile(kernel_device)
    tables = {name: within(value) for name, value in vars(tile).items() if isinstance(value, torch.Tensor)}
    values, periods = (within(torch.tensor(a, device=kernel_device)) for a in (sdf, lattice.tet_periods()))
    surface = tets.march_lattice(values, periods, replace(tile, **tables), 8)
    monkeypatch.undo()
    _assert_is(surface, expected, lattice)
    assert len(guarded) > 12
    for whole, inner in guarded:
        around = torch.cat([whole[: inner.start], whole[inner.stop :]])
        assert torch.isnan(around).all() if around.is_floating_point() else (around == fill(around.dtype)).all()


@pytest.mark.usefixtures("no_twin")
def test_an_sdf_at_an_odd_address_or_with_strides_is_marched_all_the_same(
    kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    lattice = Lattice(12)
    sdf = _within_box(lattice, SHAPES["sphere"](_positions(lattice)))
    expected = numpy_march(lattice, sdf, lattice.tet_periods())
    periods, tile = torch.tensor(lattice.tet_periods(), device=kernel_device), lattice_tile(kernel_device)
    odd = torch.zeros(len(sdf) + 1, device=kernel_device)[1:]
    odd.copy_(torch.tensor(sdf))
    strided = torch.zeros(len(sdf), 2, device=kernel_device)[:, 0]
    strided.copy_(torch.tensor(sdf))
    assert odd.data_ptr() % 16 == 4
    program, addresses = programs.program("tets", tets.VARIANTS[1], kernel_device), []

    class Recorder:
        def launch(self, kernel: str, grid: int, block: int, args: Sequence[sources.Argument]) -> None:
            if kernel == "find_signs":
                addresses.append(args[0].data_ptr() % 16)
            program.launch(kernel, grid, block, args)

    monkeypatch.setattr(programs, "program", lambda *_: Recorder())
    for values in (odd, strided):
        _assert_is(tets.march_lattice(values, periods, tile, 12), expected, lattice)
    assert addresses == [0, 0]


@pytest.mark.parametrize("march", [tets.march_lattice, reference_tets.march_lattice])
def test_nan_is_refused_where_it_is_read_and_nowhere_else(march: Callable[..., Surface], kernel_device: torch.device) -> None:
    lattice = Lattice(12)
    sdf = _within_box(lattice, SHAPES["sphere"](_positions(lattice)))
    periods = lattice.tet_periods()
    for place in (0, lattice.n_verts // 2):
        spoilt = sdf.copy()
        spoilt[place] = np.nan
        with pytest.raises(ValueError, match=r"^The signed distance is not a number at some vertices of the lattice\.$"):
            _march(march, lattice, spoilt, periods, kernel_device)
        nan = np.isnan(spoilt)
        elsewhere = periods[~lattice.any_vert(nan)[periods]]
        _assert_is(_march(march, lattice, spoilt, elsewhere, kernel_device), numpy_march(lattice, spoilt, elsewhere), lattice)
    spoilt = sdf.copy()
    spoilt[-1] = np.nan  # no tetrahedron has this corner
    _assert_is(_march(march, lattice, spoilt, periods, kernel_device), numpy_march(lattice, sdf, periods), lattice)


@pytest.mark.parametrize("march", [tets.march_lattice, reference_tets.march_lattice])
def test_periods_that_do_not_exist_are_refused(march: Callable[..., Surface], kernel_device: torch.device) -> None:
    lattice = Lattice(8)
    sdf = np.ones(lattice.n_verts, np.float32)
    last = lattice.side - 1
    for period in (-1, last, last * lattice.side, last * lattice.side**2, lattice.side**3, 2**62, -(2**62)):
        with pytest.raises(ValueError, match="Each period must be one"):
            _march(march, lattice, sdf, np.array([0, period]), kernel_device)


@pytest.mark.parametrize("march", [tets.march_lattice, reference_tets.march_lattice])
def test_bad_arguments_are_named(march: Callable[..., Surface], kernel_device: torch.device) -> None:
    lattice, tile = Lattice(8), lattice_tile(kernel_device)
    sdf = torch.ones(lattice.n_verts, device=kernel_device)
    periods = torch.tensor(lattice.tet_periods(), device=kernel_device)
    for bad, text in (
        ((sdf[1:], periods, tile, 8), r"sdf must be float \[512\], one per lattice vertex, got torch.float32 \(511,\)"),
        ((sdf.long(), periods, tile, 8), "sdf must be float .* got torch.int64"),
        ((sdf, periods[None], tile, 8), r"periods must be int64 \[P\]"),
        ((sdf, periods.int(), tile, 8), "periods must be int64 .* torch.int32"),
        ((sdf, periods, tile, 10), "resolution must be a positive multiple of 4, got 10"),
        ((sdf, periods.to("meta"), tile, 8), "must lie on one device"),
    ):
        with pytest.raises(ValueError, match=text):
            march(*bad)
    with pytest.raises(ValueError, match="index_dtype must be"):
        march(sdf, periods, tile, 8, index_dtype=torch.float32)


def test_another_precision_takes_the_twin(kernel_device: torch.device) -> None:
    lattice = Lattice(12)
    sdf = _within_box(lattice, SHAPES["sphere"](_positions(lattice)))
    surface = _march(tets.march_lattice, lattice, sdf.astype(np.float64), lattice.tet_periods(), kernel_device)
    assert surface.verts.dtype == surface.sdf.dtype == torch.float64
    expected = numpy_march(lattice, sdf, lattice.tet_periods())
    assert np.array_equal(surface.faces.cpu().numpy(), expected.faces)
    np.testing.assert_allclose(surface.verts.cpu().numpy(), expected.verts(), rtol=0, atol=1e-7)


def test_a_device_without_kernels_takes_the_twin() -> None:
    lattice = Lattice(12)
    sdf = _within_box(lattice, SHAPES["torus"](_positions(lattice)))
    assert not tets.available(torch.device("cpu"))
    surface = _march(tets.march_lattice, lattice, sdf, lattice.tet_periods(), torch.device("cpu"))
    _assert_is(surface, numpy_march(lattice, sdf, lattice.tet_periods()), lattice)
