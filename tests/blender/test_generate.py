"""The main job through the real operator and the real engine process: four photos to a mesh in the scene."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

from .conftest import PHOTOS, ROOT
from .job_files import make_job

BUDGET, TEXTURE_PX, SEED = 1500, 256, 3
LIMIT_S = 300.0
PHASES = ("photos", "planes", "mesh", "simplify", "unwrap", "texture", "asset")


@pytest.fixture
def small(ext, photos):
    """A small job is set up in the panel."""
    ext.settings.poly_budget, ext.settings.texture_px, ext.settings.seed = BUDGET, str(TEXTURE_PX), SEED
    return ext


def contents() -> dict[str, int]:
    return {name: len(getattr(bpy.data, name)) for name in ("objects", "meshes", "materials", "images", "collections", "scenes")}


def tick_until(run, condition):
    """Tick as the modal timer does until `condition()` holds or the run ends; returns the last state."""
    deadline = time.monotonic() + LIMIT_S
    state = {"RUNNING_MODAL"}
    while state == {"RUNNING_MODAL"} and not condition():
        assert time.monotonic() < deadline, "no end in time"
        state = run.tick(bpy.context)
        time.sleep(0.02)
    return state


def start(ext):
    run = ext.module("operators.task").TaskRun(ext.module("operators.generate").GenerateTask())
    assert run.start(bpy.context)
    return run


def test_the_operator_makes_what_the_engine_makes(small, tmp_path):
    bpy.context.scene.cursor.location = (1, 2, 3)
    before = contents()
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    obj = bpy.context.view_layer.objects.active
    command = [
        os.environ["TETRAVIEW_ENGINE_PYTHON"], "-I", "-m", "tetraview", "reconstruct", *PHOTOS.values(), "-o", str(tmp_path),
        "--poly-budget", str(BUDGET), "--texture", str(TEXTURE_PX), "--seed", str(SEED),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    asset = np.load(tmp_path / "asset.npz")

    mesh = obj.data
    co = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", co)
    verts = co.reshape(-1, 3)
    low, high = asset["verts"].min(0), asset["verts"].max(0)
    assert np.allclose(verts, asset["verts"] - [*(low + high)[:2] / 2, low[2]], atol=1e-6)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    assert np.array_equal(corners.reshape(-1, 3), asset["faces"])
    uvs = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers.active.uv.foreach_get("vector", uvs)
    assert np.allclose(uvs.reshape(-1, 3, 2), asset["uvs"][asset["uv_faces"]], atol=1e-6)

    assert 100 < len(mesh.polygons) <= BUDGET
    assert mesh.validate(verbose=True) is False
    assert tuple(obj.location) == (1, 2, 3)
    assert min(corner[2] for corner in obj.bound_box) == pytest.approx(0, abs=1e-6)
    image = mesh.materials[0].node_tree.nodes["Image Texture"].image
    assert tuple(image.size) == (TEXTURE_PX, TEXTURE_PX)
    assert {name: count - before[name] for name, count in contents().items()} == {
        "objects": 1, "meshes": 1, "materials": 1, "images": 1 + len(PHOTOS), "collections": 1, "scenes": 0,
    }  # fmt: skip
    assert small.status.result_object == obj.name
    assert f"{len(mesh.polygons):,} triangles" in small.status.note
    assert small.settings.strip.is_whole()
    assert json.loads(obj["tetraview_request"])["seed"] == SEED


def test_one_undo_step_takes_everything_back(small):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="before")
    before = contents()
    assert bpy.ops.tetraview.generate("EXEC_DEFAULT", True) == {"FINISHED"}
    assert contents()["objects"] == before["objects"] + 1
    bpy.ops.ed.undo()
    assert len(bpy.context.scene.objects) == before["objects"]
    assert contents()["collections"] == before["collections"]
    bpy.ops.ed.redo()
    assert len(bpy.context.scene.objects) == before["objects"] + 1


def cancel_at(run, phase):
    """Have the artist's click on *Cancel* come with the first event of `phase`: a tick may bring the last events all at once."""
    take, asked = run._take, []

    def take_and_cancel(context, event):
        take(context, event)
        if not asked and context.window_manager.tetraview.phase == phase:
            assert not bpy.ops.tetraview.generate.poll()  # one job at a time
            assert bpy.ops.tetraview.cancel() == {"FINISHED"}
            asked.append(phase)

    run._take = take_and_cancel
    return asked


@pytest.mark.parametrize("phase", PHASES)
def test_cancelling_in_any_phase_leaves_the_scene_alone(small, phase):
    before = contents()
    run = start(small)
    asked = cancel_at(run, phase)
    assert tick_until(run, lambda: False) == {"CANCELLED"}
    assert asked, f"no event of {phase}"
    assert not run.failed, (run.outcome, small.status.report)
    assert small.status.note == "Generate mesh: cancelled."
    assert small.status.error == ""
    assert contents() == before


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_tick_does_not_wait_for_the_engine(small):
    run = start(small)
    tick_until(run, lambda: small.status.phase == "photos")
    pid = small.module("operators.session").engine().pid
    os.kill(pid, signal.SIGSTOP)
    try:  # a tick that waits for a message would never come back
        assert [run.tick(bpy.context) for _ in range(100)] == [{"RUNNING_MODAL"}] * 100
    finally:
        os.kill(pid, signal.SIGCONT)
    bpy.ops.tetraview.cancel()
    assert tick_until(run, lambda: False) == {"CANCELLED"}


def test_a_killed_engine_is_an_error_in_words_and_the_next_run_works(small):
    session = small.module("operators.session")
    killed = session.engine().pid

    def kill_when_views_are_there():
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            folder = small.status.result_folder
            if folder and Path(folder, "views", "left.png").exists():
                os.kill(killed, signal.SIGKILL)
                return
            time.sleep(0.02)

    small.status.result_folder = ""
    killer = threading.Thread(target=kill_when_views_are_there)
    killer.start()
    before = contents()
    with pytest.raises(RuntimeError, match="engine stopped before the job was done"):
        bpy.ops.tetraview.generate()
    killer.join()
    assert contents() == before
    assert "killed by signal 9" in small.status.error
    assert "EngineStoppedError" in small.status.report
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    assert small.status.error == ""
    assert session.engine().alive
    assert session.engine().pid != killed


def test_again_makes_the_same_mesh_and_settings_come_back(small):
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    first = bpy.context.view_layer.objects.active
    small.settings.poly_budget = 50_000
    for name in PHOTOS:
        setattr(small.settings, name, "")
    assert bpy.ops.tetraview.regenerate() == {"FINISHED"}
    second = bpy.context.view_layer.objects.active
    assert second != first
    assert len(second.data.polygons) == len(first.data.polygons)
    assert [tuple(v.co) for v in second.data.vertices] == [tuple(v.co) for v in first.data.vertices]
    assert bpy.ops.tetraview.copy_settings() == {"FINISHED"}
    assert small.settings.poly_budget == BUDGET
    assert small.settings.photos() == PHOTOS


def test_an_object_whose_views_are_gone_is_made_from_its_photos_or_says_so(ext, tmp_path):
    provenance, request_type = ext.module("operators.provenance"), ext.module("engine.types").GenerateRequest
    obj, job = bpy.data.objects.new("Old", None), make_job(ext)
    (job / "views").rename(job / "hidden")
    request = request_type(photos=dict(PHOTOS), output_dir=str(tmp_path))
    provenance.keep_request(obj, request)
    assert provenance.runnable_again(obj) == request_type(photos=dict(PHOTOS), output_dir="")
    gone = request_type(photos={name: f"/gone/{name}.png" for name in PHOTOS}, output_dir=str(job))
    provenance.keep_request(obj, gone)
    with pytest.raises(ext.module("engine.errors").InvalidRequestError, match="gone"):
        provenance.runnable_again(obj)
    (job / "hidden").rename(job / "views")
    assert provenance.runnable_again(obj).views_dir == str(job / "views")


def test_the_cut_outs_are_shown_first_and_used_by_the_next_run(small):
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    shown = small.settings.strip.folder
    assert small.settings.strip.is_whole()
    assert len(bpy.data.objects) == 0
    run = start(small)
    assert run.task._request.views_dir == shown
    assert tick_until(run, lambda: small.status.phase not in ("", "photos")) == {"RUNNING_MODAL"}
    bpy.ops.tetraview.cancel()
    tick_until(run, lambda: False)
    assert small.settings.strip.folder == shown


def test_switching_off_in_the_middle_stops_the_engine(small):
    run = start(small)
    process = small.module("operators.session").engine()
    tick_until(run, lambda: small.status.phase == "photos")
    assert process.alive
    small.disable()
    try:
        assert not process.alive
    finally:
        small.enable()


def test_nothing_is_written_into_the_package_folder(ext, photos):
    def listing():
        folders = (ROOT / name for name in ("engine", "kernels", "operators", "panels", "wheels"))
        return {path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts}

    before = listing()
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert listing() == before
    assert ROOT not in Path(ext.settings.strip.folder).resolve().parents
