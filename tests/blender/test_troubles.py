"""What can be wrong is said in one sentence with its remedy, and nothing is done without consent."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import bpy
import pytest

from .conftest import PHOTOS

LIMIT_S = 300.0


@pytest.mark.parametrize("operator", ["generate", "paint_views", "variations"])
def test_nothing_to_start_from_is_said(ext, operator):
    with pytest.raises(RuntimeError, match="write a prompt, or choose at least one photo"):
        getattr(bpy.ops.tetraview, operator)()
    assert "prompt" in ext.status.error
    assert bpy.ops.tetraview.dismiss() == {"FINISHED"}
    assert ext.status.error == ""


def test_an_engine_that_is_not_installed_comes_with_its_button(ext, photos, monkeypatch):
    session = ext.module("operators.session")
    monkeypatch.delenv("TETRAVIEW_ENGINE_PYTHON")
    session.look_again()
    assert not ext.status.engine_ready
    with pytest.raises(RuntimeError, match="not installed yet"):
        bpy.ops.tetraview.generate()
    assert ext.status.error_fix == "tetraview.install_engine"
    assert ext.status.error_fix in ext.module("panels.job").FIXES


def test_an_engine_python_that_does_not_exist_is_named(ext, photos, monkeypatch):
    monkeypatch.delenv("TETRAVIEW_ENGINE_PYTHON")
    preferences = bpy.context.preferences.addons[ext.name].preferences
    preferences.engine_python = "/nowhere/python"
    try:
        with pytest.raises(RuntimeError, match="/nowhere/python"):
            bpy.ops.tetraview.paint_views()
    finally:
        preferences.engine_python = ""


def test_a_broken_photo_is_named(ext, photos, tmp_path):
    broken = tmp_path / "broken_left.png"
    broken.write_bytes(b"no picture")
    ext.settings.left = str(broken)
    with pytest.raises(RuntimeError, match="broken_left"):
        bpy.ops.tetraview.paint_views()


def test_offline_the_engine_is_not_installed_but_cut_outs_work(ext, photos):
    assert not bpy.app.online_access
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.tetraview.install_engine(consent=True)
    assert ext.status.error_fix == "preferences.system"
    assert ext.status.error_fix in ext.module("panels.job").FIXES
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}


def test_nothing_is_installed_without_consent(ext, monkeypatch):
    install = ext.module("operators.install")
    monkeypatch.setattr(install, "refuse_offline", lambda: None)
    monkeypatch.setattr(install, "install", lambda *_: pytest.fail("installed without consent"))
    with pytest.raises(RuntimeError, match="without your consent"):
        bpy.ops.tetraview.install_engine()


@pytest.mark.parametrize("ending", ["done", "cancelled", "failed"])
def test_installing_reports_progress_and_ends_in_words(ext, monkeypatch, ending):
    install, errors = ext.module("operators.install"), ext.module("engine.errors")
    step_type = install.InstallProgress
    go_on = threading.Event()

    def installer(plan, python, on_progress, is_cancelled):
        assert plan.download_bytes > 1e6
        on_progress(step_type("download", 0.25, "torch", 1, 4, 100_000_000, 400_000_000, 10e6))
        assert go_on.wait(LIMIT_S)
        if ending == "failed":
            raise errors.EngineError("The package index cannot be reached.")
        if is_cancelled():
            raise errors.CancelledError("Cancelled.")

    monkeypatch.setattr(install, "refuse_offline", lambda: None)
    monkeypatch.setattr(install, "install", installer)
    run = ext.module("operators.task").TaskRun(install.InstallTask(consent=True))
    assert run.start(bpy.context)
    deadline = time.monotonic() + LIMIT_S
    while ext.status.fraction == 0.0 and time.monotonic() < deadline:
        assert run.tick(bpy.context) == {"RUNNING_MODAL"}
    assert ext.status.fraction == pytest.approx(0.25)
    assert ext.status.eta_s == pytest.approx(30)
    assert ext.status.message == "Downloading torch (100 of 400 MB) 10.0 MB/s"
    if ending == "cancelled":
        bpy.ops.tetraview.cancel()
    go_on.set()
    state = {"RUNNING_MODAL"}
    while state == {"RUNNING_MODAL"} and time.monotonic() < deadline:
        state = run.tick(bpy.context)
    expected = {
        "done": ({"FINISHED"}, "The engine is installed: write a prompt, or choose photos."),
        "cancelled": ({"CANCELLED"}, "Install engine: cancelled."),
        "failed": ({"CANCELLED"}, "The package index cannot be reached."),
    }
    assert (state, run.outcome) == expected[ending]


def test_a_job_that_is_done_before_it_hears_the_cancel_is_cancelled_all_the_same(ext):
    task_module, finished = ext.module("operators.task"), []

    class Deaf(task_module.Task):
        kind, title = "DEAF", "Deaf"

        def begin(self, context):
            return SimpleNamespace(poll=list, done=True, cancel=lambda: None)

        def finish(self, context):
            finished.append(True)
            return "Made."

    run = task_module.TaskRun(Deaf())
    assert run.start(bpy.context)
    assert bpy.ops.tetraview.cancel() == {"FINISHED"}
    assert run.tick(bpy.context) == {"CANCELLED"}
    assert run.outcome == "Deaf: cancelled."
    assert finished == []


def test_the_plan_names_size_and_folder(ext):
    plan = ext.module("operators.install").planned(bpy.context)
    assert plan.download_bytes > 50e6
    assert plan.folder.parent == ext.module("operators.session").home()


def test_an_unexpected_error_is_kept_for_the_report(ext, monkeypatch):
    task_module = ext.module("operators.task")

    class Broken(task_module.Task):
        kind, title = "BROKEN", "Broken"

        def begin(self, context):
            return SimpleNamespace(poll=lambda: 1 / 0, done=False, cancel=lambda: None)

    run = task_module.TaskRun(Broken())
    assert run.start(bpy.context)
    assert run.tick(bpy.context) == {"CANCELLED"}
    assert run.failed
    assert "ZeroDivisionError" in ext.status.error
    text = ext.module("operators.diagnostics").report_text(bpy.context)
    assert "Traceback" in text
    assert "Blender " + bpy.app.version_string in text


def test_the_report_names_no_folder_of_the_user(ext, photos):
    ext.status.error = f"Cannot read {ext.module('operators.session').home()}/jobs/x.png"
    assert str(ext.module("operators.session").home()) not in ext.module("operators.diagnostics").report_text(bpy.context)


@pytest.fixture
def preferences(ext, monkeypatch):
    """The preferences; the data folder is the extension's own again afterwards."""
    monkeypatch.delenv("TETRAVIEW_HOME", raising=False)
    found = bpy.context.preferences.addons[ext.name].preferences
    yield found
    found.home = ""
    ext.module("operators.session").stop_engine()
    ext.module("operators.session").look_again()
    ext.module("operators.history").forget_shown()


def test_a_data_folder_on_a_drive_that_is_gone_is_one_sentence_everywhere(ext, preferences, tmp_path):
    drive = tmp_path / "drive"
    drive.write_text("no folder can be made in a file")
    preferences.home = str(drive / "tetraview")
    ext.module("operators.session").look_again()
    ext.module("operators.history").forget_shown()
    assert not ext.status.engine_ready
    assert "plug in its drive, or choose another" in ext.status.engine_problem
    assert ext.status.prompts() == []
    ext.settings.prompt = "a chair"
    ext.settings.front = PHOTOS["front"]
    assert ext.settings.photos() == {"front": PHOTOS["front"]}
    ext.settings.strip.job, ext.settings.strip.orbit = "20260101-000000", "20260101-000000"
    strip = ext.settings.strip
    assert (strip.folder, strip.path("front"), strip.orbit_frames(), strip.is_whole()) == ("", "", [], False)
    for operator in ("open_folder", "paint_views", "generate", "remove_engine"):
        with pytest.raises(RuntimeError, match="plug in its drive, or choose another") as raised:
            getattr(bpy.ops.tetraview, operator)()
        assert "Traceback" not in str(raised.value)
    text = ext.module("operators.diagnostics").report_text(bpy.context)
    assert "plug in its drive" in text
    assert str(tmp_path) not in text
    drive.unlink()
    assert ext.module("operators.session").home() == drive / "tetraview"


def test_a_data_folder_beside_an_unsaved_file_is_refused_and_beside_a_saved_one_is_whole(ext, preferences, tmp_path):
    session = ext.module("operators.session")
    preferences.home = "//tetraview"
    with pytest.raises(ext.module("engine.errors").EngineError, match="never saved: save it, or choose another"):
        session.home()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    assert session.home() == tmp_path / "tetraview"


def test_a_relative_data_folder_and_a_tilde_are_whole_paths(ext, preferences, photos, tmp_path, monkeypatch):
    session = ext.module("operators.session")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "jane"))
    preferences.home = "~/tetraview"
    assert session.home() == tmp_path / "jane" / "tetraview"
    assert os.listdir(tmp_path) == ["jane"]
    monkeypatch.setenv("TETRAVIEW_HOME", "data")
    assert session.home() == tmp_path / "data"
    ext.settings.poly_budget, ext.settings.texture_px = 500, "256"
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    assert len(bpy.context.scene.objects) == 1


@pytest.mark.parametrize(
    "said",
    [
        'File "{home}/my add-ons/x.py", line 3', "{home}/photos/front.png cannot be read", "\'{home}\\\\x\\\\y.png\'",
        "/media/{user}/My Photos/front.png: gone", "C:\\Users\\{user}\\front.png", '"C:\\\\Users\\\\{user}\\\\a b.png"',
        "\\\\server\\{user}\\front.png", "{user}_front.png", "of {user}", "JANEQARTIST", "{photos}/left one.png is soft",
    ],
)  # fmt: skip
def test_the_report_names_neither_folders_nor_the_user(ext, said, tmp_path, monkeypatch):
    user = "janeqartist"
    photos = tmp_path / "Photos of the cat"
    photos.mkdir()
    monkeypatch.setenv("HOME", f"/home/{user}")
    monkeypatch.setenv("LOGNAME", user)
    ext.settings.front = str(photos / "front.png")
    ext.status.error = ext.status.report = said.format(home=f"/home/{user}", user=user, photos=photos)
    text = ext.module("operators.diagnostics").report_text(bpy.context)
    for secret in (user, "Users", "media", "server", "cat", str(tmp_path)):
        assert secret not in text.lower().replace("located", "")
    if said.startswith("{home}"):
        assert "~/photos/front.png cannot be read" in text or "<folder>/front.png cannot be read" in text


def test_a_folder_that_is_gone_is_named(ext, tmp_path):
    with pytest.raises(RuntimeError, match="no longer exists"):
        bpy.ops.tetraview.open_folder(folder=str(tmp_path / "gone"))
