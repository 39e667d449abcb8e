"""What can be wrong is said in one sentence with its remedy, and nothing is done without consent."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import bpy
import pytest

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


def test_a_folder_that_is_gone_is_named(ext, tmp_path):
    with pytest.raises(RuntimeError, match="no longer exists"):
        bpy.ops.tetraview.open_folder(folder=str(tmp_path / "gone"))
