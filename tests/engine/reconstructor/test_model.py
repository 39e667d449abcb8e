"""The reconstructor: sizes, geometry of its inputs, and a field that agrees with itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tetraview.engine.cameras import CANONICAL_RIG, RIG_FOVY_DEG, TURNAROUND_RIG, Rig, orbit_c2w, project, rig_c2w
from tetraview.engine.reconstructor import FULL, Field, Reconstructor
from tetraview.engine.reconstructor.field import COLOUR_CHUNK
from tetraview.engine.reconstructor.rig_cameras import RigCameras
from tetraview.engine.reconstructor.visual_hull import hull_distance, signed_silhouette
from tetraview.engine.rendering.volumetric import composite, ray_samples, render_field

from .models import TINY, ball_views


@pytest.fixture(scope="module")
def ball(tiny: Reconstructor) -> Field:
    return tiny.encode(ball_views())


def test_full_size_has_about_300_million_parameters() -> None:
    with torch.device("meta"):
        model = Reconstructor(**FULL)
    count = sum(p.numel() for p in model.parameters())
    assert 270e6 < count < 330e6
    slots = torch.zeros(1, 2, 10, 512, 512, device="meta")
    assert model.unet(slots).shape == (1, 3, 80, 512, 512)


def test_saved_weights_give_the_same_field(tiny: Reconstructor, ball: Field, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").exists() and (tmp_path / "diffusion_pytorch_model.safetensors").exists()
    again = Reconstructor.from_pretrained(tmp_path).eval().encode(ball_views())
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    assert torch.equal(again.sdf(points), ball.sdf(points))


def test_wrong_views_are_named(tiny: Reconstructor) -> None:
    with pytest.raises(ValueError, match=r"expected \[4, S, S, 4\], got \(3, 32, 32, 4\)"):
        tiny.encode(np.zeros((3, 32, 32, 4), np.uint8))


def test_projection_is_that_of_cameras() -> None:
    """Rigs of every lens, several in one batch: a point is seen where `cameras.project` sees it, in the size it has there."""
    rigs = [CANONICAL_RIG, TURNAROUND_RIG, Rig(35.0, 50.0), Rig(-10.0, 10.0), Rig(45.0, 0.0)]
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 3)).astype(np.float32)
    cameras = RigCameras.of(rigs)
    index = torch.arange(len(rigs)).repeat_interleave(len(points))
    xy, height = cameras.project(index, torch.from_numpy(points).repeat(len(rigs), 1))
    for row, rig in enumerate(rigs):
        rows = slice(row * len(points), (row + 1) * len(points))
        for view, c2w in enumerate(rig.c2w()):
            assert np.allclose(xy[view, rows], project(points, c2w, rig.fovy_deg)[:, :2], atol=1e-5)
            above = project(points + 1e-2 * c2w[:3, 1], c2w, rig.fovy_deg)[:, 1]  # a step along the image's height
            step = (project(points, c2w, rig.fovy_deg)[:, 1] - above) / 2 * height[view, rows].numpy()
            assert np.allclose(step, 1e-2, rtol=1e-3)


def test_the_network_is_told_of_rig_and_known_views() -> None:
    """Told networks start as untold ones; once the modulation has weights, elevation, lens and known views change the planes."""
    torch.manual_seed(0)
    told = Reconstructor(**TINY, condition_channels=8).eval()
    views, known = ball_views(), (True, True, True, True)
    before = told.encode(views).encoded.planes
    assert torch.equal(told.encode(views, Rig(0.0, 0.0)).encoded.planes, before)
    with torch.no_grad():
        for name, parameter in told.named_parameters():
            if "modulation.weight" in name or "conv_2.weight" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    plain = told.encode(views, Rig(20.0, 30.0), known).encoded.planes
    for rig in (Rig(0.0, 30.0), Rig(20.0, 0.0)):
        assert not torch.allclose(told.encode(views, rig).encoded.planes, plain, atol=1e-4)


def test_an_unknown_view_is_not_looked_at_and_bounds_nothing(tiny: Reconstructor) -> None:
    views, known = ball_views(), (True, False, True, True)
    other = views.copy()
    other[1] = np.random.default_rng(0).random((32, 32, 4))
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(5)) - 0.5
    fields = [tiny.encode(v, CANONICAL_RIG, known) for v in (views, other)]
    assert torch.equal(fields[0].sdf(points), fields[1].sdf(points))
    front_only = tiny.encode(views, TURNAROUND_RIG, (True, False, False, False))
    behind = torch.tensor([[0.0, 0.9, 0.0], [0.0, -0.9, 0.0]])  # along the front camera's axis, outside the ball
    assert front_only.inside_hull(behind).all() and not tiny.encode(views, TURNAROUND_RIG).inside_hull(behind).any()
    with pytest.raises(ValueError, match="at least one of them set"):
        tiny.encode(views, CANONICAL_RIG, (False,) * 4)


def test_signed_silhouette_is_exact_on_a_disc() -> None:
    px, radius = 256, 70.3
    grid = np.arange(px) + 0.5 - px / 2
    distance = radius - np.hypot(grid[:, None], grid[None, :])
    alpha = np.clip(distance + 0.5, 0, 1)
    ours = signed_silhouette(alpha) * px
    near = np.abs(distance) < 20
    assert np.abs(ours - distance)[near].max() < 0.8  # away from the edge: distances between pixel centres
    assert np.abs(ours - distance)[np.abs(distance) < 0.5].max() < 0.25


def test_hull_of_a_ball_is_tight_along_the_views(ball: Field) -> None:
    towards_front = torch.tensor(rig_c2w()[0][:3, 2])
    across = torch.tensor([1.0, 0.0, 0.0])
    inside = ball.inside_hull(torch.stack([across * 0.5, across * 0.72, towards_front * 0.0, torch.tensor([0.0, 0.0, 0.9])]))
    assert inside.tolist() == [True, False, True, False]
    assert hull_distance(torch.tensor([[0.1], [-0.05]]), torch.full((2, 1), 4.0)).item() < 0


def test_hull_is_as_fine_as_the_views_are(tiny: Reconstructor) -> None:
    views = ball_views(256)
    views[:, np.arange(256) % 16 < 4] = 0  # slits half as wide as a pixel of the model's input
    fine, coarse = tiny.encode(views), tiny.encode(views.reshape(4, 32, 8, 32, 8, 4).mean((2, 4)))
    axis = torch.linspace(-0.55, 0.55, 240)
    points = torch.stack([torch.zeros_like(axis), torch.zeros_like(axis), axis], 1)
    gaps = [(field.sdf(points) < -1e-3).sum().item() for field in (fine, coarse)]
    hulls = [field.views.hull(*field.views.project(points)) for field in (fine, coarse)]
    assert (hulls[0] < 0).sum() > 40  # the front view's slits cut the axis
    assert (hulls[1] < 0).sum() == 0
    assert gaps[0] > gaps[1]


def test_one_objects_hull_is_that_of_batches(tiny: Reconstructor, ball: Field) -> None:
    points = torch.rand(6000, 3, generator=torch.Generator().manual_seed(4)) * 2 - 1
    points = points[points.norm(dim=1) < 0.95]  # what all views hold
    index = torch.zeros(len(points), dtype=torch.long)
    hull = tiny.hull(ball.encoded, index, points)
    torch.testing.assert_close(ball.views.hull(*ball.views.project(points)), hull, atol=1e-5, rtol=0)
    unsure = (hull + tiny.margin).abs() < 1e-5
    assert torch.equal(ball.inside_hull(points)[~unsure], (hull > -tiny.margin)[~unsure])
    density, albedo = tiny.density_and_albedo(ball.encoded, index, points)
    ours = ball.density(points)
    torch.testing.assert_close(ours[0], density, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1], albedo, rtol=0, atol=1e-5)
    many = points.repeat(2 * COLOUR_CHUNK // len(points) + 1, 1)  # more than are decoded at a time
    torch.testing.assert_close(ball.albedo(many), ours[1].clamp(0, 1).repeat(len(many) // len(points), 1), rtol=0, atol=1e-5)


def test_lattice_sdf_equals_sdf(ball: Field) -> None:
    for resolution in (16, 64):
        ijk = torch.randint(0, resolution + 1, (4000, 3), generator=torch.Generator().manual_seed(2))
        direct = ball.sdf(-1 + 2 * ijk.float() / resolution)
        assert (direct - ball.lattice_sdf(ijk, resolution)).abs().max() < 1e-5
    assert direct.max() > 0 > direct.min()


def test_field_depends_on_every_view_and_on_planes(tiny: Reconstructor, ball: Field) -> None:
    points = (torch.rand(200, 3, generator=torch.Generator().manual_seed(3)) - 0.5) * 0.5
    for view in range(4):
        views = ball_views()
        views[view, ..., 0] *= 0.2
        changed = tiny.encode(views)
        assert not torch.allclose(changed.albedo(points), ball.albedo(points), atol=1e-3)
        assert not torch.allclose(changed.encoded.planes, ball.encoded.planes, atol=1e-4)


def test_mirrored_views_are_the_mirrored_slots(tiny: Reconstructor) -> None:
    views = np.random.default_rng(4).random((4, 32, 32, 4), np.float32)
    seen: list[torch.Tensor] = []
    handle = tiny.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tiny.encode(views)
    handle.remove()
    slots = seen[0][0].flip(-2)
    premultiplied = torch.from_numpy(views[..., :3] * views[..., 3:]).permute(0, 3, 1, 2)
    assert torch.allclose(slots[0, :3], premultiplied[0], atol=1e-6)
    assert torch.allclose(slots[0, 5:8], premultiplied[2].flip(-1), atol=1e-6)
    assert torch.allclose(slots[1, :3], premultiplied[1], atol=1e-6)
    assert torch.allclose(slots[1, 5:8], premultiplied[3].flip(-1), atol=1e-6)


def test_empty_batches_of_points(ball: Field) -> None:
    nothing = torch.zeros(0, 3)
    assert ball.sdf(nothing).shape == (0,) and ball.albedo(nothing).shape == (0, 3)
    assert ball.lattice_sdf(torch.zeros(0, 3, dtype=torch.long)).shape == (0,)


def test_compositing_of_a_solid_slab() -> None:
    origins = torch.tensor([[0.0, -4.0, 0.0]])
    points, distances = ray_samples(origins, torch.tensor([[0.0, 1.0, 0.0]]), 100)
    inside = points[..., 1].abs() < 0.3
    density = torch.full((int(inside.sum()),), 5.0)
    colour = torch.tensor([0.2, 0.4, 0.6]).expand(len(density), 3)
    out = composite(density, colour, inside, distances)
    opacity = 1 - np.exp(-5.0 * 0.6)
    assert out.opacity.item() == pytest.approx(opacity, abs=1e-4)
    assert np.allclose(out.colour[0], opacity * np.array([0.2, 0.4, 0.6]) + 1 - opacity, atol=1e-4)


def test_rendered_ball_fills_its_silhouette(tiny: Reconstructor) -> None:
    field = tiny.encode(ball_views())
    image = render_field(field, orbit_c2w([0.0], 20.0)[0], RIG_FOVY_DEG, 32)
    alpha = ball_views()[0, ..., 3]
    assert image.shape == (32, 32, 4) and image[..., 3][alpha > 0.5].mean() > 0.9
    assert image[0, 0, 3] == 0


def test_stopping_at_opaque_samples_changes_nothing_visible(ball: Field) -> None:
    camera = orbit_c2w([30.0], 10.0)[0]
    whole = render_field(ball, camera, RIG_FOVY_DEG, 24, slabs=1)
    parts = render_field(ball, camera, RIG_FOVY_DEG, 24, slabs=8)
    premultiplied = [image[..., :3] * image[..., 3:] for image in (whole, parts)]
    assert np.abs(premultiplied[0] - premultiplied[1]).max() < 2e-3
    assert np.abs(whole[..., 3] - parts[..., 3]).max() < 2e-3
    assert whole[..., 3].max() > 0.99
