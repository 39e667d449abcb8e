"""Photos -> mesh in the scene: the operators behind the panel's one big button."""

import dataclasses
import os

import bpy
from mathutils import Vector

from ..engine.errors import EngineStoppedError, InvalidRequestError
from ..engine.library import new_job_folder
from ..engine.types import VIEW_NAMES, Asset, GenerateRequest, Views
from . import session
from .mesh_builder import build_object, place_object
from .photos import views_key
from .properties import REQUEST_KEY, name_from_photos
from .task import Task, TaskOperator


class GenerateTask(Task):
    """A textured mesh at the 3-D cursor of the scene where it was asked for.

    Args:
        request: What to make; its `output_dir` is replaced by a new job folder. None to read the scene's settings.
        name: Name of the object; "" to take it from the photos.
    """

    kind = "GENERATE"
    title = "Generate mesh"

    def __init__(self, request: GenerateRequest | None = None, name: str = "") -> None:
        self._request, self._name = request, name
        self._asset: Asset | None = None

    def begin(self, context):
        settings, status = context.scene.tetraview, context.window_manager.tetraview
        self._scene_name, self._location = context.scene.name, context.scene.cursor.location.copy()
        self._key = views_key(settings) if self._request is None else ""
        request = self._request or settings.request(context, "")
        if self._request is None:
            self._name = settings.object_name.strip()
            if status.views_key == self._key and all(os.path.isfile(path) for path in status.views().values()):
                request = dataclasses.replace(request, views_dir=status.views_dir or None)
        request.check()
        self._name = self._name or name_from_photos(request.photos)
        self._request = dataclasses.replace(request, output_dir=str(new_job_folder(session.home(), self._name)))
        status.result_object, status.result_folder = "", self._request.output_dir
        return session.engine().submit(self._request)

    def handle(self, context, event):
        if isinstance(event, Asset):
            self._asset = event
        elif isinstance(event, Views) and self._key and self._request.views_dir is None:
            folder = os.path.join(self._request.output_dir, "views")
            context.window_manager.tetraview.show_views(folder, event.paths, event.warnings, self._key)

    def finish(self, context):
        if self._asset is None:
            raise EngineStoppedError("The engine ended without a mesh: copy the report and send it to us.")
        scene = bpy.data.scenes.get(self._scene_name) or context.scene
        obj = build_object(self._asset, self._request, self._name)
        place_object(context, obj, scene, Vector(self._location))
        context.window_manager.tetraview.result_object = obj.name
        seconds = self._asset.timings.get("total", 0.0)
        return f"{obj.name}: {self._asset.n_faces:,} triangles in {seconds:.1f} s."


class TETRAVIEW_OT_generate(TaskOperator, bpy.types.Operator):
    """Make a textured mesh from the four photos, at the 3-D cursor"""

    bl_idname = "tetraview.generate"
    bl_label = "Generate Mesh"
    bl_options = {"REGISTER", "UNDO"}

    def make_task(self, context):
        return GenerateTask()


class TETRAVIEW_OT_cancel(bpy.types.Operator):
    """Stop the running job; the scene stays as it is"""

    bl_idname = "tetraview.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context):
        return session.is_busy() and not context.window_manager.tetraview.cancelling

    def execute(self, context):
        session.current_run().request_cancel(context)
        return {"FINISHED"}


def stored_request(obj) -> GenerateRequest | None:
    """The request that made `obj`, or None if it is not one of ours."""
    text = obj.get(REQUEST_KEY) if obj is not None else None
    return GenerateRequest.from_json(text) if text else None


def runnable_again(request: GenerateRequest) -> GenerateRequest:
    """The request with what is left of its input: its photos, else the cut-outs of its own run.

    Raises:
        InvalidRequestError: Both are gone.
    """
    if all(os.path.isfile(request.photos.get(name, "")) for name in VIEW_NAMES):
        return dataclasses.replace(request, views_dir=None)
    for folder in (request.views_dir, os.path.join(request.output_dir, "views")):
        if folder and all(os.path.isfile(os.path.join(folder, f"{name}.png")) for name in VIEW_NAMES):
            return dataclasses.replace(request, views_dir=folder)
    raise InvalidRequestError("The photos and cut-outs that made this object are gone: choose photos again.")


class RegenerateTask(GenerateTask):
    """The mesh of an object made earlier, once more from the same photos, settings and seed."""

    title = "Generate again"

    def __init__(self, obj) -> None:
        super().__init__(stored_request(obj), obj.name)

    def begin(self, context):
        self._request = runnable_again(self._request)
        return super().begin(context)


class ResultOperator:
    """Mixin of operators on an active object that Tetraview made."""

    @classmethod
    def poll(cls, context):
        if context.active_object is None or REQUEST_KEY not in context.active_object:
            cls.poll_message_set("Select an object that Tetraview made")
            return False
        return not session.is_busy()


class TETRAVIEW_OT_regenerate(ResultOperator, TaskOperator, bpy.types.Operator):
    """Make this object once more from the photos, settings and seed stored on it"""

    bl_idname = "tetraview.regenerate"
    bl_label = "Generate Again"
    bl_options = {"REGISTER", "UNDO"}

    def make_task(self, context):
        return RegenerateTask(context.active_object)


class TETRAVIEW_OT_copy_settings(ResultOperator, bpy.types.Operator):
    """Bring the photos and settings that made this object back into the panel"""

    bl_idname = "tetraview.copy_settings"
    bl_label = "Settings to Panel"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        context.scene.tetraview.adopt(stored_request(context.active_object))
        return {"FINISHED"}


class TETRAVIEW_OT_select_result(bpy.types.Operator):
    """Select the object that was just made"""

    bl_idname = "tetraview.select_result"
    bl_label = "Select Result"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context):
        return context.window_manager.tetraview.result_object in context.view_layer.objects and context.mode == "OBJECT"

    def execute(self, context):
        obj = context.view_layer.objects[context.window_manager.tetraview.result_object]
        for other in context.view_layer.objects.selected[:]:
            other.select_set(False)
        obj.select_set(True)
        context.view_layer.objects.active = obj
        return {"FINISHED"}


CLASSES = (
    TETRAVIEW_OT_generate,
    TETRAVIEW_OT_cancel,
    TETRAVIEW_OT_regenerate,
    TETRAVIEW_OT_copy_settings,
    TETRAVIEW_OT_select_result,
)
