"""Orbit preview: play a turntable of the selected objects in the viewport, or write it as GIF or MP4."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty, StringProperty

from ..engine.client import start_child
from ..engine.errors import CancelledError, EngineError
from ..engine.job.folder import new_job_folder
from ..engine.types import Progress
from . import arrival, session
from .task import Task, TaskOperator
from .turntable import FPS, MARK, build_turntable, remove_turntable, render_frame, turntable_scenes

VIEWS_KEY = "tetraview_views"
"""Custom property of a turntable that plays: how each 3-D view looked before, as JSON."""


class OrbitJob:
    """Renders one frame at each poll, in Blender's main thread; then the engine's Python writes the GIF, or Blender the MP4.

    Args:
        scene_uid: Session uid of the turntable; removed at the end, whatever the end is.
        filepath: `.gif` or `.mp4` to write.
    """

    def __init__(self, scene_uid: int, filepath: str) -> None:
        self._scene_uid, self._filepath = scene_uid, filepath
        self._frames = Path(tempfile.mkdtemp(prefix=".tetraview-orbit-", dir=os.path.dirname(os.path.abspath(filepath))))
        self._paths: list[str] = []
        self._writer: subprocess.Popen[bytes] | None = None
        self._cancelled, self.done = False, False

    def poll(self):
        """Progress after one more frame; none when all is done, or while the file is written.

        Raises:
            CancelledError: It was cancelled.
            EngineError: The file cannot be written.
        """
        if self._cancelled:
            raise CancelledError("Cancelled.")
        if self.done:
            return []
        scene = arrival.by_uid(bpy.data.scenes, self._scene_uid)
        if scene is None:
            self._clean()
            raise EngineError("The turntable's scene was removed: make the orbit preview again.")
        count = scene.frame_end
        try:
            if len(self._paths) < count:
                frame = len(self._paths) + 1
                path = str(self._frames / f"{frame:04d}.png")
                render_frame(scene, frame, path)
                self._paths.append(path)
                return [Progress("orbit", frame / (count + 1), message=f"Frame {frame} of {count}")]
            if not self._filepath.lower().endswith(".gif"):
                write_mp4(self._filepath, self._paths, scene.render.resolution_x)
            elif self._writer is None:
                self._writer = self._start_writer()
                return [Progress("orbit", count / (count + 1), message="Writing the file")]
            elif self._writer.poll() is None:
                return []
            elif self._writer.returncode:
                said = self._writer.communicate()[1].decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise EngineError(said.removeprefix("error: ") or f"{self._filepath} cannot be written.")
        except BaseException:
            self._clean()
            raise
        self._clean()
        return [Progress("orbit", 1.0, message="Written")]

    def run(self):
        """All frames, one after the other."""
        while not self.done:
            yield from self.poll()
            if self._writer is not None:
                self._writer.wait()

    def cancel(self) -> None:
        """Stop before the next frame; what was rendered is removed."""
        if not self.done:
            self._cancelled = True
            self._clean()

    def _start_writer(self):
        words = ["orbit", str(self._frames), "-o", os.path.abspath(self._filepath)]
        words += ["--background", "black", "--seconds", str(len(self._paths) / FPS)]
        return start_child(session.engine_python(), session.home(), words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _clean(self) -> None:
        self.done = True
        if self._writer is not None:
            if self._writer.poll() is None:
                self._writer.kill()
            self._writer.communicate()
        shutil.rmtree(self._frames, ignore_errors=True)
        scene = arrival.by_uid(bpy.data.scenes, self._scene_uid)
        if scene is not None:
            remove_turntable(scene)


def write_mp4(filepath: str, frame_paths: list[str], size_px: int, *, fps: int = FPS, background=(0.0, 0.0, 0.0)) -> None:
    """H.264 video of PNG frames through Blender's own FFmpeg, in a scene that is removed again.

    Args:
        filepath: `.mp4` to write.
        frame_paths: Square PNGs, in order, in one folder.
        size_px: Side of the video; an odd one gets a pixel more.
        fps: Frames a second.
        background: Colour behind transparent frames, sRGB.
    """
    scene = bpy.data.scenes.new("Tetraview Video")
    try:
        scene.view_settings.view_transform = "Standard"
        scene.render.fps = fps
        scene.render.resolution_x = scene.render.resolution_y = size_px + size_px % 2
        scene.render.resolution_percentage = 100
        scene.frame_start, scene.frame_end = 1, len(frame_paths)
        editor = scene.sequence_editor_create()
        strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # "sequences" until 4.3
        count = len(frame_paths)
        span = {"length": count} if bpy.app.version >= (5, 0, 0) else {"frame_end": count + 1}
        strips.new_effect("Background", "COLOR", 1, 1, **span).color = background
        strip = strips.new_image("Frames", frame_paths[0], 2, 1)
        strip.blend_type = "ALPHA_OVER"
        for path in frame_paths[1:]:
            strip.elements.append(os.path.basename(path))
        settings = scene.render.image_settings
        if hasattr(settings, "media_type"):
            settings.media_type = "VIDEO"  # 5.0 and later ask for it first
        settings.file_format = "FFMPEG"
        scene.render.ffmpeg.format, scene.render.ffmpeg.codec = "MPEG4", "H264"
        scene.render.ffmpeg.constant_rate_factor = "HIGH"
        scene.render.use_file_extension = False
        scene.render.filepath = filepath
        bpy.ops.render.render(animation=True, scene=scene.name)
    finally:
        bpy.data.scenes.remove(scene)


class OrbitTask(Task):
    """Frames of a turntable of the selected objects, written as one file.

    Args:
        filepath: `.gif` or `.mp4` to write; "" for a file in a new job folder.
        kind_of_file: "GIF" or "MP4", where `filepath` is "".
        look: frames, size_px, elevation and engine of `build_turntable`.
    """

    kind = "ORBIT"
    title = "Orbit preview"
    needs_calm = True  # each poll renders a frame

    def __init__(self, filepath: str, kind_of_file: str, **look) -> None:
        self._filepath, self._kind_of_file, self._look = filepath, kind_of_file, look

    def begin(self, context):
        objects = shown_objects(context)
        if not objects:
            raise EngineError("There is no mesh to turn: select an object first.")
        if not self._filepath:
            folder = new_job_folder(session.home(), f"orbit {objects[0].name}")
            self._filepath = str(folder / f"orbit.{self._kind_of_file.lower()}")
        folder = os.path.dirname(os.path.abspath(self._filepath))
        os.makedirs(folder, exist_ok=True)
        scene = build_turntable(objects, context.scene, **self._look)
        return OrbitJob(scene.session_uid, self._filepath)

    def finish(self, context):
        context.window_manager.tetraview.result_folder = os.path.dirname(os.path.abspath(self._filepath))
        return f"Saved {self._filepath}."


def shown_objects(context):
    """The selected mesh objects, else the active one, else the last result."""
    selected = [obj for obj in context.view_layer.objects if obj.select_get() and obj.type == "MESH"]
    active = context.view_layer.objects.active
    result = arrival.by_uid(context.view_layer.objects, context.window_manager.tetraview.result_uid)
    return selected or [obj for obj in (active, result) if obj is not None and obj.type == "MESH"][:1]


def view_look(space) -> list:
    """The look of a 3-D view: perspective, shading, colour, overlays."""
    return [space.region_3d.view_perspective, space.shading.type, space.shading.color_type, space.overlay.show_overlays]


def looks_before(turntable) -> dict:
    """How each 3-D view looked before the turntable played, by its index; empty if that is not known or damaged."""
    try:
        views = json.loads(turntable.get(VIEWS_KEY, "{}"))
    except (TypeError, ValueError, RecursionError):
        return {}
    return views if isinstance(views, dict) else {}


def set_view_look(space, look) -> None:
    """Give a 3-D view the look that `view_look` returned."""
    space.region_3d.view_perspective, space.shading.type, space.shading.color_type, space.overlay.show_overlays = look


class TETRAVIEW_OT_orbit_preview(TaskOperator, bpy.types.Operator):
    """Turn the camera once around the selected object in a separate scene; yours is not changed"""

    bl_idname = "tetraview.orbit_preview"
    bl_label = "Orbit Preview"

    output: EnumProperty(
        name="Output",
        items=(
            ("PLAY", "Play", "Play it in this window, in a temporary scene"),
            ("GIF", "GIF", "Write an animated GIF that loops exactly"),
            ("MP4", "MP4", "Write an H.264 video"),
        ),
    )
    filepath: StringProperty(name="File", subtype="FILE_PATH", description="Empty: a new folder beside your other results")
    frames: IntProperty(name="Frames", default=48, min=4, max=720)
    size_px: IntProperty(name="Size", subtype="PIXEL", default=384, min=64, max=4096)
    elevation: FloatProperty(name="Elevation", subtype="ANGLE", default=math.radians(20.0), min=-1.4, max=1.4)
    engine: EnumProperty(
        name="Renderer",
        items=(
            ("AUTO", "Automatic", "Workbench in a window, Cycles without one"),
            ("WORKBENCH", "Workbench", "At once, plain light"),
            ("EEVEE", "EEVEE", "Quick, with materials"),
            ("CYCLES", "Cycles", "Slower, with true light; needs no graphics card"),
        ),
    )

    def _look(self):
        automatic = "CYCLES" if bpy.app.background else "WORKBENCH"
        engine = automatic if self.engine == "AUTO" else self.engine
        return {"frames": self.frames, "size_px": self.size_px, "elevation": self.elevation, "engine": engine}

    def make_task(self, context):
        return OrbitTask(bpy.path.abspath(self.filepath) if self.filepath else "", self.output, **self._look())

    def execute(self, context):
        return self._play(context) if self.output == "PLAY" else TaskOperator.execute(self, context)

    def _play(self, context):
        objects = shown_objects(context)
        if not objects:
            self.report({"ERROR"}, "There is no mesh to turn: select an object first.")
            return {"CANCELLED"}
        scene = build_turntable(objects, context.scene, **self._look())
        window, views = context.window, {}
        for index, area in enumerate(window.screen.areas):
            if area.type == "VIEW_3D":
                views[index] = view_look(area.spaces.active)
                set_view_look(area.spaces.active, ["CAMERA", "SOLID", "TEXTURE", False])
        scene[VIEWS_KEY] = json.dumps(views)
        window.scene = scene
        if not bpy.app.background and not window.screen.is_animation_playing:
            bpy.ops.screen.animation_play()
        return {"FINISHED"}


class TETRAVIEW_OT_orbit_close(bpy.types.Operator):
    """Stop the turntable and go back to your scene"""

    bl_idname = "tetraview.orbit_close"
    bl_label = "Back to Scene"

    @classmethod
    def poll(cls, context):
        return MARK in context.scene and not session.is_busy()

    def execute(self, context):
        window, turntable = context.window, context.scene
        if not bpy.app.background and window.screen.is_animation_playing:
            bpy.ops.screen.animation_cancel(restore_frame=False)
        others = [scene for scene in bpy.data.scenes if MARK not in scene]
        window.scene = turntable[MARK] if turntable[MARK] in others else others[0]
        views = looks_before(turntable)
        for index, area in enumerate(window.screen.areas):
            if area.type == "VIEW_3D" and str(index) in views:
                with contextlib.suppress(TypeError, ValueError):  # a damaged look: this view stays as it is
                    set_view_look(area.spaces.active, views[str(index)])
        for scene in turntable_scenes():
            remove_turntable(scene)
        return {"FINISHED"}


CLASSES = (TETRAVIEW_OT_orbit_preview, TETRAVIEW_OT_orbit_close)
