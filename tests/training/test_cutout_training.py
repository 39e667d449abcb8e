"""Training the cut-out network on two boxes: the pictures and their truth, falling loss, resuming to the step, the export."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from tetraview.engine.errors import InvalidRequestError
from tetraview.engine.photos.cutout_network import CutoutNetwork, border_contrast
from tetraview.engine.training import command, view_cache
from tetraview.engine.training.cutout.scenes import SceneConfig, augment_scene, draw_scene, draw_view, object_weights
from tetraview.engine.training.cutout.surfaces import SURFACES
from tetraview.engine.training.cutout.trainer import LOSSES, CutoutConfig, CutoutTask, cutout_loss, overlaps
from tetraview.engine.training.export import export_weights
from tetraview.engine.training.loop import TrainingLoop
from tetraview.engine.training.view_cache import CacheConfig, ViewCache, build_view_cache

from .resuming import EXACT, check_resuming_is_exact
from .test_training import box

PX = 32
TINY = {"input_px": PX, "channels": (8, 16, 16), "normalised_levels": 2}
SCENES = SceneConfig(px=PX, smallest=0.5)
BOXES = [box("red", (0.5, 0.3, 0.6), (200, 30, 30)), box("blue", (0.3, 0.6, 0.4), (30, 30, 200))]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Rendered views of two boxes, in the folder that training takes."""
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view_cache, "load_objects", lambda pack: BOXES)
        assert len(list(build_view_cache([Path("any")], folder / "train", CacheConfig(px=PX, targets=2)))) == 1
    yield folder


@pytest.fixture(scope="module")
def cache(views: Path) -> ViewCache:
    return ViewCache(views / "train")


def new_task(cache: ViewCache, **settings: object) -> CutoutTask:
    torch.manual_seed(0)
    chosen: dict[str, object] = {"batch": 4, "looks": 2, "sizes": ((0.0, PX),), "warmup_steps": 5, "bf16": False, "looked_at": 8}
    config = CutoutConfig(scenes=SCENES, **{**chosen, **settings})
    return CutoutTask(CutoutNetwork(**TINY), config, cache, None, torch.device("cpu"))


@pytest.mark.parametrize("surface", [surface for surface, _ in SURFACES], ids=lambda surface: surface.__name__)
def test_surfaces_are_pictures_and_differ(surface) -> None:
    first, second = (surface(np.random.default_rng(seed), 48) for seed in (1, 2))
    assert first.shape == (48, 48, 3) and first.dtype == np.float32
    assert np.isfinite(first).all() and first.min() > -0.5 and first.max() < 3
    assert np.abs(first - second).mean() > 0.01


def test_views_are_cut_to_the_outline_and_premultiplied(cache: ViewCache) -> None:
    for seed in range(6):
        view = draw_view(cache, seed % 2, np.random.default_rng(seed))
        assert view.dtype == np.float32 and view.shape[2] == 4
        solid = view[..., 3] > 0.5
        assert solid[:2].any() and solid[-2:].any() and solid[:, :2].any() and solid[:, -2:].any()
        assert np.abs(view[view[..., 3] == 0][:, :3]).max(initial=0) == 0


def test_pictures_come_with_their_truth(cache: ViewCache) -> None:
    weights = object_weights(cache.meta)
    shares = []
    for seed in range(12):
        picture, truth = draw_scene(cache, weights, SceneConfig(px=64, degraded=0.0), np.random.default_rng(seed))
        assert picture.shape == (64, 64, 3) and picture.dtype == truth.dtype == np.uint8 and truth.shape == (64, 64)
        again, _ = draw_scene(cache, weights, SceneConfig(px=64, degraded=0.0), np.random.default_rng(seed))
        assert np.array_equal(picture, again)
        solid = truth > 127
        shares.append(max(solid.any(1).sum(), solid.any(0).sum()) / 64)
        edge = cv2.dilate(truth, np.ones((3, 3), np.uint8)) != cv2.erode(truth, np.ones((3, 3), np.uint8))
        slope = np.abs(cv2.Laplacian(picture, cv2.CV_32F)).sum(-1)
        assert slope[edge].mean() > 3  # there is something to see along the outline
    assert min(shares) > 0.15 and max(shares) > 0.6


def test_a_second_look_moves_picture_and_truth_alike() -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[20:44, 12:40] = 255
    picture = np.dstack([truth, truth // 2, 255 - truth])
    for seed in range(8):
        seen, mask = augment_scene(picture, truth, np.random.default_rng(seed))
        assert not np.array_equal(mask, truth)
        inside, outside = seen[cv2.erode(mask, np.ones((5, 5))) > 250], seen[cv2.dilate(mask, np.ones((5, 5))) < 5]
        assert inside.std(0).max() < 2 and outside.std(0).max() < 2
        assert np.abs(inside.mean(0) - outside.mean(0)).max() > 60


def test_scans_and_textured_objects_come_more_often() -> None:
    weights = object_weights([{"scan": True, "mode": "atlas"}, {"mode": "atlas"}, {"mode": "palette"}])
    assert weights.sum() == pytest.approx(1) and weights[0] > weights[1] > weights[2]


def test_the_border_tells_what_is_rare() -> None:
    picture = torch.full((1, 3, 64, 64), 0.2)
    picture[:, :, :, :32] = -0.6  # two colours at the border
    picture[:, 0, 24:40, 24:40] = 0.9
    near, wide = border_contrast(picture)[0]
    assert near.shape == wide.shape == (64, 64)
    assert near[26:38, 26:38].min() > 0.5 and wide[26:38, 26:38].min() > 0.5
    assert near[4:16, 4:60].median() < 0.01 and near[50:60, 4:60].median() < 0.01


def test_the_loss_knows_right_from_wrong_and_minds_the_outline() -> None:
    truth = torch.zeros(1, 1, 32, 32)
    truth[..., 8:24, 8:24] = 1
    right, _ = cutout_loss(20 * truth - 10, truth, CutoutConfig())
    wrong, terms = cutout_loss(10 - 20 * truth, truth, CutoutConfig())
    assert right < 0.02 and wrong > 5 and set(terms) == set(LOSSES)
    at_edge, inside = (20 * truth - 10 for _ in range(2))
    at_edge[..., 8, 8:24] *= -1
    inside[..., 16, 8:24] *= -1
    assert cutout_loss(at_edge, truth, CutoutConfig())[0] > 1.5 * cutout_loss(inside, truth, CutoutConfig())[0]


def test_loss_falls_and_the_averaged_weights_are_saved(cache: ViewCache, tmp_path: Path) -> None:
    loop = TrainingLoop(new_task(cache, minutes=10, max_steps=40, learning_rate=4e-3, checkpoint_every_s=1e9), tmp_path)
    losses = [terms["loss"] for terms in loop.run()]
    assert len(losses) == 40 and np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])
    saved = CutoutNetwork.from_pretrained(tmp_path / "cutout")
    assert torch.equal(saved.stem.weight, loop.average.values[0])
    assert (tmp_path / "samples_000040.png").exists() and "overlap" in (tmp_path / "validation.csv").read_text()


def test_resuming_gives_the_same_next_step(cache: ViewCache, tmp_path: Path) -> None:
    check_resuming_is_exact(lambda: new_task(cache, **EXACT), tmp_path)


def test_pictures_grow_with_the_training(cache: ViewCache, tmp_path: Path) -> None:
    task = new_task(cache, minutes=1e6, max_steps=4, sizes=((0.0, 32), (0.5, 64)))
    sides: list[int] = []
    task.network.register_forward_pre_hook(lambda module, args: sides.append(args[0].shape[-1]))
    list(TrainingLoop(task, tmp_path).run())
    assert sides[:4] == [32, 32, 64, 64]


def test_export_is_half_precision_and_names_no_folder(cache: ViewCache, tmp_path: Path) -> None:
    torch.manual_seed(0)
    CutoutNetwork().save_pretrained(tmp_path / "trained")
    size = export_weights(tmp_path / "trained", tmp_path / "shipped", CutoutNetwork)
    assert size < 2_000_000
    with safe_open(tmp_path / "shipped" / "diffusion_pytorch_model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
    assert str(tmp_path) not in (tmp_path / "shipped" / "config.json").read_text()
    assert sum(p.numel() for p in CutoutNetwork.from_pretrained(tmp_path / "shipped").parameters()) <= 1_000_000
    broken = CutoutNetwork(**TINY)
    broken.stem.weight.data[0, 0, 0, 0] = 1e6
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(ValueError, match=r"stem\.weight does not fit float16"):
        export_weights(tmp_path / "broken", tmp_path / "elsewhere", CutoutNetwork)


def test_overlaps_are_of_each_picture() -> None:
    truth = np.zeros((2, 4, 4), bool)
    truth[:, :2] = True
    found = truth.copy()
    found[1, 1] = False
    assert overlaps(found, truth).tolist() == [1.0, 0.5]


def test_the_command_trains_and_exports(views: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["cutout", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--cache", str(views), "--max-steps", "1"]
    words += ["--px", str(PX), "--targets", "2", "--workers", "1", "--batch", "2", "--no-bf16", "--device", "cpu"]
    with pytest.raises(InvalidRequestError, match=r"No train_\*\.npz"):
        command.run(parser.parse_args(words))
    (tmp_path / "train_00.npz").write_bytes(b"")
    threads = torch.get_num_threads()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(view_cache, "load_objects", lambda pack: BOXES)
            args = parser.parse_args([*words, "--export", str(tmp_path / "export"), "--threads", "1"])
            assert command.run(args) == 0
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(-1)
    assert (tmp_path / "export" / "diffusion_pytorch_model.safetensors").stat().st_size < 2_000_000
    assert (tmp_path / "out" / "checkpoint.pt").exists()


def test_training_starts_from_given_weights(views: Path, tmp_path: Path) -> None:
    """One step at a rate of nearly nothing leaves the weights that were given; a folder without weights is refused."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    (tmp_path / "train_00.npz").write_bytes(b"")
    words = ["cutout", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--cache", str(views), "--max-steps", "1"]
    words += ["--px", str(PX), "--targets", "2", "--workers", "1", "--batch", "2", "--no-bf16", "--device", "cpu"]
    words += ["--learning-rate", "1e-12", "--threads", "1", "--start-from"]
    torch.manual_seed(7)
    given = CutoutNetwork(**TINY)
    given.half().save_pretrained(tmp_path / "given")
    threads = torch.get_num_threads()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(view_cache, "load_objects", lambda pack: BOXES)
            with pytest.raises(InvalidRequestError, match=r"no config\.json"):
                command.run(parser.parse_args([*words, str(tmp_path / "nothing")]))
            assert command.run(parser.parse_args([*words, str(tmp_path / "given")])) == 0
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(-1)
    trained = CutoutNetwork.from_pretrained(tmp_path / "out" / "cutout")
    assert trained.dtype == torch.float32
    assert all(torch.allclose(a, b.float(), atol=1e-6) for a, b in zip(trained.parameters(), given.parameters(), strict=True))
