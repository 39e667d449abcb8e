"""Choosing the photos."""

import os

import bpy
from bpy.props import CollectionProperty, EnumProperty, StringProperty

from ..engine.photo_names import PHOTO_SUFFIXES, sort_by_name
from ..engine.types import VIEW_NAMES
from .task import redraw

IMAGE_FILTER = ";".join(f"*{suffix}" for suffix in PHOTO_SUFFIXES)
VIEW_ITEMS = [(name, name.capitalize(), f"The {name} of the object") for name in VIEW_NAMES]


class TETRAVIEW_OT_choose_photo(bpy.types.Operator):
    """Choose the photo of this side"""

    bl_idname = "tetraview.choose_photo"
    bl_label = "Choose Photo"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    view: EnumProperty(items=VIEW_ITEMS, options={"HIDDEN"})
    filepath: StringProperty(subtype="FILE_PATH")
    filter_glob: StringProperty(default=IMAGE_FILTER, options={"HIDDEN"})

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        setattr(context.scene.tetraview, self.view, self.filepath)
        redraw(context)
        return {"FINISHED"}


class TETRAVIEW_OT_choose_photos(bpy.types.Operator):
    """Choose all photos at once: front, right, back or left in a file's name tells which side it shows"""

    bl_idname = "tetraview.choose_photos"
    bl_label = "Choose Photos"
    bl_options = {"REGISTER", "UNDO"}

    directory: StringProperty(subtype="DIR_PATH")
    files: CollectionProperty(type=bpy.types.OperatorFileListElement)
    filter_glob: StringProperty(default=IMAGE_FILTER, options={"HIDDEN"})

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        paths = [os.path.join(self.directory, file.name) for file in self.files if file.name]
        found = sort_by_name(paths)
        if not found.photos:
            nameless = "No file name holds front, right, back or left: rename them, or choose each side by hand."
            self.report({"ERROR"}, found.problem or nameless)
            return {"CANCELLED"}
        for name, path in found.photos.items():
            setattr(context.scene.tetraview, name, path)
        left_over = len(paths) - len(found.photos)
        if found.problem:
            self.report({"WARNING"}, found.problem)
        elif left_over:
            self.report({"WARNING"}, f"{left_over} of {len(paths)} photos have no side in their name: choose it by hand.")
        redraw(context)
        return {"FINISHED"}


class TETRAVIEW_OT_clear_photo(bpy.types.Operator):
    """Remove this photo"""

    bl_idname = "tetraview.clear_photo"
    bl_label = "Clear Photo"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    view: EnumProperty(items=VIEW_ITEMS, options={"HIDDEN"})

    def execute(self, context):
        setattr(context.scene.tetraview, self.view, "")
        return {"FINISHED"}


class TETRAVIEW_OT_swap(bpy.types.Operator):
    """Swap the photos of two sides"""

    bl_idname = "tetraview.swap"
    bl_label = "Swap Photos"
    bl_options = {"REGISTER", "UNDO"}

    first: EnumProperty(items=VIEW_ITEMS, default="right")
    second: EnumProperty(items=VIEW_ITEMS, default="left")

    def execute(self, context):
        settings = context.scene.tetraview
        one, other = getattr(settings, self.first), getattr(settings, self.second)
        setattr(settings, self.first, other)
        setattr(settings, self.second, one)
        return {"FINISHED"}


CLASSES = (
    TETRAVIEW_OT_choose_photo,
    TETRAVIEW_OT_choose_photos,
    TETRAVIEW_OT_clear_photo,
    TETRAVIEW_OT_swap,
)
