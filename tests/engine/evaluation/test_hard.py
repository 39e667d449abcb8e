"""Hard photos: what is done to them, how results are laid over the truth, and the whole command at tiny size."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from tetraview.engine import cli
from tetraview.engine.dataset.meshes import load_mesh_file
from tetraview.engine.dataset.textured_mesh import TexturedMesh
from tetraview.engine.evaluation.hard import measure
from tetraview.engine.evaluation.hard.alignment import align
from tetraview.engine.evaluation.hard.backgrounds import FAMILIES, Place, blackbody_gains, sensor_noise
from tetraview.engine.evaluation.hard.command import summarise_kind
from tetraview.engine.evaluation.hard.photos import KINDS, Kind, take_photos
from tetraview.engine.evaluation.objects import normalised
from tetraview.engine.evaluation.run import file_stem
from tetraview.engine.job import run as job_run
from tetraview.engine.types import VIEW_NAMES

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a red slab."""
    folder = tmp_path_factory.mktemp("shapes")
    slab = trimesh.creation.box((1.6, 0.5, 0.9))
    slab.visual.face_colors = (190, 40, 40, 255)
    slab.export(folder / "slab.ply")
    return folder


@pytest.fixture(scope="module")
def slab(folder: Path) -> TexturedMesh:
    return normalised(load_mesh_file(folder / "slab.ply"))


def shots(mesh: TexturedMesh, kind: Kind, px: int = 128, seed: int = 0, number: int = 0) -> dict[str, np.ndarray]:
    photos = take_photos(mesh, kind, seed=seed, number=number, px=px).photos
    return {name: photos[name].rgb.astype(float) for name in VIEW_NAMES}


def test_photos_are_drawn_by_the_seed(slab: TexturedMesh) -> None:
    for kind in (BY_NAME["clean"], BY_NAME["all"]):
        first, same, other = (shots(slab, kind, seed=seed) for seed in (1, 1, 2))
        assert all(np.array_equal(first[name], same[name]) for name in VIEW_NAMES)
        assert not np.array_equal(first["front"], other["front"])


def test_each_kind_spoils_what_it_says(slab: TexturedMesh) -> None:
    clean = shots(slab, BY_NAME["clean"])
    noisy = shots(slab, BY_NAME["noise"])
    assert 3 < (noisy["front"] - clean["front"])[:20].std() < 20 and abs((noisy["front"] - clean["front"])[:20].mean()) < 2
    same, each = shots(slab, BY_NAME["cast_same"]), shots(slab, BY_NAME["cast_each"])

    def tint(photo: np.ndarray) -> float:
        return float(np.log(photo[:20, ..., 0].mean() / photo[:20, ..., 2].mean()))

    assert np.ptp([tint(photo) for photo in same.values()]) < 0.05 < np.ptp([tint(photo) for photo in each.values()])
    tilted = shots(slab, BY_NAME["elevation"])
    assert np.abs(tilted["front"] - clean["front"]).mean() > 1
    held = shots(slab, BY_NAME["hand_held"])
    assert held["front"].shape == (128, 170, 3)


def test_strong_jpeg_is_in_the_file_with_chroma_at_half_size(slab: TexturedMesh, tmp_path: Path) -> None:
    photo = take_photos(slab, BY_NAME["jpeg"], seed=0, px=96).photos["front"]
    photo.save(tmp_path / "front.jpg")
    with Image.open(tmp_path / "front.jpg") as image:
        assert image.layer[0][1:3] == (2, 2)
        spoiled = np.asarray(image.convert("RGB"), float)
    best = io.BytesIO()
    Image.fromarray(photo.rgb).save(best, "JPEG", quality=photo.quality, subsampling=2)
    assert 15 <= photo.quality <= 30 and (tmp_path / "front.jpg").stat().st_size == len(best.getvalue())
    assert np.abs(spoiled - photo.rgb).mean() > 1


def test_families_of_backgrounds_take_turns_and_leave_the_object(slab: TexturedMesh) -> None:
    clean = shots(slab, BY_NAME["clean"])["front"]
    inside = np.zeros((128, 128), bool)
    inside[58:70, 50:78] = True
    for number, family in enumerate(FAMILIES):
        taken = take_photos(slab, BY_NAME["background"], seed=0, number=number, px=128)
        assert taken.drawn["family"] == family
        photo = taken.photos["front"].rgb.astype(float)
        assert np.abs(photo - clean)[inside].max() <= 1 and np.abs(photo - clean)[~inside].mean() > 5


def test_paper_differs_from_the_subject() -> None:
    rng = np.random.default_rng(0)
    assert Place.paper(0.9, rng).colours.mean() < 0.3 and Place.paper(0.1, rng).colours.mean() > 0.8


def test_lamps_and_noise() -> None:
    assert blackbody_gains(6500) == pytest.approx((1, 1, 1))
    warm, cold = blackbody_gains(2700), blackbody_gains(9000)
    assert warm[0] > 1 > warm[2] and cold[2] > 1 > cold[0]
    grey = np.full((200, 200, 3), 0.2, np.float32)
    noise = sensor_noise(grey, np.random.default_rng(0)) - grey
    assert noise.std() == pytest.approx(np.sqrt(0.0012 * 0.2 + 0.006**2), rel=0.05)


def test_a_moved_result_is_laid_back_on_the_truth(slab: TexturedMesh) -> None:
    moved = replace(slab, verts=(slab.verts - (0.08, -0.05, 0.1)).astype(np.float32) / np.float32(0.85))
    found = align(moved, slab, 0)
    assert found.scale == pytest.approx(0.85, abs=0.015) and found.shift == pytest.approx((0.08, -0.05, 0.1), abs=0.015)
    assert found.overlap > 0.95 > found.overlap_before + 0.1
    assert found.mesh(moved).verts == pytest.approx(slab.verts, abs=0.03)


def test_an_aligned_field_is_read_at_its_own_places(slab: TexturedMesh) -> None:
    class Ball:
        device = torch.device("cpu")

        def inside_hull(self, points: torch.Tensor) -> torch.Tensor:
            return points.norm(dim=-1) < 0.5

        def density(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((len(points),), 8.0), points

    found = replace(align(slab, slab, 0), scale=2.0, shift=(0.2, 0.0, 0.0)).field(Ball())
    points = torch.tensor([[1.1, 0.0, 0.0], [-0.9, 0.0, 0.0], [0.2, 0.0, 0.0]])
    assert found.inside_hull(points).tolist() == [True, False, True]
    density, albedo = found.density(points)
    assert density.tolist() == [4.0] * 3 and albedo[0].tolist() == pytest.approx([0.45, 0, 0])


def test_the_drop_is_against_clean_photos_of_the_same_objects() -> None:
    def record(name: str, kind: str, volumetric: float, mesh: float) -> dict[str, object]:
        rows = {row: {"psnr": db, "ssim": 0.5, "lpips": None} for row, db in (("volumetric", volumetric), ("mesh", mesh))}
        surface = dict.fromkeys(("chamfer", "fscore", "precision", "recall", "normal_deg"), 0.5)
        return {
            "object": name, "kind": kind, "rows": {"128": rows}, "surface": surface, "failure": None, "unaligned": mesh - 1,
        }  # fmt: skip

    clean = [record("a", "clean", 20, 21), record("b", "clean", 30, 31), record("c", "clean", 0, 0)]
    part = summarise_kind([record("a", "noise", 19, 18), record("b", "noise", 28, 30)], clean, "128")
    assert part["drop_db"] == {"volumetric": 1.5, "mesh": 2.0} and part["worst_drop_db"] == {"a": 3}
    assert part["unaligned_drop_db"] == 2.0 and part["rows"]["128"]["mesh"]["psnr"] == 24


def test_the_command_reports_every_kind_and_goes_on(
    folder: Path, hull_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job_run, "LATTICE_RESOLUTION", 64)
    photograph = measure.take_photos
    taken: list[str] = []

    def small(mesh: TexturedMesh, kind: Kind, **settings: int):
        taken.append(kind.name)
        return photograph(mesh, kind, px=160, **settings)

    monkeypatch.setattr(measure, "take_photos", small)
    out = tmp_path / "out" / "report.json"

    def evaluate(*more: str) -> int:
        return cli.main([
            "evaluate", str(folder), "--out", str(out), "--model", str(hull_model), "--resolution", "32",
            "--texture-px", "256", "--poly-budget", "1000", "--device", "cpu", *more,
        ])  # fmt: skip

    assert evaluate("--hard", "jpeg") == 0
    report = json.loads(out.read_text())
    assert list(report["kinds"]) == ["clean", "jpeg"] == taken
    assert report["kinds"]["clean"]["drop_db"] == {"volumetric": 0, "mesh": 0}
    key = next(record["object"] for record in report["records"])
    by_kind = {record["kind"]: record for record in report["records"]}
    drop = by_kind["clean"]["rows"]["32"]["mesh"]["psnr"] - by_kind["jpeg"]["rows"]["32"]["mesh"]["psnr"]
    assert report["kinds"]["jpeg"]["drop_db"]["mesh"] == pytest.approx(drop)
    assert by_kind["clean"]["failure"] is None and by_kind["clean"]["alignment"]["overlap"] > 0.7
    assert Image.open(out.with_suffix(".png")).width > 1000
    assert (out.with_suffix(".pictures") / f"{file_stem(key)}.hard.png").exists()
    assert "clean" in capsys.readouterr().out

    assert evaluate("--hard", "noise", "jpeg") == 0
    assert taken == ["clean", "jpeg", "noise"]  # what was measured before is not measured again
    assert evaluate("--hard", "fog") == 1
    assert "fog" in capsys.readouterr().err
    assert evaluate("--hard", "--known", "front") == 1
