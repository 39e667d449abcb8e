"""Extraction on a device that runs the marching kernel: the same meshes as the CPU's coarse-to-fine way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tetraview.engine.geometry import extract
from tetraview.engine.geometry.extract import extract_mesh, extract_surface
from tetraview.engine.geometry.extract_on_device import device_of
from tetraview.kernels import programs

from ..engine.geometry.shapes import AnalyticField, smooth_random, sphere, torus, union

SHAPES = {
    "torus": torus(),
    "two apart": union(sphere(0.3, (-0.4, 0, 0)), sphere(0.2, (0.4, 0.1, 0))),
    "cut by the border": sphere(1.2),
    "random": smooth_random(7),
    "nothing inside": lambda p: -1 - p[:, 0] ** 2,
    "everything inside": lambda p: 1 + p[:, 0] ** 2,
}


class DeviceField(AnalyticField):
    """An analytic field that wants its points on one device, and says so."""

    def __init__(self, formula, device: torch.device) -> None:
        super().__init__(formula)
        self.device = device

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor:
        assert ijk.device == self.device
        return super().lattice_sdf(ijk.cpu(), resolution).to(self.device)


@pytest.fixture
def no_cpu_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is extracted in this test is extracted on the device."""
    monkeypatch.setattr(extract, "_Samples", None)


def _on_cpu(field: AnalyticField, resolution: int) -> tuple[extract.LatticeSurface, tuple[np.ndarray, np.ndarray]]:
    with programs.use_backend("cpu", lambda *_: None):
        assert device_of(field) is None
        return extract_surface(field, resolution), extract_mesh(field, resolution)


@pytest.mark.parametrize("resolution", [4, 24, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_mesh_and_surface_are_the_cpu_s(shape: str, resolution: int, kernel_device: torch.device, monkeypatch) -> None:
    expected, (expected_verts, expected_faces) = _on_cpu(AnalyticField(SHAPES[shape]), resolution)
    monkeypatch.setattr(extract, "_Samples", None)  # from here on, not the CPU's way
    surface = extract_surface(DeviceField(SHAPES[shape], kernel_device), resolution)
    assert surface.resolution == resolution
    for name in ("ends", "sdf", "faces"):
        ours, theirs = getattr(surface, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), name
    verts, faces = extract_mesh(DeviceField(SHAPES[shape], kernel_device), resolution)
    assert (verts.dtype, faces.dtype) == (expected_verts.dtype, expected_faces.dtype)
    np.testing.assert_allclose(verts, expected_verts, rtol=0, atol=2e-7)
    assert np.array_equal(faces, expected_faces)


@pytest.mark.usefixtures("no_cpu_way")
def test_each_vertex_in_the_box_is_evaluated_once(kernel_device: torch.device) -> None:
    field = DeviceField(sphere(), kernel_device)
    extract_mesh(field, 24)
    seen = torch.cat(field.seen)
    assert len(torch.unique(seen, dim=0)) == len(seen)
    assert int(seen.min()) > 0 and int(seen.max()) < 24
    assert len(seen) == int(extract.Lattice(24).interior().sum())


@pytest.mark.usefixtures("no_cpu_way")
def test_progress_rises_to_one_and_may_stop_the_work(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tetraview.engine.geometry.extract_on_device._POINTS_AT_ONCE", 5_000)
    shares: list[float] = []
    extract_mesh(DeviceField(sphere(), kernel_device), 64, shares.append)
    assert shares == sorted(shares) and 0 < shares[0] < 0.5 and shares[-1] == 1

    def stop(share: float) -> None:
        raise InterruptedError

    field = DeviceField(sphere(), kernel_device)
    with pytest.raises(InterruptedError):
        extract_mesh(field, 64, stop)
    assert field.n_lattice == 5_000


@pytest.mark.usefixtures("no_cpu_way")
def test_nan_and_wrong_shapes_are_refused_as_on_the_cpu(kernel_device: torch.device) -> None:
    field = DeviceField(lambda p: torch.where(p[:, 0] > 0.5, torch.nan, sphere()(p)), kernel_device)
    with pytest.raises(ValueError, match=r"^The signed distance is not a number at \d+ of \d+ points\.$"):
        extract_mesh(field, 32)
    with pytest.raises(ValueError, match="one signed distance a point"):
        extract_mesh(DeviceField(lambda p: p, kernel_device), 32)
    with pytest.raises(ValueError, match="positive multiple of 4"):
        extract_mesh(DeviceField(sphere(), kernel_device), 10)


def test_a_field_on_a_device_without_kernels_goes_the_cpu_s_way() -> None:
    assert device_of(AnalyticField(sphere())) is None
    assert device_of(DeviceField(sphere(), torch.device("meta"))) is None
