"""The rasteriser behind the engine's interface: against the scan lines in UV space, against Embree from the rig's cameras."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tetraview.engine.cameras import CANONICAL_RIG, RIG_FOVY_DEG, orbit_c2w, pixel_rays, rig_c2w
from tetraview.engine.rendering.embree import EmbreeMesh
from tetraview.engine.rendering.rasterizer import CpuRasterizer, KernelMesh, KernelRasterizer, rasterizer_for
from tetraview.engine.rendering.uv_raster import Texels, overlapping_texels, rasterize_uvs
from tetraview.engine.texturing import texture
from tetraview.engine.texturing.atlas import unwrap
from tetraview.engine.texturing.texture import paint_texture

drawn = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bumpy_sphere(subdivisions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A closed mesh with hollows that hide parts of it."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    verts = np.asarray(ball.vertices)
    radius = 0.7 + 0.12 * np.sin(5 * verts[:, :1] + 1) * np.cos(6 * verts[:, 1:2]) + 0.06 * np.sin(9 * verts[:, 2:])
    return (verts * radius).astype(np.float32), np.asarray(ball.faces, np.int32)


def assert_same_texels(ours: Texels, scanned: Texels) -> None:
    assert ours.texture_px == scanned.texture_px
    for name in ("row", "col", "face_index"):
        assert getattr(ours, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(ours, name), getattr(scanned, name), name)
    assert ours.barycentrics.dtype == np.float32
    np.testing.assert_allclose(ours.barycentrics, scanned.barycentrics, atol=2e-6)


@pytest.mark.parametrize("texture_px", [64, 333, 512])
def test_an_atlas_is_covered_as_by_the_scan_lines(kernel_device, texture_px):
    verts, faces = bumpy_sphere(3)
    atlas = unwrap(verts, faces, 512)
    ours = KernelRasterizer(kernel_device).rasterize_uvs(atlas.uvs, atlas.uv_faces, texture_px)
    scanned = rasterize_uvs(atlas.uvs, atlas.uv_faces, texture_px)
    if texture_px == 64:  # charts overlap at an eighth of the size they were packed for: there, the first face wins
        shared = np.unique(scanned.flat_index[overlapping_texels(scanned)])
        assert len(ours.row) == len(np.unique(scanned.flat_index)) and len(ours.row) + len(shared) >= len(scanned.row)
        first = {int(texel): int(face) for texel, face in zip(scanned.flat_index[::-1], scanned.face_index[::-1], strict=True)}
        assert first == dict(zip(ours.flat_index.tolist(), ours.face_index.tolist(), strict=True))
    else:
        assert_same_texels(ours, scanned)
    assert len(ours.row) > 0.3 * texture_px**2


@drawn
@given(st.integers(0, 10**6), st.sampled_from([1, 7, 16, 33, 64]), st.booleans())
def test_ties_go_to_the_face_that_the_scan_lines_give_them_to(kernel_device, seed, side, on_lattice):
    """A square of triangles whose corners and edges lie on texels' centres and borders, or anywhere; some reach outside."""
    rng = np.random.default_rng(seed)
    n = 4
    grid = np.stack(np.meshgrid(np.arange(n + 1), np.arange(n + 1)), -1).reshape(-1, 2) / n * 1.25 - 0.125
    inner = ((grid > -0.12) & (grid < 1.12)).all(1)
    grid[inner] += rng.uniform(-0.1, 0.1, (int(inner.sum()), 2))
    uvs = (np.round(grid * side * 2) / (2 * side) if on_lattice else grid).astype(np.float32)
    cell = np.arange(n * n)
    a = cell // n * (n + 1) + cell % n
    faces = np.concatenate([np.stack([a, a + 1, a + n + 2], 1), np.stack([a, a + n + 2, a + n + 1], 1)])
    corners = uvs[faces].astype(np.float64)
    edge = corners[:, 1:] - corners[:, :1]
    area = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]
    if area.min() <= 1e-3:  # folded over by rounding to the lattice
        faces = faces[area > 1e-3]
    ours = KernelRasterizer(kernel_device).rasterize_uvs(uvs, faces, side)
    scanned = rasterize_uvs(uvs, faces, side)
    if len(overlapping_texels(scanned)) == 0 and side in (1, 16, 64):  # powers of two: the places in pixels are exact
        assert_same_texels(ours, scanned)
    if area.min() > 1e-3:
        assert len(ours.row) == side * side


@pytest.mark.parametrize("azimuth_deg", [None, 33.0])
def test_the_rig_s_cameras_see_what_embree_sees(kernel_device, azimuth_deg):
    verts, faces = bumpy_sphere()
    ours, embree = KernelMesh(verts, faces, kernel_device), EmbreeMesh(verts, faces)
    cameras = rig_c2w(20.0) if azimuth_deg is None else orbit_c2w([azimuth_deg], 50.0, 2.2)
    shape = (144, 144) if azimuth_deg is None else (90, 141)
    for c2w in cameras:
        mine, truth = (mesh.rasterize(c2w, RIG_FOVY_DEG, *shape) for mesh in (ours, embree))
        assert (mine.face_index >= 0).mean() > 0.25
        assert (mine.face_index == truth.face_index).mean() > 0.999
        assert ((mine.face_index >= 0) == (truth.face_index >= 0)).mean() > 0.9998
        both = (mine.face_index >= 0) & (truth.face_index >= 0)
        same = both & (mine.face_index == truth.face_index)
        np.testing.assert_allclose(mine.distance[same], truth.distance[same], rtol=2e-5)
        assert np.quantile(np.abs(mine.distance[both] - truth.distance[both]), 0.9999) < 1e-3
        assert np.quantile(np.abs(mine.barycentrics[same] - truth.barycentrics[same]).max(-1), 0.999) < 2e-3
        assert np.isinf(mine.distance[mine.face_index < 0]).all()
        at = mine.interpolate(verts, faces)[same]
        np.testing.assert_allclose(at, truth.interpolate(verts, faces)[same], atol=3e-4)


def test_a_camera_within_the_mesh_sees_its_inside(kernel_device):
    verts, faces = bumpy_sphere(3)
    ours, embree = KernelMesh(verts, faces, kernel_device), EmbreeMesh(verts, faces)
    c2w = orbit_c2w([70.0], 10.0, 0.3)[0]
    mine, truth = (mesh.rasterize(c2w, 100.0, 60, 80, supersample=2) for mesh in (ours, embree))
    assert mine.face_index.shape == (120, 160) and (mine.face_index >= 0).all()
    assert (mine.face_index == truth.face_index).mean() > 0.998
    np.testing.assert_allclose(mine.distance, truth.distance, rtol=1e-3)


def test_single_rays_are_traced(kernel_device):
    verts, faces = bumpy_sphere(2)
    ours, embree = KernelMesh(verts, faces, kernel_device), EmbreeMesh(verts, faces)
    origins, directions = (rays.reshape(-1, 3) for rays in pixel_rays(rig_c2w()[1], RIG_FOVY_DEG, 20, 20))
    mine, truth = (mesh.first_hits(origins, directions) for mesh in (ours, embree))
    assert (truth.face_index >= 0).sum() > 50
    np.testing.assert_array_equal(mine.face_index, truth.face_index)
    hidden = ours.occluded(origins, directions, 4.0)
    np.testing.assert_array_equal(hidden, truth.distance < 4.0)
    assert 10 < hidden.sum() < len(hidden) - 10


def test_the_device_decides(kernel_device):
    assert isinstance(rasterizer_for(kernel_device), KernelRasterizer)
    assert isinstance(rasterizer_for(kernel_device).mesh(*bumpy_sphere(0)), KernelMesh)


def test_a_cpu_uses_embree_and_scan_lines():
    rasterizer = rasterizer_for("cpu")
    assert isinstance(rasterizer, CpuRasterizer) and isinstance(rasterizer.mesh(*bumpy_sphere(0)), EmbreeMesh)
    uvs, faces = np.array([[0, 0], [1, 0], [0, 1]], np.float32), np.array([[0, 1, 2]])
    assert_same_texels(rasterizer.rasterize_uvs(uvs, faces, 16), rasterize_uvs(uvs, faces, 16))


@pytest.mark.parametrize("make", [EmbreeMesh, lambda verts, faces: KernelMesh(verts, faces, torch.device("cpu"))])
@pytest.mark.parametrize(("verts", "faces"), [((3, 2), (1, 3)), ((3, 3), (1, 4)), ((3, 3), (0, 3))])
def test_both_meshes_refuse_the_same(make, verts, faces):
    with pytest.raises(ValueError, match="expected verts"):
        make(np.zeros(verts, np.float32), np.zeros(faces, np.int32))


class Waves:
    """A field whose colour is a function of position, on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def albedo(self, points: torch.Tensor) -> torch.Tensor:
        assert points.device == self.device
        return 0.5 + 0.4 * (points * torch.tensor([5.0, 6.0, 7.0], device=points.device)).sin()


def test_a_texture_is_that_of_the_cpu(kernel_device, monkeypatch):
    """Baked and projected through the kernels, and once more through Embree and scan lines."""
    verts, faces = bumpy_sphere(3)
    atlas = unwrap(verts, faces, 512)
    hits = EmbreeMesh(verts, faces).rasterize(rig_c2w()[0], RIG_FOVY_DEG, 128, 128)
    photo = np.full((128, 128, 4), (220, 40, 60, 255), np.uint8)
    photo[..., 1] = np.linspace(20, 200, 128)
    photo[hits.face_index < 0] = 0
    ours = paint_texture(Waves(kernel_device), atlas, {"front": photo}, CANONICAL_RIG, 512)
    used = []
    monkeypatch.setattr(texture, "rasterizer_for", lambda device: used.append(device) or CpuRasterizer())
    truth = paint_texture(Waves(kernel_device), atlas, {"front": photo}, CANONICAL_RIG, 512)
    assert used and set(used) == {kernel_device}
    difference = np.abs(ours.astype(int) - truth).max(-1)
    assert (difference <= 1).mean() > 0.999 and difference.mean() < 0.02
    assert (np.abs(truth[..., ::2].astype(int) - (220, 60)).max(-1) <= 12).mean() > 0.05  # the photo left its mark
