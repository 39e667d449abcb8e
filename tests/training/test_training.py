"""Training on a handful of real small objects: the cache, the batches, falling loss, resuming to the step."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tetraview.engine.cameras import RIG_FOVY_DEG, orbit_c2w, pixel_rays
from tetraview.engine.dataset.textured_mesh import TexturedMesh
from tetraview.engine.errors import InvalidRequestError
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.reconstructor.model import UNKNOWN_SILHOUETTE
from tetraview.engine.rendering.volumetric import composite
from tetraview.engine.training import command, view_cache
from tetraview.engine.training.batches import BatchConfig, draw_batch, draw_known, draw_object, target_rays
from tetraview.engine.training.loop import TrainingLoop
from tetraview.engine.training.losses import LossConfig, seen_through, surface_loss, termination_loss
from tetraview.engine.training.mesh_loss import MeshLossConfig, mesh_loss, single, surface_verts
from tetraview.engine.training.prefetch import prefetch
from tetraview.engine.training.reconstructor import ReconstructorTask, TrainConfig, mesh_stage, start_from_weights, validate
from tetraview.engine.training.view_cache import CacheConfig, ViewCache, build_view_cache

from .resuming import EXACT, check_resuming_is_exact

TINY = {"input_px": 32, "patch_px": 2, "channels": (8, 16), "attention_px": 8, "head_dim": 8, "plane_channels": 8, "plane_px": 16,
        "shallow_channels": 4, "hidden": 16}  # fmt: skip
FOUR_CANONICAL = {"inputs": (1, 0, 0, 0), "known": (0, 0, 0, 1)}
BATCH = BatchConfig(objects=2, rays=64, **FOUR_CANONICAL)


def box(name: str, size: tuple[float, float, float], colour: tuple[int, int, int]) -> TexturedMesh:
    """A box of one colour, its front (-Y) of another."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * size
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = np.array([(q[0], q[k], q[k + 1]) for q in quads for k in (1, 2)], np.int32)
    verts = corners[faces].reshape(-1, 3)
    front = (verts.reshape(-1, 3, 3)[..., 1] < 0).all(1).repeat(3)
    uvs = np.where(front, 0.75, 0.25)[:, None].repeat(2, 1).astype(np.float32)
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[:, 0], texture[:, 1] = colour, (240, 240, 40)
    return TexturedMesh(name, verts, np.arange(36, dtype=np.int32).reshape(-1, 3), uvs, texture, True, {"source": name})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ViewCache:
    folder = tmp_path_factory.mktemp("views")
    meshes = [box("red", (0.5, 0.3, 0.6), (200, 30, 30)), box("blue", (0.3, 0.6, 0.4), (30, 30, 200))]
    patch = pytest.MonkeyPatch()
    patch.setattr(view_cache, "load_objects", lambda pack: meshes)
    config = CacheConfig(px=32, targets=3, shard=1)
    assert len(list(build_view_cache([Path("any")], folder, config))) == 2
    assert list(build_view_cache([Path("any")], folder, config)) == []  # nothing is rendered twice
    with pytest.raises(ValueError, match="another configuration"):
        list(build_view_cache([Path("any")], folder, CacheConfig(px=16, targets=3, shard=1)))
    patch.undo()
    return ViewCache(folder)


def new_task(cache: ViewCache, **settings: object) -> ReconstructorTask:
    torch.manual_seed(0)
    chosen = {"minutes": 10, "warmup_steps": 5, "bf16": False, "batch": BATCH, "loss": LossConfig(samples=24), **settings}
    return ReconstructorTask(Reconstructor(**TINY), TrainConfig(**chosen), cache, cache, torch.device("cpu"))


def test_rays_are_those_of_the_target_pixels(cache: ViewCache) -> None:
    camera = orbit_c2w([30.0], 10.0)
    origins, directions = pixel_rays(camera[0], RIG_FOVY_DEG, 32, 32)
    pixels = np.array([0, 17, 500, 1023])
    ours_o, ours_d = target_rays(camera.repeat(4, 0), pixels, 32)
    assert np.allclose(ours_d, directions.reshape(-1, 3)[pixels], atol=1e-6)
    assert np.allclose(ours_o, origins.reshape(-1, 3)[pixels], atol=1e-6)


@pytest.mark.parametrize("inputs", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)])
@pytest.mark.parametrize("settings", [{"mirror": 1.0, "turn": 0.0}, {"mirror": 0.0, "turn": 1.0}, {"mirror": 1.0, "turn": 1.0}])
def test_augmented_views_and_rays_stay_one_scene(cache: ViewCache, settings: dict[str, float], inputs: tuple[int, ...]) -> None:
    """A ray's true colour must be found where its hit point projects into some augmented input view."""
    config = BatchConfig(rays=256, jittered=0.0, recolour=0.0, foreground=1.0, inputs=inputs, patch=1, **settings)
    for seed in range(6):
        drawn = draw_object(cache[seed % 2], config, 32, np.random.default_rng(seed))
        origins, directions, colour, alpha, depth = drawn.rays
        keep = (alpha > 0.99) & (depth > 0)
        points = torch.from_numpy(origins[keep] + directions[keep] * depth[keep, None])
        model = Reconstructor(**TINY)
        encoded = model.encode_batch(torch.from_numpy(drawn.raw)[None], [drawn.rig])
        true_points = torch.from_numpy(drawn.surface[:, :3])
        on_surface = model.sample(encoded, torch.zeros(len(true_points), dtype=torch.long), true_points)
        assert (on_surface.hull > -0.09).float().mean() > 0.98
        samples = model.sample(encoded, torch.zeros(len(points), dtype=torch.long), points)
        assert (samples.hull > -0.09).float().mean() > 0.98  # a pixel is 0.067 wide
        rgba = samples.views[..., :4]
        error = (rgba[..., :3] / rgba[..., 3:].clamp(min=0.5) - torch.from_numpy(colour[keep])[:, None]).abs().amax(-1).amin(1)
        assert error.median() < 0.1


@pytest.mark.parametrize(("mirror", "turn"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_known_views_and_surface_go_along_with_mirror_and_turn(cache: ViewCache, mirror: float, turn: float) -> None:
    """Compared with the same draw left as it is: a known view stays the one that shows its side, points move as the rays do."""
    settings = {"rays": 64, "jittered": 0.0, "recolour": 0.0, "known": (0, 1, 0, 0)}
    seen = set()
    for seed in range(12):
        plain, moved = (
            draw_object(cache[0], BatchConfig(**settings, mirror=m, turn=t), 32, np.random.default_rng(seed))
            for m, t in ((0.0, 0.0), (mirror, turn))
        )
        world = np.linalg.inv(moved.frame)  # from the object's own world to the batch's
        assert np.allclose(moved.surface[:, :3], plain.surface[:, :3] @ world.T, atol=1e-5)
        assert np.allclose(moved.surface[:, 3:6], plain.surface[:, 3:6] @ world.T, atol=1e-5)
        towards = [np.array(way) for way in ((0, -1, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0))]  # cameras of front, right, back, left
        sides = {tuple(np.round(world @ towards[view], 3) + 0.0) for view in np.flatnonzero(plain.known)}
        assert {tuple(np.round(towards[view], 3) + 0.0) for view in np.flatnonzero(moved.known)} == sides
        seen.add(tuple(moved.known))
    assert len(seen) > 1


def test_recolouring_is_the_same_for_inputs_and_targets(cache: ViewCache) -> None:
    config = BatchConfig(rays=320, jittered=0.0, recolour=1.0, foreground=1.0, mirror=0.0, turn=0.0, patch=1, **FOUR_CANONICAL)
    drawn = draw_object(cache[0], config, 32, np.random.default_rng(5))
    raw, colour, alpha = drawn.raw, drawn.rays[2], drawn.rays[3]
    shown = {tuple(np.round(c, 1)) for c in raw[raw[..., 3] > 0.999][:, :3]}
    wanted = {tuple(np.round(c, 1)) for c in colour[alpha > 0.999]}
    assert wanted <= shown


def test_loss_falls(cache: ViewCache, tmp_path: Path) -> None:
    loop = TrainingLoop(new_task(cache), tmp_path)
    batches = loop.draw(0)
    terms = [loop.step(batches) for _ in range(90)]
    for name in ("colour", "termination", "surface"):
        assert np.mean([t[name] for t in terms[-5:]]) < 0.7 * np.mean([t[name] for t in terms[:5]]), name


def test_fewer_rays_than_a_square_are_refused() -> None:
    with pytest.raises(ValueError, match="rays: expected at least 64, one square of side 8, got 63"):
        BatchConfig(rays=63)


def test_known_views_are_drawn_as_asked(cache: ViewCache) -> None:
    rng = np.random.default_rng(0)
    config = BatchConfig(known=(1, 0, 1, 2), front_known=1.0)
    drawn = np.stack([draw_known(config, rng) for _ in range(400)])
    counts = np.bincount(drawn.sum(1), minlength=5)
    assert drawn[:, 0].all() and counts[0] == counts[2] == 0
    assert abs(counts[1] - 100) < 40 and abs(counts[3] - 100) < 40
    batch = draw_batch(cache, BatchConfig(objects=4, rays=64, known=(1, 0, 0, 0)), 32, np.full(2, 0.5), rng)
    assert (batch.known.sum(1) == 1).all()
    assert torch.equal((batch.raw[..., 4] == UNKNOWN_SILHOUETTE).all(-1).all(-1), ~batch.known)


class BoxDistance(torch.nn.Module):
    """Stands in for the reconstructor's decoder: the exact distance to a box times a factor."""

    def __init__(self, half: torch.Tensor, factor: float) -> None:
        super().__init__()
        self.half, self.factor = half, factor

    def hidden(self, planes: object, views: object, points: torch.Tensor) -> torch.Tensor:
        return points

    def log_density(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return points, points

    def signed_distance(self, points: torch.Tensor) -> torch.Tensor:
        beyond = points.abs() - self.half
        return -(beyond.clamp(min=0).norm(dim=1) + beyond.amax(1).clamp(max=0)) * self.factor


@pytest.mark.parametrize("settings", [{}, {"mirror": 1.0}])
def test_surface_loss_is_least_for_the_true_distance(cache: ViewCache, settings: dict[str, float]) -> None:
    config = BatchConfig(objects=1, rays=64, **{"mirror": 0.0, "turn": 0.0, **settings})
    half = {"red": torch.tensor([0.5, 0.3, 0.6]), "blue": torch.tensor([0.3, 0.6, 0.4])}
    model = Reconstructor(**TINY)
    for seed in range(2):
        rng, weights = np.random.default_rng(seed), np.eye(2)[seed]
        batch = draw_batch(cache, config, 32, weights, rng)
        encoded = model.encode_batch(batch.raw, batch.rigs, batch.known)
        terms = {}
        for factor in (1.0, 0.5, -1.0):
            model.decoder = BoxDistance(half[str(cache.meta[seed]["id"])], factor)
            terms[factor] = surface_loss(model, encoded, batch, LossConfig(), torch.Generator().manual_seed(0))[1]
        assert terms[1.0]["sdf"] < 0.03 and terms[1.0]["normal"] < 0.1
        assert terms[0.5]["sdf"] > 2 * terms[1.0]["sdf"] and terms[0.5]["normal"] > 0.4
        assert terms[-1.0]["sdf"] > terms[0.5]["sdf"]
        model = Reconstructor(**TINY)


def test_start_from_weights_keeps_them_and_adds_what_is_new(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = Reconstructor(**TINY).eval()
    old.save_pretrained(tmp_path)
    new = start_from_weights(tmp_path, condition_channels=8).eval()
    views = torch.rand(4, 32, 32, 4).numpy()
    assert torch.equal(new.encode(views).encoded.planes, old.encode(views).encoded.planes)
    assert new.config["condition_channels"] == 8


def test_termination_is_the_likelihood_of_the_true_depth() -> None:
    """Three samples a ray, 0.5 apart: pass the first (optical depth 0.2), stop at the second (1.5); the third does not count."""
    distances = torch.tensor([[3.25, 3.75, 4.25], [3.25, 3.75, 4.25]])
    density = torch.tensor([0.4, 3.0, 7.0, 0.4, 3.0, 7.0])
    inside = torch.ones(2, 3, dtype=torch.bool)
    rendered = composite(density, torch.zeros(6, 3), inside, distances)
    step = 2.0 / 3
    stopped = 0.4 * step - np.log(1 - np.exp(-3.0 * step))
    passed = (0.4 + 3.0 + 7.0) * step
    both = torch.ones(2, dtype=torch.bool)
    loss = termination_loss(rendered, inside, torch.tensor([3.8, 0.0]), both)
    assert loss.item() == pytest.approx((stopped + passed) / 2, rel=1e-5)
    only_first = termination_loss(rendered, inside, torch.tensor([3.8, 0.0]), torch.tensor([True, False]))
    assert only_first.item() == pytest.approx(stopped, rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"mirror": 1.0, "turn": 0.0}, {"mirror": 1.0, "turn": 1.0}])
def test_what_views_see_through_is_outside_the_box(cache: ViewCache, settings: dict[str, float]) -> None:
    """Points inside the solid are never seen through; points well outside are, in the augmented world as well."""
    config = BatchConfig(objects=1, rays=64, jittered=0.0, recolour=0.0, **{"mirror": 0.0, "turn": 0.0, **settings})
    half = np.array([[0.5, 0.3, 0.6], [0.3, 0.6, 0.4]], np.float32)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        chosen = int(np.random.default_rng(seed).choice(2, 1, p=[0.5, 0.5])[0])
        batch = draw_batch(cache, config, 32, np.full(2, 0.5), rng)
        name = cache.meta[chosen]["id"]
        size = half[0 if name == "red" else 1]
        own = torch.from_numpy(np.random.default_rng(9).uniform(-1, 1, (400, 3)).astype(np.float32)) * 0.9
        world = own @ torch.linalg.inv(batch.frame[0]).T
        empty = seen_through(batch, world, torch.zeros(len(own), dtype=torch.long))
        excess = (own.abs() - torch.from_numpy(size)).amax(1)
        assert not empty[excess < -0.1].any()
        assert empty[excess > 0.15].float().mean() > 0.9  # three views carve most of the outside


@pytest.fixture(scope="module")
def volumetric(cache: ViewCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights after a few volumetric steps: there is a surface to extract."""
    folder = tmp_path_factory.mktemp("volumetric")
    loop = TrainingLoop(new_task(cache), folder)
    for _ in range(20):
        loop.step()
    loop.task.save_weights(folder, None)
    return folder / "reconstructor"


@pytest.mark.parametrize("stage", ["volumetric", "mesh"])
def test_resuming_gives_the_same_next_step(stage: str, cache: ViewCache, volumetric: Path, tmp_path: Path) -> None:
    def new() -> ReconstructorTask:
        task = new_task(cache, **EXACT)
        if stage == "volumetric":
            return task
        batch = replace(mesh_stage().batch, objects=1, rays=64)
        config = replace(task.config, batch=batch, mesh=MeshLossConfig(resolution=24, pixels=100))
        model = Reconstructor.from_pretrained(volumetric)
        return ReconstructorTask(model, config, cache, cache, torch.device("cpu"))

    terms = check_resuming_is_exact(new, tmp_path)
    assert stage == "volumetric" or terms["mesh_depth"] > 0


def test_train_writes_weights_curves_and_sheets(cache: ViewCache, tmp_path: Path) -> None:
    loop = TrainingLoop(new_task(cache, max_steps=25, validation_objects=1), tmp_path)
    assert len(list(loop.run())) == 25
    assert (tmp_path / "curves.csv").read_text().startswith("step,seconds,loss")
    assert (
        (tmp_path / "validation.csv").exists() and list(tmp_path.glob("samples_*.png")) and (tmp_path / "checkpoint.pt").exists()
    )
    saved = Reconstructor.from_pretrained(tmp_path / "reconstructor").eval()
    scores, sheet = validate(saved, cache, 1)
    assert set(scores) == {"four", "turnaround", "one"} and all(5 < score < 60 for score in scores.values())
    assert sheet.shape == (128, 32, 3)
    averaged = dict(zip((name for name, _ in loop.task.network.named_parameters()), loop.average.values, strict=True))
    assert all(torch.equal(p, averaged[name]) for name, p in saved.named_parameters())


def test_vertices_follow_the_sdf_at_both_ends() -> None:
    ends = torch.tensor([[[0, 0, 0], [4, 0, 0]]])
    sdf = torch.tensor([[0.3, -0.1]], requires_grad=True)
    verts = surface_verts(ends, sdf, 8)
    assert verts[0].tolist() == pytest.approx([-1 + 2 * 3 / 8, -1, -1])
    verts[0, 0].backward()
    assert sdf.grad is not None and (sdf.grad > 0).all()  # more inside: the surface moves to the outside end


def test_mesh_stage_lowers_its_own_loss(cache: ViewCache, volumetric: Path) -> None:
    """Tuned on one object, the mesh loss falls, and the gradient reaches the SDF head."""
    model = Reconstructor.from_pretrained(volumetric).train()
    weights = np.full(len(cache), 1 / len(cache))
    config = mesh_stage().batch
    batch = draw_batch(
        cache,
        BatchConfig(objects=1, rays=64, views=2, mirror=0, turn=0, jittered=0, recolour=0, **FOUR_CANONICAL),
        32,
        weights,
        np.random.default_rng(0),
    )
    assert config.mirror == 0 and config.turn == 0 and len(batch.views[0]) == 2
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for step in range(60):
        encoded = single(model.encode_batch(batch.raw, batch.rigs, batch.known), 0)
        loss, terms = mesh_loss(
            model, encoded, batch.views[0], MeshLossConfig(resolution=32, pixels=400), np.random.default_rng(1)
        )
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert model.decoder.sdf.weight.grad is not None and model.decoder.sdf.weight.grad.abs().sum() > 0
            assert set(terms) == {"mesh_colour", "mesh_depth", "mesh_silhouette"}
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_prefetch_hands_errors_on() -> None:
    def broken():
        yield "first"
        raise RuntimeError("disk full")

    stream = prefetch(broken())
    assert next(stream) == "first"
    with pytest.raises(RuntimeError, match="disk full"):
        next(stream)


def test_command_names_the_missing_packs(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["reconstructor", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(InvalidRequestError, match=r"No train_\*\.npz"):
        command.run(args)
