"""The turntable: a scene of its own, an exact loop, the user's scene untouched, GIF and MP4 on the disk, nothing left behind."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess

import bpy
import numpy as np
import pytest
from mathutils import Vector

PILLOW = """
import json, sys
from PIL import Image, ImageSequence
import numpy as np
image = Image.open(sys.argv[1])
frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
np.save(sys.argv[2], np.stack(frames))
print(json.dumps({"loop": image.info.get("loop"), "duration": image.info.get("duration"), "format": image.format}))
"""


def decoded(path, tmp_path):
    """What Pillow reads: frames uint8 [N, H, W, 3] and a dict with loop, duration (ms) and format."""
    out = tmp_path / "frames.npy"
    command = [os.environ["TETRAVIEW_ENGINE_PYTHON"], "-c", PILLOW, str(path), str(out)]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    return np.load(out), facts


LISTS = ("scenes", "objects", "meshes", "cameras", "lights", "worlds", "actions", "images", "materials", "collections")


def counts() -> dict[str, int]:
    """How much of everything the file holds, but for Blender's own picture of the last render."""
    found = {name: len(getattr(bpy.data, name)) for name in LISTS}
    found["images"] -= sum(image.type == "RENDER_RESULT" for image in bpy.data.images)
    return found


@pytest.fixture
def monkey(ext):
    """Suzanne, off the origin, turned and scaled, beside a cube that is not selected."""
    bpy.ops.mesh.primitive_cube_add(location=(9, 0, 0))
    bpy.ops.mesh.primitive_monkey_add(location=(3, -2, 1), rotation=(0, 0, 0.7))
    bpy.context.object.scale = (1, 1, 2)
    bpy.context.view_layer.update()
    return bpy.context.object


def scene_state():
    scene = bpy.context.scene
    facts = [(obj.name, tuple(map(tuple, obj.matrix_world)), obj.select_get(), obj.users) for obj in scene.objects]
    return scene.name, facts, scene.camera, scene.render.engine, scene.frame_current, scene.render.filepath


def build(ext, objects, **changes):
    look = {"frames": 8, "size_px": 64, "elevation": 0.3, "engine": "WORKBENCH", **changes}
    return ext.module("operators.turntable").build_turntable(objects, bpy.context.scene, **look)


def test_the_camera_walks_once_around_and_sees_the_whole_object_in_every_frame(ext, monkey):
    before = scene_state()
    scene = build(ext, [monkey])
    assert [obj.data for obj in scene.objects if obj.type == "MESH"] == [monkey.data]
    layer = scene.view_layers[0]
    azimuths = []
    for frame in range(1, 10):
        scene.frame_set(frame)
        world = scene.camera.evaluated_get(layer.depsgraph).matrix_world.copy()
        centre = sum((monkey.matrix_world @ Vector(corner) for corner in monkey.bound_box), Vector()) / 8
        offset = world.translation - centre
        azimuths.append(math.atan2(offset.x, -offset.y))
        assert math.asin(offset.z / offset.length) == pytest.approx(0.3, abs=1e-5)
        tangent = math.tan(scene.camera.data.angle / 2)
        for corner in monkey.bound_box:
            seen = world.inverted() @ (monkey.matrix_world @ Vector(corner))
            assert max(abs(seen.x), abs(seen.y)) <= -seen.z * tangent
    steps = np.diff(np.unwrap(azimuths))
    assert np.allclose(steps, 2 * math.pi / 8, atol=1e-5)  # frame 9 would be frame 1 again: the loop is exact
    assert azimuths[0] == pytest.approx(0, abs=1e-6)  # the first frame is the front
    assert scene_state() == before
    ext.module("operators.turntable").remove_turntable(scene)


def test_removing_a_turntable_leaves_nothing(ext, monkey):
    before, state = counts(), scene_state()
    ext.module("operators.turntable").remove_turntable(build(ext, [monkey]))
    assert counts() == before
    assert scene_state() == state


def test_a_gif_of_the_selected_object(ext, monkey, tmp_path):
    before, state = counts(), scene_state()
    path = tmp_path / "new folder" / "orbit.gif"
    result = bpy.ops.tetraview.orbit_preview(output="GIF", filepath=str(path), frames=4, size_px=64, engine="CYCLES")
    assert result == {"FINISHED"}
    frames, facts = decoded(path, tmp_path)
    assert frames.shape == (4, 64, 64, 3)
    assert facts["loop"] == 0
    assert all(np.abs(one.astype(int) - other).mean() > 1 for one, other in itertools.pairwise(frames))
    seen = np.abs(frames.astype(int) - frames[0, 0, 0]).max(-1) > 12  # [4, 64, 64]
    assert 0.03 < seen.mean() < 0.8
    assert not seen[:, [0, -1]].any()
    assert not seen[:, :, [0, -1]].any()
    assert os.listdir(path.parent) == ["orbit.gif"]
    assert counts() == before
    assert scene_state() == state


def test_the_gif_is_written_by_the_engine_while_blender_goes_on(ext, monkey, tmp_path):
    path = tmp_path / "orbit.gif"
    task = ext.module("operators.orbit").OrbitTask(str(path), "GIF", frames=3, size_px=64, elevation=0.3, engine="CYCLES")
    run = ext.module("operators.task").TaskRun(task)
    assert run.start(bpy.context)
    for _ in range(4):
        assert run.tick(bpy.context) == {"RUNNING_MODAL"}
    writer = run._job._writer
    assert writer.pid != os.getpid() and writer.args[0] == os.environ["TETRAVIEW_ENGINE_PYTHON"]
    writer.wait()
    assert run.tick(bpy.context) == {"FINISHED"}
    frames, facts = decoded(path, tmp_path)
    assert frames.shape == (3, 64, 64, 3) and facts["format"] == "GIF"
    assert sorted(os.listdir(tmp_path)) == ["frames.npy", "orbit.gif"]


def test_a_gif_that_cannot_be_written_is_one_sentence_and_leaves_nothing(ext, monkey, tmp_path):
    (tmp_path / "orbit.gif").mkdir()
    with pytest.raises(RuntimeError, match="a folder is in its place"):
        bpy.ops.tetraview.orbit_preview(output="GIF", filepath=str(tmp_path / "orbit.gif"), frames=4, size_px=64, engine="CYCLES")
    assert os.listdir(tmp_path) == ["orbit.gif"]


def test_an_mp4_is_a_video_of_all_frames(ext, monkey, tmp_path):
    before = counts()
    path = tmp_path / "orbit.mp4"
    bpy.ops.tetraview.orbit_preview(output="MP4", filepath=str(path), frames=4, size_px=64, engine="CYCLES")
    clip = bpy.data.movieclips.load(str(path))
    assert tuple(clip.size) == (64, 64)
    assert clip.frame_duration == 4
    bpy.data.movieclips.remove(clip)
    assert os.listdir(tmp_path) == ["orbit.mp4"]
    assert counts() == before


def test_cancelling_between_frames_removes_what_was_made(ext, monkey, tmp_path):
    before = counts()
    task = ext.module("operators.orbit").OrbitTask(
        str(tmp_path / "a.gif"), "GIF", frames=8, size_px=64, elevation=0.3, engine="CYCLES"
    )
    run = ext.module("operators.task").TaskRun(task)
    assert run.start(bpy.context)
    assert run.tick(bpy.context) == {"RUNNING_MODAL"}
    assert ext.status.fraction == pytest.approx(1 / 9)
    assert bpy.ops.tetraview.cancel() == {"FINISHED"}
    assert run.tick(bpy.context) == {"CANCELLED"}
    assert not run.failed
    assert os.listdir(tmp_path) == []
    assert counts() == before


def test_play_shows_the_turntable_and_close_brings_the_scene_back(ext, monkey):
    before, home = counts(), bpy.context.scene
    assert bpy.ops.tetraview.orbit_preview(output="PLAY", engine="WORKBENCH") == {"FINISHED"}
    assert bpy.context.scene != home
    assert bpy.context.scene.frame_end == 48
    assert bpy.ops.tetraview.orbit_close() == {"FINISHED"}
    assert bpy.context.scene == home
    assert counts() == before


@pytest.mark.parametrize("text", ["no json", "[]", '{"0": 5, "1": [1], "2": ["NO", "SUCH", "LOOK", 3]}', "[" * 100_000, 7])
def test_a_turntable_with_a_damaged_memory_still_closes(ext, monkey, text):
    before, home = counts(), bpy.context.scene
    assert bpy.ops.tetraview.orbit_preview(output="PLAY", engine="WORKBENCH") == {"FINISHED"}
    bpy.context.scene["tetraview_views"] = text
    assert bpy.ops.tetraview.orbit_close() == {"FINISHED"}
    assert (bpy.context.scene, counts()) == (home, before)


def test_a_rendered_frame_leaves_no_path_in_the_scene(ext, monkey, tmp_path):
    scene = build(ext, [monkey], engine="CYCLES", frames=4)
    turntable = ext.module("operators.turntable")
    turntable.render_frame(scene, 1, str(tmp_path / "1.png"))
    assert (tmp_path / "1.png").is_file()
    assert scene.render.filepath == ""
    turntable.remove_turntable(scene)


def test_nothing_to_turn_is_said(ext):
    with pytest.raises(RuntimeError, match="select an object"):
        bpy.ops.tetraview.orbit_preview(output="GIF")
    with pytest.raises(RuntimeError, match="select an object"):
        bpy.ops.tetraview.orbit_preview(output="PLAY")
