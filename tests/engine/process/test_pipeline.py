"""The one path, in this process: what it yields, what it leaves on disk, how it fails and how it is cancelled."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tetraview.engine.errors import EngineError, InvalidRequestError, PhotoError, WeightsError
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.types import VIEW_NAMES, Asset, Planes, Progress, Views


def test_whole_job_from_views(request_from_views, history):
    request = request_from_views()
    events = list(generate(request, history=history))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [type(event) for event in events if not isinstance(event, Progress)] == [Views, Planes, Asset]
    assert list(dict.fromkeys(event.phase for event in progress)) == list(request.phases)
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == pytest.approx(1)
    assert all(event.eta_s is None for event in progress)  # this machine has no history yet

    asset = events[-1]
    assert 100 < asset.n_faces <= request.poly_budget
    with np.load(asset.mesh) as mesh:
        assert mesh["verts"].shape == (asset.n_verts, 3) and mesh["faces"].shape == (asset.n_faces, 3)
        assert mesh["uv_faces"].shape == mesh["faces"].shape
        radius = np.linalg.norm(mesh["verts"] - mesh["verts"].mean(0), axis=1)
    assert 0.45 < np.median(radius) < 0.75  # the ball: 60 px of 128 at distance 4 and 30 degrees is 0.5 and, as a hull, more
    with Image.open(asset.albedo) as albedo:
        assert albedo.size == (request.texture_px, request.texture_px)
    assert set(asset.timings) == {*request.phases, "total"}
    assert len(next(iter(asset.weights_sha256.values()))) == 64


def test_second_job_has_an_eta_that_falls_to_zero(request_from_views, history):
    request = request_from_views("again")
    progress = [event for event in generate(request, history=history) if isinstance(event, Progress)]
    assert all(event.eta_s is not None for event in progress)
    assert progress[0].eta_s > 0 and progress[-1].eta_s == pytest.approx(0, abs=1e-6)


def test_job_folder_holds_every_stage_and_no_temporary_files(request_from_views, history):
    request = request_from_views("whole")
    asset = list(generate(request, history=history))[-1]
    job = JobFolder(job_path(request))
    for path in (job.request, job.planes, job.mesh, job.asset, job.albedo, job.glb, job.timings, job.log, job.view("left")):
        assert path.is_file() and path.stat().st_size > 0, path
    assert not list(job.path.rglob(".tmp-*"))
    assert type(request).from_json(job.request.read_text()) == request
    assert json.loads(job.timings.read_text()) == asset.timings


def test_same_request_gives_the_same_asset(request_from_views, history):
    models = ModelCache()
    first, second = (list(generate(request_from_views(name), models=models, history=history))[-1] for name in ("a", "b"))
    with np.load(first.mesh) as one, np.load(second.mesh) as two:
        for name in one.files:
            assert np.array_equal(one[name], two[name]), name
    assert np.array_equal(np.asarray(Image.open(first.albedo)), np.asarray(Image.open(second.albedo)))


def test_photos_are_framed_and_a_run_may_start_from_the_result(request_from_views, photos_dir, history):
    photos = {name: str(photos_dir / f"{name}.jpg") for name in VIEW_NAMES}
    request = request_from_views("cutouts", photos=photos, views_dir=None)
    events = list(generate(request, stop_after="photos", history=history))
    views = events[-1]
    assert isinstance(views, Views) and {event.phase for event in events[:-1]} == {"photos"}
    job = JobFolder(job_path(request))
    assert not job.planes.exists()
    before = {}
    for name in VIEW_NAMES:
        image = np.asarray(Image.open(views.paths[name]))
        assert image.shape == (512, 512, 4)
        assert image[256, 256, 3] == 255 and image[4, 4, 3] == 0
        before[name] = image
    start_again = replace(request, views_dir=str(job.views))
    assert isinstance(list(generate(start_again, stop_after="planes", history=history))[-1], Planes)
    for name in VIEW_NAMES:
        assert np.array_equal(np.asarray(Image.open(views.paths[name])), before[name])


def test_closing_the_iterator_stops_in_the_middle_of_a_step(request_from_views, history):
    events = generate(request_from_views(), history=history)
    for event in events:
        if isinstance(event, Progress) and event.phase == "mesh":
            break
    events.close()
    job = JobFolder(job_path(request_from_views()))
    assert job.planes.exists() and not job.mesh.exists() and not job.glb.exists()
    assert not list(job.path.rglob(".tmp-*"))
    assert not [thread for thread in threading.enumerate() if thread.name == "tetraview-step"]


def test_old_results_do_not_survive_a_new_run(request_from_views, history):
    request = request_from_views()
    list(generate(request, history=history))
    list(generate(request, stop_after="planes", history=history))
    job = JobFolder(job_path(request))
    assert job.planes.exists() and not job.glb.exists() and not job.timings.exists()


def test_empty_views_are_refused(request_from_views, tmp_path, history):
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in VIEW_NAMES:
        Image.new("RGBA", (64, 64)).save(folder / f"{name}.png")
    with pytest.raises(PhotoError, match="The front, right, back and left views are empty"):
        list(generate(request_from_views(views_dir=str(folder)), history=history))


def test_views_that_exclude_each_other_give_one_sentence(request_from_views, tmp_path, history):
    folder = tmp_path / "nothing"
    folder.mkdir()
    for name, top in zip(VIEW_NAMES, (0, 100, 0, 100), strict=True):  # nothing projects to the top and to the bottom
        pixels = np.zeros((128, 128, 4), np.uint8)
        pixels[top : top + 20, 10:30] = 255
        Image.fromarray(pixels).save(folder / f"{name}.png")
    with pytest.raises(EngineError, match="No solid object"):
        list(generate(request_from_views(views_dir=str(folder)), history=history))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "no right.png"),
        (lambda path: path.write_bytes(b"no image"), "cannot be read"),
        (lambda path: Image.new("RGBA", (64, 32), "red").save(path), "square"),
        (lambda path: Image.new("RGB", (128, 128), "red").save(path), "alpha"),
        (lambda path: Image.new("RGBA", (64, 64), "red").save(path), "differ in size"),
    ],
)
def test_spoilt_views_are_named(request_from_views, views_dir, tmp_path, history, spoil, words):
    folder = tmp_path / "spoilt"
    folder.mkdir()
    for name in VIEW_NAMES:
        (folder / f"{name}.png").write_bytes((views_dir / f"{name}.png").read_bytes())
    spoil(folder / "right.png")
    with pytest.raises(PhotoError, match=words):
        list(generate(request_from_views(views_dir=str(folder)), history=history))


def test_missing_and_damaged_weights(request_from_views, model_dir, tmp_path, history):
    with pytest.raises(WeightsError, match="no reconstructor weights"):
        list(generate(request_from_views(model=str(tmp_path)), history=history))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in model_dir.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:200])
    with pytest.raises(WeightsError, match="cannot be read"):
        list(generate(request_from_views(model=str(damaged)), history=history))


def test_wrong_requests_touch_nothing(request_from_views, tmp_path, history):
    with pytest.raises(InvalidRequestError, match="nothing to start from"):
        next(generate(request_from_views(views_dir=None), history=history))
    with pytest.raises(InvalidRequestError, match="Unknown phase"):
        next(generate(request_from_views(), stop_after="lunch", history=history))
    assert not (tmp_path / "job").exists()


def test_unwritable_folder(request_from_views, tmp_path, history):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError, match="cannot be written"):
        next(generate(request_from_views("file/job"), history=history))


def test_model_is_loaded_once(model_dir):
    models = ModelCache()
    first = models.get(model_dir, "cpu")
    assert models.get(model_dir, "cpu") is first and models.has(model_dir, "cpu")


def job_path(request) -> Path:
    return Path(request.output_dir)
