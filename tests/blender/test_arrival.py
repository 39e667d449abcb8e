"""The arrival of a result in a window: it waits for the artist, and touches nothing of theirs."""

from __future__ import annotations

import dataclasses

import bpy
import pytest
from mathutils import Vector

from .asset_files import write_sphere_asset


@pytest.fixture
def arrival(ext, monkeypatch):
    """The module, with a window in which no tool runs; `arrival.tool` says whether one does."""
    module = ext.module("operators.arrival")
    monkeypatch.setattr(module, "tool", False, raising=False)
    monkeypatch.setattr(module, "is_calm", lambda _: not module.tool)
    return module


@pytest.fixture
def result(ext, tmp_path):
    """A finished mesh for the present scene."""
    generate, types = ext.module("operators.generate"), ext.module("engine.types")
    asset, _ = write_sphere_asset(ext, tmp_path)
    scene, request = bpy.context.scene, types.GenerateRequest(photos={}, prompt="a ball", output_dir=str(tmp_path))
    return generate.MeshResult(
        asset, request, "Ball", {}, scene.session_uid, Vector((1, 2, 3)), generate.selection_now(bpy.context)
    )


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT", "VERTEX_PAINT", "WEIGHT_PAINT", "TEXTURE_PAINT"])
def test_it_waits_for_object_mode_or_for_the_button(ext, arrival, result, mode):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.active_object
    bpy.ops.object.mode_set(mode=mode)
    arrival.add(result)
    arrival.watch()
    assert ext.status.ready == "Ball"
    assert len(bpy.data.collections) == 0
    assert bpy.ops.tetraview.place_result() == {"FINISHED"}
    assert (bpy.context.active_object, cube.mode) == (cube, mode)
    assert list(bpy.context.view_layer.objects.selected) == [cube]
    assert "Ball" in bpy.context.scene.objects
    assert ext.status.ready == ""


def test_warnings_of_the_mesh_follow_its_note(ext, arrival, result):
    assert len(result.place(bpy.context).splitlines()) == 1
    result.asset = dataclasses.replace(result.asset, warnings=("Hardly anything is left of the object.",))
    note, warning = result.place(bpy.context).splitlines()
    assert note.startswith("Ball") and warning == "Hardly anything is left of the object."


@pytest.mark.parametrize("mode", ["OBJECT", "SCULPT", "VERTEX_PAINT", "WEIGHT_PAINT", "TEXTURE_PAINT"])
def test_undo_takes_a_placed_result_back_in_every_mode_whose_steps_hold_the_scene(ext, arrival, result, mode):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode=mode)
    bpy.ops.ed.undo_push(message="ready")
    arrival.add(result)
    assert bpy.ops.tetraview.place_result() == {"FINISHED"}
    assert "Ball" in bpy.context.scene.objects
    bpy.ops.ed.undo()
    assert "Ball" not in bpy.context.scene.objects
    bpy.ops.ed.redo()
    assert "Ball" in bpy.context.scene.objects


def test_it_waits_for_a_tool_of_object_mode_and_keeps_a_new_selection(ext, arrival, result):
    arrival.add(result)
    arrival.tool = True
    assert arrival.watch() == arrival.WATCH_S
    assert not bpy.ops.tetraview.place_result.poll()
    bpy.ops.mesh.primitive_cube_add()
    arrival.tool = False
    assert arrival.watch() is None
    assert ext.status.result_object == "Ball"
    assert bpy.context.active_object.name == "Cube"


def test_a_renamed_scene_keeps_its_result_and_another_gets_none(ext, arrival, result):
    home = bpy.context.scene
    name, home.name = home.name, "Renamed"
    other = bpy.data.scenes.new(name)
    arrival.add(result)
    arrival.watch()
    assert "Ball" in home.objects
    assert len(other.objects) == 0


def test_a_result_that_cannot_be_placed_stays_for_the_button(ext, arrival, result, tmp_path):
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for path in files:
        path.rename(hidden / path.name)
    arrival.add(result)
    arrival.watch()
    assert "Ball cannot be placed" in ext.status.error and ext.status.ready == "Ball"
    for path in files:
        (hidden / path.name).rename(path)
    arrival.watch()
    assert "Ball" not in bpy.context.scene.objects  # it is not tried for ever
    assert bpy.ops.tetraview.place_result() == {"FINISHED"}
    assert "Ball" in bpy.context.scene.objects and ext.status.ready == ""


def test_a_result_whose_scene_is_gone_is_still_placed_by_the_button(ext, arrival, result):
    arrival.add(result)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    arrival.watch()
    assert len(bpy.data.objects) == 0
    assert ext.status.ready == "Ball"
    assert bpy.ops.tetraview.place_result() == {"FINISHED"}
    assert "Ball" in bpy.context.scene.objects


def test_events_wait_while_a_tool_runs_and_no_undo_step_is_pushed(ext, arrival):
    task_module, types = ext.module("operators.task"), ext.module("engine.types")
    handled = []

    class Job:
        done = False

        def poll(self):
            events, self.done = ([] if self.done else [types.Progress("views", 0.5), "views"]), True
            return events

        def cancel(self):
            pass

    class Views(task_module.Task):
        kind = title = "VIEWS"

        def begin(self, context):
            return Job()

        def handle(self, context, event):
            handled.append(event)

    run = task_module.TaskRun(Views())
    assert run.start(bpy.context)
    arrival.tool = True
    assert [run.tick(bpy.context) for _ in range(5)] == [{"RUNNING_MODAL"}] * 5
    assert (handled, ext.status.fraction) == ([], 0.5)
    arrival.tool = False
    assert run.tick(bpy.context) == {"FINISHED"}
    assert handled == ["views"]


def start_long_job(ext):
    """Start a job that never ends by itself."""
    task_module = ext.module("operators.task")

    class Long(task_module.Task):
        kind, title, folder = "LONG", "Long job", "/data/jobs/long"

        def begin(self, context):
            class Job:
                done, poll, cancel = False, staticmethod(list), staticmethod(lambda: None)

            return Job()

    assert task_module.TaskRun(Long()).start(bpy.context)


def test_another_file_cancels_the_job_in_words(ext, tmp_path):
    broken = tmp_path / "broken.blend"
    broken.write_bytes(b"no file of Blender's")
    said = "Long job: cancelled, because another file was opened; what was done so far is in /data/jobs/long."
    start_long_job(ext)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert not ext.status.running
    assert ext.status.note == said
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert ext.status.note == ""
    start_long_job(ext)
    with pytest.raises(RuntimeError):
        bpy.ops.wm.open_mainfile(filepath=str(broken))
    assert not ext.status.running
    assert ext.status.note == said


def test_closing_blender_leaves_a_sentence_for_the_next_session(ext):
    start_long_job(ext)
    ext.disable()
    ext.enable()
    changes = ext.module("operators.file_changes")
    changes.tell_last_note()
    assert ext.status.note == (
        "Long job: cancelled, because Blender was closed, or the extension switched off; "
        "what was done so far is in /data/jobs/long."
    )
    ext.status.note = ""
    changes.tell_last_note()
    assert ext.status.note == ""


def test_a_jobs_folder_is_known_to_its_task(ext, photos):
    task = ext.module("operators.views").PaintTask()
    run = ext.module("operators.task").TaskRun(task)
    assert run.start(bpy.context)
    assert task.folder in run.abandon("it rains")


def test_operators_that_start_jobs_are_neither_repeated_nor_undone_by_blender(ext):
    base = ext.module("operators.task").TaskOperator
    starters = [cls for cls in bpy.types.Operator.__subclasses__() if issubclass(cls, base)]
    assert len(starters) >= 9
    assert not [cls.bl_idname for cls in starters if getattr(cls, "bl_options", set()) & {"REGISTER", "UNDO"}]


def test_a_long_prompt_of_chinese_letters_stays_whole(ext):
    ext.settings.prompt = "红" * 480
    assert ext.settings.prompt == "红" * 480
