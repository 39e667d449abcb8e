"""The whole command on real classes at tiny size: shapes go in as files, a report with plausible figures comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from tetraview.engine import cli
from tetraview.engine.dataset.meshes import load_mesh_file
from tetraview.engine.evaluation import run as run_module
from tetraview.engine.evaluation.objects import normalised
from tetraview.engine.evaluation.run import file_stem
from tetraview.engine.evaluation.scoring import input_views, mesh_images, read_asset
from tetraview.engine.evaluation.sheet import spread
from tetraview.engine.imaging.colour import on_white
from tetraview.engine.imaging.compare import psnr
from tetraview.engine.job import run as job_run
from tetraview.engine.multiview.pipeline import FourViewPipeline

from ...tiny_generators import tiny_components


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder with a red box, a blue capsule and a file that holds nothing."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    box = trimesh.creation.box((1.4, 1.0, 0.8))
    box.visual.face_colors = (200, 40, 40, 255)
    box.export(folder / "box.ply")
    capsule = trimesh.creation.capsule(1.0, 0.5)
    capsule.visual.vertex_colors = (60, 90, 160, 255)
    capsule.export(folder / "capsule.glb")
    (folder / "nothing.obj").write_text("# nothing\n")
    return folder


def _evaluate(shapes: Path, model: Path, out: Path, *more: str) -> int:
    return cli.main([
        "evaluate", str(shapes), "--out", str(out), "--model", str(model), "--resolution", "48", "32", "--input-px", "96",
        "--texture-px", "256", "--poly-budget", "2000", "--device", "cpu", *more,
    ])  # fmt: skip


@pytest.mark.slow
def test_report_pictures_and_going_on_after_an_interruption(
    shapes: Path, hull_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, assets = tmp_path / "out" / "report.json", tmp_path / "assets"
    monkeypatch.setattr(job_run, "LATTICE_RESOLUTION", 64)  # the 256 of the product takes most of the time
    measure = run_module.measure
    calls: list[str] = []

    def interrupted(setup: Any, ref: Any, truth: Any) -> dict[str, Any]:
        calls.append(ref.key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(setup, ref, truth)

    monkeypatch.setattr(run_module, "measure", interrupted)
    extra = ("--assets", str(assets), "--gallery", str(tmp_path / "gallery.png"))
    assert _evaluate(shapes, hull_model, out, *extra) == 130
    assert not out.exists()
    assert _evaluate(shapes, hull_model, out, *extra) == 0
    assert calls == ["shapes/box.ply", "shapes/capsule.glb", "shapes/capsule.glb"]  # the box was not measured again

    report = json.loads(out.read_text())
    assert [record["key"] for record in report["objects"]] == ["shapes/box.ply", "shapes/capsule.glb"]
    assert list(report["unreadable"]) == ["shapes/nothing.obj"]
    assert report["mean"]["objects"] == 2 and report["mean"]["failures"] == 0
    assert report["run"]["measured_now"] == 1
    assert [len(sha) for sha in report["settings"]["weights_sha256"].values()] == [64]
    for record in report["objects"]:
        assert 0 < record["mesh"]["n_faces"] <= 2000
        assert set(record["rows"]) == {"48", "32"}
        truth = normalised(load_mesh_file(tmp_path / record["key"]))
        for px, rows in record["rows"].items():  # the hull of convex shapes, seen from four sides and above, misses little
            blank = float(np.mean([psnr(np.ones_like(image), image) for image in mesh_images(truth, int(px))]))
            assert rows["volumetric"]["psnr"] > blank + 5 and rows["mesh"]["psnr"] > blank + 8
            assert rows["volumetric"]["ssim"] > 0.6 and rows["mesh"]["ssim"] > 0.8
            assert len(rows["mesh"]["psnr_by_view"]) == 16
            assert rows["mesh"]["psnr"] == pytest.approx(np.mean(rows["mesh"]["psnr_by_view"]))
        assert 0 < record["surface"]["normal_deg"] < 45
        assert record["surface"]["fscore"] > 0.15 and record["surface"]["chamfer"] < 0.08
        assert record["seconds"]["mesh"] > 0 and record["failure"] is None
    assert report["mean"]["rows"]["48"]["mesh"]["psnr"] == pytest.approx(
        np.mean([record["rows"]["48"]["mesh"]["psnr"] for record in report["objects"]])
    )
    printed = capsys.readouterr().out
    assert f"{report['mean']['rows']['48']['volumetric']['psnr']:.2f}" in printed
    assert "nothing.obj holds no triangles" in printed

    sheet = np.asarray(Image.open(out.with_suffix(".png")).convert("RGB")).astype(int)
    assert (sheet[..., 0] - sheet[..., 1] > 100).mean() > 0.01  # the red box is on it
    assert Image.open(tmp_path / "gallery.png").width > 600
    mesh = read_asset(assets / file_stem("shapes/box.ply") / "asset.glb")
    truth = np.array([1.4, 0.8, 1.0]) / np.linalg.norm([0.7, 0.5, 0.4])  # Y-up file: its y is our height
    extent = mesh.verts.max(0) - mesh.verts.min(0)
    assert (extent > truth - 0.05).all() and (extent < truth + 0.4).all()  # a hull holds its object
    assert (np.argsort(extent) == np.argsort(truth)).all()
    assert len(mesh.faces) == report["objects"][0]["mesh"]["n_faces"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resolution", "8"), "out of range"),
        (("--resolution", "64", "64"), "twice"),
        (("--texture-px", "500"), "500 px"),
        (("--input-px", "1"), "out of range"),
        (("--limit", "0"), "limit of 0"),
        (("--ids", "no-such"), "no-such"),
        (("--rig", "80", "30"), "elevation of 80"),
        (("--model", "no-such-folder"), "no-such-folder"),
        (("--out", "report.txt"), ".json"),
    ],
)
def test_wrong_settings_are_one_sentence(
    shapes: Path, hull_model: Path, tmp_path: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _evaluate(shapes, hull_model, tmp_path / "report.json", *arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error


def test_views_from_another_rig_are_shown_and_read_as_such(shapes: Path, hull_model: Path, tmp_path: Path) -> None:
    out, assets = tmp_path / "report.json", tmp_path / "assets"
    words = ("--ids", "capsule.glb", "--rig", "0", "0", "--assets", str(assets))
    assert _evaluate(shapes, hull_model, out, *words) == 0
    report = json.loads(out.read_text())
    assert report["settings"]["rig"] == [0, 0]
    request = json.loads((assets / file_stem("shapes/capsule.glb") / "request.json").read_text())
    assert (request["elevation_deg"], request["fovy_deg"]) == (0, 0)
    front = np.asarray(Image.open(assets / file_stem("shapes/capsule.glb") / "views" / "front.png"))[..., 3] > 127
    assert (front == front[::-1]).mean() > 0.995  # at eye level a capsule's outline is the same upside down
    assert report["objects"][0]["surface"]["normal_deg"] < 30


def test_file_stems_are_safe_and_differ() -> None:
    keys = ["a/b", "a_b", "a b", "a_2f_b", "ü/..", "a.b"]
    stems = [file_stem(key) for key in keys]
    assert len(set(stems)) == len(keys)
    assert all("/" not in stem and " " not in stem for stem in stems)


def test_spread_is_even_and_keeps_the_ends() -> None:
    items = [Path(str(i)) for i in range(100)]
    assert spread(items, 4) == [Path("0"), Path("33"), Path("66"), Path("99")]
    assert spread(items[:3], 4) == items[:3]
    assert spread(items, 1) == [Path("0")]


def test_views_that_are_not_shown_are_painted_and_measured(shapes: Path, hull_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = FourViewPipeline(**tiny_components())
    last = pipeline.vae.decoder.layers[-1]
    torch.nn.init.constant_(last.bias, 0.9)  # white and opaque, whatever the latents
    torch.nn.init.zeros_(last.weight)
    pipeline.save_pretrained(tmp_path / "generator")
    out, words = tmp_path / "report.json", ("--ids", "box.ply", "--steps", "1", "--generator", str(tmp_path / "generator"))
    assert _evaluate(shapes, hull_model, out, "--known", "front", "back", *words) == 0
    report = json.loads(out.read_text())
    (record,) = report["objects"]
    assert set(record["painted"]) == {"right", "left"}
    assert report["mean"]["painted_psnr"] == pytest.approx(np.mean(list(record["painted"].values())))
    # A white view beside the truth: what is wrong is what the object covers.
    truth = input_views(normalised(load_mesh_file(shapes / "box.ply")), 48)["right"]
    assert record["painted"]["right"] == pytest.approx(psnr(np.ones((48, 48, 3), np.float32), on_white(truth)), abs=1.5)
    assert report["settings"]["known"] == ["front", "back"]
    assert len(report["settings"]["weights_sha256"]) > 2
