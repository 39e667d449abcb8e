"""Orbit preview before the mesh is made: one turn around the field that the engine sees in the four views."""

import dataclasses
import os
import shutil

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..engine.errors import EngineStoppedError, InvalidRequestError
from ..engine.types import Orbit
from . import arrival, pictures, player, references
from .orbit import write_mp4
from .views import StripOperator, StripTask, object_name

FPS = 12
KINDS = (
    ("GIF", "GIF", "An animation that every program shows"),
    ("WEBP", "WebP", "An animation with soft transparency, for the web"),
    ("MP4", "MP4", "An H.264 video on white"),
)


class OrbitFieldTask(StripTask):
    """The orbit preview of the strip; it plays in the panel when it is done.

    Args:
        frames: Length of the turn.
        size_px: Side of a frame.
    """

    kind = "FIELD"
    title = "Orbit preview"

    def __init__(self, frames: int, size_px: int) -> None:
        self._frames, self._size_px, self._orbit = frames, size_px, None

    def begin(self, context):
        settings = context.scene.tetraview
        if not settings.strip.is_whole():
            raise InvalidRequestError("The views are gone from the disk: paint them again.")
        self.watch(context)
        self._folder = settings.strip.folder
        request = dataclasses.replace(
            settings.request(context, "", self._folder), orbit_frames=self._frames, orbit_px=self._size_px
        )
        return self.submit(request, f"{object_name(settings)} orbit", "orbit")

    def handle(self, context, event):
        if isinstance(event, Orbit):
            self._orbit = event
            pictures.read_now(event.frames)

    def finish(self, context):
        if self._orbit is None:
            raise EngineStoppedError("The engine stopped without an orbit: copy the report and send it to us.")
        strip = self.scene(context).tetraview.strip
        if strip.folder != self._folder:
            return "The views have changed meanwhile: turn the new ones."
        strip.orbit = os.path.basename(self._request.output_dir)
        arrival.push_undo(context, self.title)
        if not bpy.app.background:
            player.play(self._orbit.frames)
        return f"An orbit of {len(self._orbit.frames)} frames."


class TETRAVIEW_OT_orbit_views(StripOperator, bpy.types.Operator):
    """Preview the object from all sides before the mesh is made"""

    bl_idname = "tetraview.orbit_views"
    bl_label = "Orbit Preview"

    frames: IntProperty(name="Frames", default=24, min=4, max=120)
    size_px: IntProperty(name="Size", subtype="PIXEL", default=128, min=64, max=512)

    def make_task(self, context):
        return OrbitFieldTask(self.frames, self.size_px)


class HasOrbit:
    """Mixin of operators on the orbit preview of the strip."""

    @classmethod
    def poll(cls, context):
        return bool(context.scene.tetraview.strip.orbit)


class TETRAVIEW_OT_play_orbit(HasOrbit, bpy.types.Operator):
    """Play or stop the orbit preview"""

    bl_idname = "tetraview.play_orbit"
    bl_label = "Play"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        if player.is_playing():
            player.stop()
        else:
            frames = context.scene.tetraview.strip.orbit_frames()
            pictures.read_now(frames)
            player.play(frames)
        return {"FINISHED"}


class TETRAVIEW_OT_save_orbit(HasOrbit, bpy.types.Operator):
    """Save the orbit preview as a file"""

    bl_idname = "tetraview.save_orbit"
    bl_label = "Save Orbit"

    kind: EnumProperty(name="Format", items=KINDS, options={"SKIP_SAVE"})
    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.gif;*.webp;*.mp4", options={"HIDDEN"})

    def invoke(self, context, event):
        name = bpy.path.clean_name(object_name(context.scene.tetraview))
        self.filepath = f"{name}.{self.kind.lower()}"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        strip = context.scene.tetraview.strip
        job, frames = references.marked_job(strip.orbit), strip.orbit_frames()
        path = bpy.path.ensure_ext(bpy.path.abspath(self.filepath), f".{self.kind.lower()}")
        if job is None or not frames or not (job.orbit_gif.is_file() and job.orbit_webp.is_file()):
            self.report({"ERROR"}, "The frames are gone from the disk: make the orbit preview again.")
            return {"CANCELLED"}
        try:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            if self.kind == "MP4":
                write_mp4(path, frames, frame_px(frames[0]), fps=FPS, background=(1.0, 1.0, 1.0))
            else:
                shutil.copyfile(job.orbit_gif if self.kind == "GIF" else job.orbit_webp, path)
        except OSError as error:
            self.report({"ERROR"}, f"{path} cannot be written ({error.strerror}): choose another place.")
            return {"CANCELLED"}
        self.report({"INFO"}, f"Saved {path}.")
        return {"FINISHED"}


def frame_px(path: str) -> int:
    """Side of a square picture."""
    image = bpy.data.images.load(path, check_existing=False)
    try:
        return image.size[0]
    finally:
        bpy.data.images.remove(image)


CLASSES = (TETRAVIEW_OT_orbit_views, TETRAVIEW_OT_play_orbit, TETRAVIEW_OT_save_orbit)
