"""Prompt or photos -> mesh in the scene: the operators behind the panel's one big button, and those on its results."""

import dataclasses

import bpy
from mathutils import Vector

from ..engine.errors import EngineError, EngineStoppedError
from ..engine.types import Asset, GenerateRequest, Views
from . import arrival, session
from .mesh_builder import build_object, place_object
from .properties import REQUEST_KEY
from .provenance import restored_views, runnable_again, stored_request
from .task import TaskOperator
from .views import StripTask, object_name, photos_stamp, strip_is_usable, unlocked_request


@dataclasses.dataclass
class MeshResult:
    """A finished mesh, still in its files, and where it goes.

    Attributes:
        asset, request, name, views: As `build_object` takes them.
        scene_uid: Session uid of the scene it was asked for in.
        location: Where it stands.
        selection: What `selection_now` returned when it was asked for; another selection is not taken away.
    """

    asset: Asset
    request: GenerateRequest
    name: str
    views: dict[str, str]
    scene_uid: int
    location: Vector
    selection: tuple

    def is_at_home(self) -> bool:
        """Whether its scene still exists."""
        return arrival.by_uid(bpy.data.scenes, self.scene_uid) is not None

    def place(self, context, *, asked: bool = False) -> str:
        """Build the object and link it; returns a sentence for the artist, and a line for each of the mesh's warnings."""
        obj = build_object(self.asset, self.request, self.name, self.views)
        scene = arrival.by_uid(bpy.data.scenes, self.scene_uid) or context.scene
        place_object(context, obj, scene, self.location, select=asked or selection_now(context) == self.selection)
        arrival.push_undo(context, "Generate Mesh")
        context.window_manager.tetraview.result_uid = obj.session_uid
        made = f"{obj.name}: {self.asset.n_faces:,} triangles in {self.asset.timings.get('total', 0.0):.1f} s."
        return "\n".join([made, *self.asset.warnings])


def selection_now(context) -> tuple:
    """Session uids of the active and the selected objects."""
    objects = context.view_layer.objects
    active = objects.active.session_uid if objects.active else 0
    return active, frozenset(obj.session_uid for obj in objects.selected)


class GenerateTask(StripTask):
    """A textured mesh at the 3-D cursor of the scene where it was asked for.

    It is made from the strip if that stands for the settings; else the views are made first, and become the strip.
    """

    kind = "GENERATE"
    title = "Generate mesh"

    def __init__(self) -> None:
        self._asset: Asset | None = None
        self._views: dict[str, str] = {}

    def request(self, context) -> tuple[GenerateRequest, str]:
        """The request, and the name of the object."""
        settings = context.scene.tetraview
        if strip_is_usable(settings):
            return settings.request(context, "", settings.strip.folder), object_name(settings)
        return unlocked_request(context, settings), object_name(settings)

    def begin(self, context):
        self.watch(context)
        self._location = context.scene.cursor.location.copy()
        self._selection = selection_now(context)
        request, self._name = self.request(context)
        job = self.submit(request, self._name, None)
        status = context.window_manager.tetraview
        status.result_uid, status.result_folder = 0, self._request.output_dir
        return job

    def handle(self, context, event):
        StripTask.handle(self, context, event)
        if isinstance(event, Asset):
            self._asset = event
        elif isinstance(event, Views):
            self._views = dict(event.paths)

    def finish(self, context):
        if self._asset is None:
            raise EngineStoppedError("The engine stopped without a mesh: copy the report and send it to us.")
        views, uid = dict(self._views), self._scene_uid
        result = MeshResult(self._asset, self._request, self._name, views, uid, Vector(self._location), self._selection)
        if result.is_at_home() and (bpy.app.background or arrival.may_place(context)):
            return result.place(context, asked=bpy.app.background)
        arrival.add(result)
        return f"{self._name} is ready: press Place Result, or go back to Object Mode."


class TETRAVIEW_OT_generate(TaskOperator, bpy.types.Operator):
    """Make a textured mesh from the four views, at the 3-D cursor. Missing views are painted first"""

    bl_idname = "tetraview.generate"
    bl_label = "Generate Mesh"

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


class RegenerateTask(GenerateTask):
    """The mesh of an object made earlier, made again from the same views, settings and seed.

    Args:
        obj: The object; only read in `begin`.
    """

    title = "Generate again"

    def __init__(self, obj) -> None:
        super().__init__()
        self._object = obj

    def request(self, context):
        return runnable_again(self._object), self._object.name

    def makes_views(self):
        return False  # the scene's strip is another one


class ResultOperator:
    """Mixin of operators on an active object that Tetraview made."""

    @classmethod
    def poll(cls, context):
        if context.active_object is None or REQUEST_KEY not in context.active_object:
            cls.poll_message_set("Select an object that Tetraview made")
            return False
        return not session.is_busy()


class TETRAVIEW_OT_regenerate(ResultOperator, TaskOperator, bpy.types.Operator):
    """Make this object again from the photos, settings and seed stored on it"""

    bl_idname = "tetraview.regenerate"
    bl_label = "Generate Again"

    def make_task(self, context):
        return RegenerateTask(context.active_object)


class TETRAVIEW_OT_copy_settings(ResultOperator, bpy.types.Operator):
    """Bring the prompt or photos, the settings and the four views that made this object back into the panel"""

    bl_idname = "tetraview.copy_settings"
    bl_label = "Settings to Panel"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        settings, obj = context.scene.tetraview, context.active_object
        try:
            settings.adopt(stored_request(obj))
            folder = restored_views(obj)
        except EngineError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings.strip.clear()
        if folder:
            settings.strip.show(folder, settings.views_key(), photos_stamp(settings.photos()))
        return {"FINISHED"}


def result_of(context):
    """The last result, if this view layer shows it; else None."""
    return arrival.by_uid(context.view_layer.objects, context.window_manager.tetraview.result_uid)


class TETRAVIEW_OT_select_result(bpy.types.Operator):
    """Select the object that was just made"""

    bl_idname = "tetraview.select_result"
    bl_label = "Select Result"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context):
        return result_of(context) is not None and context.mode == "OBJECT"

    def execute(self, context):
        obj = result_of(context)
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
