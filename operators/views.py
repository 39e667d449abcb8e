"""Prompt or photos -> four views: the jobs behind the view strip, and how a job's views become the scene's strip."""

import dataclasses
import os
import random

import bpy
from bpy.props import EnumProperty, StringProperty

from ..engine.errors import EngineError, EngineStoppedError, InvalidRequestError
from ..engine.job.folder import new_job_folder
from ..engine.types import VIEW_NAMES, GenerateRequest, Preview, Views
from . import arrival, history, pictures, session
from .names import name_from_photos, name_from_prompt
from .photos import IMAGE_FILTER, VIEW_ITEMS
from .properties import SEED_LIMIT
from .task import Task, TaskOperator

HIDDEN = {"HIDDEN", "SKIP_SAVE"}


def random_seed() -> int:
    """A seed that has not been used."""
    return random.SystemRandom().randrange(SEED_LIMIT)


def photos_stamp(photos) -> str:
    """When the photos were last written; changes when one does."""
    return " ".join(str(os.stat(path).st_mtime_ns) if os.path.isfile(path) else "gone" for _, path in sorted(photos.items()))


def object_name(settings) -> str:
    """The object's name: the artist's own, else from the photos' names, else from the prompt."""
    name = settings.object_name.strip() or (name_from_photos(settings.photos()) if settings.photos() else "Object")
    return name if name != "Object" else name_from_prompt(settings.prompt)


def strip_is_usable(settings) -> bool:
    """Whether the mesh can be made from the strip as it is: it stands for the settings, and its files are all there."""
    strip = settings.strip
    if not settings.strip_is_current() or not strip.is_whole():
        return False
    return len(strip.locked()) == len(VIEW_NAMES) or strip.stamp == photos_stamp(settings.photos())


def unlocked_request(context, settings) -> GenerateRequest:
    """The request that makes all views again except the locked ones of the strip; it has no folder yet."""
    request, strip = settings.request(context, ""), settings.strip
    locked = strip.locked() if strip.is_whole() else ()
    if not locked:
        return request
    anew = [name for name in VIEW_NAMES if name not in locked]
    photos = {name: request.photos[name] for name in anew if name in request.photos}
    return dataclasses.replace(
        request,
        photos=photos,
        views_dir=strip.folder,
        replace=tuple(photos),
        repaint=tuple(name for name in anew if name not in photos),
    )


def last_phase(request: GenerateRequest) -> str:
    """The phase after which its four views are whole."""
    return "views" if request.painted else "photos"


class StripTask(Task):
    """A job whose four views become the strip of the scene it was started in. The old strip stays until they are whole."""

    kind = "VIEWS"
    title = "Paint views"
    _request: GenerateRequest

    def watch(self, context) -> None:
        """Remember the scene and what its settings are now; call it first in `begin`."""
        settings = context.scene.tetraview
        self._scene_uid = context.scene.session_uid
        self._key, self._stamp = settings.views_key(), photos_stamp(settings.photos())
        self._shown = False

    def submit(self, request: GenerateRequest, label: str, stop_after: str | None):
        """Give the request a folder of its own, and start it."""
        request.check()
        self._request = dataclasses.replace(request, output_dir=str(new_job_folder(session.home(), label)))
        self.folder = self._request.output_dir
        job = session.engine().submit(self._request, stop_after=stop_after)
        if request.painted:
            history.remember(request.prompt)
        return job

    def scene(self, context):
        """The scene the job was started in.

        Raises:
            EngineError: It was removed meanwhile.
        """
        scene = arrival.by_uid(bpy.data.scenes, self._scene_uid)
        if scene is None:
            raise EngineError("The scene that this job was started in was removed: start it again in another one.")
        return scene

    def handle(self, context, event):
        status = context.window_manager.tetraview
        if isinstance(event, Preview):
            pictures.read_now(event.paths.values())
            status.show_painting(event.paths, event.step, event.steps)
        elif isinstance(event, Views):
            pictures.read_now(event.paths.values())
            status.show_painting({}, 0, 0)
            if self.makes_views():
                self.keep_views(context, event)

    def makes_views(self) -> bool:
        """Whether the job's views are other ones than those it began from."""
        request = self._request
        return request.views_dir is None or bool(request.painted or request.flip or request.replace)

    def keep_views(self, context, event: Views) -> None:
        """Make the job's views the strip."""
        folder = os.path.dirname(event.paths[VIEW_NAMES[0]])
        self.scene(context).tetraview.strip.show(folder, self._key, self._stamp, event.warnings)
        self._shown = True
        arrival.push_undo(context, self.title if self.kind == "VIEWS" else "Paint Views")

    def finish(self, context):
        if not self._shown:
            raise EngineStoppedError("The engine stopped without views: copy the report and send it to us.")
        count = len(self.scene(context).tetraview.strip.warnings.splitlines())
        return "The views are ready." if not count else f"The views are ready, with {count} warning{'s' if count > 1 else ''}."


class PaintTask(StripTask):
    """Every view that is not locked: painted from the prompt, or cut out of its photo.

    Args:
        seed: A new seed for the scene's settings; None to keep theirs.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed

    def begin(self, context):
        settings = context.scene.tetraview
        if settings.strip.is_whole() and len(settings.strip.locked()) == len(VIEW_NAMES):
            raise InvalidRequestError("All four views are locked: unlock the views to paint.")
        if self._seed is not None:
            settings.seed = self._seed
        self.watch(context)
        request = unlocked_request(context, settings)
        return self.submit(request, f"{object_name(settings)} views", last_phase(request))


class EditTask(StripTask):
    """One view of the strip is changed, the others stay byte for byte.

    Args:
        view: Its name.
        edit: "repaint", "flip" or "replace".
        photo: Path of the photo, for "replace".
    """

    def __init__(self, view: str, edit: str, photo: str = "") -> None:
        self._view, self._edit, self._photo = view, edit, photo
        self.title = {"repaint": "Re-roll", "flip": "Flip", "replace": "Replace"}[edit]

    def keep_views(self, context, event):
        settings = self.scene(context).tetraview
        if self._photo and settings.source == "PHOTOS":  # it is this side's photo from now on
            setattr(settings, self._view, self._photo)
            self._key, self._stamp = settings.views_key(), photos_stamp(settings.photos())
        StripTask.keep_views(self, context, event)

    def begin(self, context):
        settings = context.scene.tetraview
        if not settings.strip.is_whole():
            raise InvalidRequestError("The views are gone from the disk: paint them again.")
        self.watch(context)
        request = dataclasses.replace(
            settings.request(context, ""),
            photos={self._view: self._photo} if self._photo else {},
            views_dir=settings.strip.folder,
            **{self._edit: (self._view,)},
        )
        if self._edit == "repaint":
            request = dataclasses.replace(request, seed=random_seed())
        return self.submit(request, f"{object_name(settings)} {self._edit} {self._view}", last_phase(request))


class StripOperator(TaskOperator):
    """Mixin of the operators that need a strip."""

    @classmethod
    def poll(cls, context):
        if not context.scene.tetraview.strip.folder:
            cls.poll_message_set("Paint the views first")
            return False
        return super().poll(context)


class TETRAVIEW_OT_paint_views(TaskOperator, bpy.types.Operator):
    """Make the four views and look at them before any time is spent on the mesh; locked ones stay"""

    bl_idname = "tetraview.paint_views"
    bl_label = "Paint Views"

    def make_task(self, context):
        return PaintTask()


class TETRAVIEW_OT_reroll_views(StripOperator, bpy.types.Operator):
    """Paint the views that are not locked again, with a new seed"""

    bl_idname = "tetraview.reroll_views"
    bl_label = "Re-roll All"

    def make_task(self, context):
        return PaintTask(random_seed())


class TETRAVIEW_OT_reroll_view(StripOperator, bpy.types.Operator):
    """Paint this view again to match the other three, which stay as they are"""

    bl_idname = "tetraview.reroll_view"
    bl_label = "Re-roll View"
    bl_options = {"INTERNAL"}

    view: EnumProperty(items=VIEW_ITEMS, options=HIDDEN)

    def make_task(self, context):
        return EditTask(self.view, "repaint")


class TETRAVIEW_OT_flip_view(StripOperator, bpy.types.Operator):
    """Mirror this view left to right"""

    bl_idname = "tetraview.flip_view"
    bl_label = "Flip View"
    bl_options = {"INTERNAL"}

    view: EnumProperty(items=VIEW_ITEMS, options=HIDDEN)

    def make_task(self, context):
        return EditTask(self.view, "flip")


class TETRAVIEW_OT_replace_view(StripOperator, bpy.types.Operator):
    """Take this view from a photo instead"""

    bl_idname = "tetraview.replace_view"
    bl_label = "Replace by Photo"
    bl_options = {"INTERNAL"}

    view: EnumProperty(items=VIEW_ITEMS, options=HIDDEN)
    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=IMAGE_FILTER, options={"HIDDEN"})

    def make_task(self, context):
        return EditTask(self.view, "replace", bpy.path.abspath(self.filepath))

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


CLASSES = (
    TETRAVIEW_OT_paint_views,
    TETRAVIEW_OT_reroll_views,
    TETRAVIEW_OT_reroll_view,
    TETRAVIEW_OT_flip_view,
    TETRAVIEW_OT_replace_view,
)
