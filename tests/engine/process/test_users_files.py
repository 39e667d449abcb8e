"""Nothing of the user's is lost: what a job may replace, when it does, and that two jobs never share a folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from tetraview.engine.errors import EngineError, InvalidRequestError, PhotoError
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.types import VIEW_NAMES, Asset, Progress, Views


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; the log, which tells of the last run whatever came of it, is left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def run(models, history):
    def run(request, stop_after=None):
        return list(generate(request, stop_after=stop_after, models=models, history=history))

    return run


@pytest.fixture
def photos(photos_dir):
    return {name: str(photos_dir / f"{name}.jpg") for name in VIEW_NAMES}


@pytest.fixture
def result(request_from_views, run):
    """A finished job in the folder `job`, and its request."""
    request = request_from_views(orbit_frames=3, orbit_px=64)
    run(request)
    return request


def test_a_job_that_cannot_begin_leaves_the_old_result(result, run, photos, tmp_path):
    before = contents(tmp_path / "job")
    with pytest.raises(PhotoError, match=r"typo\.jpg"):
        run(replace(result, views_dir=None, photos={**photos, "left": str(tmp_path / "typo.jpg")}))
    with pytest.raises(PhotoError, match=r"no front\.png"):
        run(replace(result, views_dir=str(tmp_path)))
    with pytest.raises(EngineError, match="weights"):
        run(replace(result, model=str(tmp_path)))
    assert contents(tmp_path / "job") == before


def test_a_job_that_cannot_begin_makes_no_folder(request_from_views, run, tmp_path):
    for spoilt in ({"views_dir": str(tmp_path)}, {"views_dir": None, "photos": {"front": str(tmp_path / "typo.jpg")}}):
        with pytest.raises(EngineError):
            run(request_from_views("new", **spoilt), "photos")
    assert not (tmp_path / "new").exists()


def test_a_job_that_fails_or_is_cancelled_leaves_the_old_result(result, models, history, run, tmp_path):
    before = contents(tmp_path / "job")
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no image")
    with pytest.raises(PhotoError, match="damaged"):
        run(replace(result, views_dir=None, photos={"front": str(damaged)}, prompt=""), "photos")
    assert contents(tmp_path / "job") == before
    events = generate(replace(result, orbit_frames=0), models=models, history=history)
    assert any(isinstance(event, Progress) and event.phase == "mesh" for event in events)
    events.close()
    assert contents(tmp_path / "job") == before


def test_a_new_result_takes_the_place_of_the_whole_old_one(result, run, tmp_path):
    job = JobFolder(tmp_path / "job")
    assert len(list(job.orbit.iterdir())) == 3
    asset = run(replace(result, orbit_frames=0, texture_px=512))[-1]
    assert isinstance(asset, Asset) and Path(asset.glb) == job.glb and asset.n_faces
    assert json.loads(job.request.read_text())["texture_px"] == 512
    assert not job.orbit.exists() and not job.orbit_gif.exists()
    assert not list(job.path.glob(".tetraview-[nrl]*"))
    views = run(replace(result, orbit_frames=0), "photos")[-1]
    assert isinstance(views, Views) and all(Path(path).is_file() for path in views.paths.values())
    assert {path.name for path in job.path.iterdir()} == {"views", "request.json", "log.txt", ".tetraview-job.json"}


@pytest.mark.parametrize("name", ["orbit/frame_0000.png", "log.txt", "views/front.png", "albedo.png", "request.json", "views"])
def test_a_users_file_in_the_way_is_refused(request_from_views, run, tmp_path, name):
    file = tmp_path / "job" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"precious")
    before = contents(tmp_path / "job")
    with pytest.raises(InvalidRequestError, match="choose another output folder"):
        run(request_from_views(), "photos")
    assert file.read_bytes() == b"precious" and contents(tmp_path / "job") == before


def test_a_users_other_files_stay_beside_the_result(request_from_views, run, tmp_path):
    users = {"orbit/plan.png": b"1", "notes.txt": b"2", "views/top.png": b"3", ".tmp-notes": b"4", "preview/a.png": b"5"}
    for name, data in users.items():
        (tmp_path / "job" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / name).write_bytes(data)
    for _ in range(2):
        run(request_from_views(), "photos")
        assert users.items() <= contents(tmp_path / "job").items()


def test_a_result_that_was_edited_is_refused(result, run, photos, tmp_path):
    JobFolder(tmp_path / "job").view("left").write_bytes(b"touched up")
    before = contents(tmp_path / "job")
    with pytest.raises(InvalidRequestError, match=r"left\.png was changed since"):
        run(replace(result, views_dir=None, photos=photos), "photos")
    assert contents(tmp_path / "job") == before


def test_views_of_the_own_folder_are_never_written(result, run, views_dir, photos, tmp_path):
    """Touch the views up and go on from them, in the same folder: the session that the help shows."""
    job = JobFolder(tmp_path / "job")
    with Image.open(views_dir / "front.png") as image:
        ImageOps.solarize(image.convert("RGB")).convert("RGBA").save(job.view("left"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in job.view_paths.values()}
    for _ in range(2):
        assert isinstance(run(replace(result, views_dir=str(job.views)))[-1], Asset)
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    with pytest.raises(InvalidRequestError, match=r"left\.png was changed since|not a result"):
        run(replace(result, views_dir=None, photos=photos), "photos")


@pytest.mark.parametrize("through_link", [False, True])
def test_photos_are_never_written_to(request_from_views, run, photos_dir, tmp_path, through_link):
    views = tmp_path / "job" / "views"
    views.mkdir(parents=True)
    for name in VIEW_NAMES:
        shutil.copyfile(photos_dir / f"{name}.jpg", views / f"{name}.png")
    before = contents(tmp_path / "job")
    folder = views
    if through_link:
        folder = tmp_path / "link"
        folder.symlink_to(views, target_is_directory=True)
    request = request_from_views(views_dir=None, photos={name: str(folder / f"{name}.png") for name in VIEW_NAMES})
    with pytest.raises(InvalidRequestError, match="would be overwritten"):
        run(request, "photos")
    assert contents(tmp_path / "job") == before


def test_photos_may_lie_in_the_jobs_folder(request_from_views, run, photos_dir, tmp_path):
    folder = tmp_path / "job"
    shutil.copytree(photos_dir, folder)
    before = contents(folder)
    request = request_from_views(views_dir=None, photos={name: str(folder / f"{name}.jpg") for name in VIEW_NAMES})
    for _ in range(2):
        run(request, "photos")
        assert before.items() <= contents(folder).items()


def test_a_killed_job_loses_nothing_and_can_be_run_again(result, run, tmp_path):
    """Killed while it writes beside the old result, and in the middle of the exchange."""
    before = contents(tmp_path / "job")
    script = """
        import os, signal, sys
        from tetraview.engine.job import generate
        from tetraview.engine.types import GenerateRequest
        def kill(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "exchange":
            original, count = os.replace, [0]
            def replace(source, target):
                count[0] += ".tetraview-ready" in str(source)
                if count[0] == 4:
                    kill()
                original(source, target)
            os.replace = replace
        for event in generate.generate(GenerateRequest.from_json(sys.argv[1])):
            if getattr(event, "phase", "") == "mesh" and sys.argv[2] == "mesh":
                kill()
    """
    request = replace(result, orbit_frames=0, texture_px=512)
    environment = {**os.environ, "TETRAVIEW_HOME": str(tmp_path / "home")}

    def killed(when):
        command = [sys.executable, "-c", textwrap.dedent(script), request.to_json(), when]
        assert subprocess.run(command, env=environment, capture_output=True).returncode == -signal.SIGKILL

    killed("mesh")
    now = contents(tmp_path / "job")
    assert before.items() <= now.items()
    killed("exchange")
    (damaged := tmp_path / "damaged.jpg").write_bytes(b"no image")
    with pytest.raises(PhotoError):
        run(replace(result, views_dir=None, photos={"front": str(damaged)}), "photos")
    job = JobFolder(tmp_path / "job")
    assert json.loads(job.request.read_text())["texture_px"] == 512 and not job.orbit.exists() and job.glb.is_file()
    assert isinstance(run(result)[-1], Asset)
    assert set(contents(tmp_path / "job")) == set(before)


def test_two_jobs_in_one_folder(request_from_views, models, history, run, tmp_path):
    first = generate(request_from_views(), models=models, history=history)
    next(first)
    with pytest.raises(EngineError, match=rf"Another job is writing .* \(process {os.getpid()} on .*since .*choose another"):
        run(request_from_views())
    assert isinstance(list(first)[-1], Asset)
    assert not (tmp_path / "job" / ".tetraview-lock").exists()
    run(request_from_views(), "photos")


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"pid": 1, "host": "elsewhere", "started": "yesterday"}'])
def test_a_lock_that_a_killed_job_left_locks_nothing(request_from_views, run, tmp_path, text):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / ".tetraview-lock").write_text(text)
    assert isinstance(run(request_from_views(), "photos")[-1], Views)
    assert not (tmp_path / "job" / ".tetraview-lock").exists()


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[1]", '{"files": 5, "open": true, "foreign": []}', '{"open": false}'])
def test_a_damaged_marker_gives_nothing_away(result, run, tmp_path, text):
    (tmp_path / "job" / ".tetraview-job.json").write_text(text)
    before = contents(tmp_path / "job")
    with pytest.raises(InvalidRequestError, match="choose another output folder"):
        run(result, "photos")
    assert contents(tmp_path / "job") == before
