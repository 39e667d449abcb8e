"""Operators for errors: copy a report, open the folder, open the preferences that fix it."""

import os
import platform

import bpy
from bpy.props import EnumProperty, StringProperty

from ..engine.client import environment
from ..engine.errors import EngineError
from ..engine.version import __version__
from . import session
from .properties import addon_id


def report_text(context) -> str:
    """A report for support: versions, machine, the last error and logs, without names of folders or users."""
    status = context.window_manager.tetraview
    try:
        home, about = session.home(), ""
    except EngineError as error:
        home, about = None, f"Data folder: {error}"
    lines = [
        f"Tetraview {__version__} in Blender {bpy.app.version_string}, {platform.platform()}, background {bpy.app.background}",
        f"Online access {bpy.app.online_access}",
        f"Last job: {status.kind or 'none'}, phase {status.phase or 'none'}, {status.fraction:.0%}, {status.message}",
        f"Error: {status.error or 'none'}",
        status.report,
        "--- last lines of the engine's log ---",
        *session.log_tail(),
    ]
    photos = [os.path.dirname(path) for scene in bpy.data.scenes for path in scene.tetraview.photos().values()]
    text = environment.anonymise("\n".join([*lines, about]), home, (os.path.dirname(bpy.data.filepath), *photos))
    return text if home is None else f"{text}\n{environment.report(home)}"


class TETRAVIEW_OT_copy_report(bpy.types.Operator):
    """Copy a report for support: versions, last error, end of the log. Folder and user names are left out"""

    bl_idname = "tetraview.copy_report"
    bl_label = "Copy Report"

    def execute(self, context):
        context.window_manager.clipboard = report_text(context)
        self.report({"INFO"}, "The report is on the clipboard.")
        return {"FINISHED"}


class TETRAVIEW_OT_open_folder(bpy.types.Operator):
    """Show the folder in the file browser of your system"""

    bl_idname = "tetraview.open_folder"
    bl_label = "Open Folder"
    bl_options = {"INTERNAL"}

    folder: StringProperty(subtype="DIR_PATH", description="Empty: where all results are kept")

    def execute(self, context):
        try:
            folder = self.folder or str(session.home())
        except EngineError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not os.path.isdir(folder):
            self.report({"ERROR"}, f"The folder no longer exists: {folder}.")
            return {"CANCELLED"}
        bpy.ops.wm.path_open(filepath=folder)
        return {"FINISHED"}


class TETRAVIEW_OT_open_preferences(bpy.types.Operator):
    """Open the preferences where this can be changed"""

    bl_idname = "tetraview.open_preferences"
    bl_label = "Open Preferences"

    page: EnumProperty(items=(("ADDON", "Tetraview", "The add-on's preferences"), ("SYSTEM", "System", "Allow Online Access")))

    def execute(self, context):
        if bpy.app.background:
            self.report({"ERROR"}, "There is no window for the preferences.")
            return {"CANCELLED"}
        if self.page == "ADDON":
            bpy.ops.preferences.addon_show(module=addon_id())
        else:
            bpy.ops.screen.userpref_show(section="SYSTEM")
        return {"FINISHED"}


class TETRAVIEW_OT_dismiss(bpy.types.Operator):
    """Dismiss this message"""

    bl_idname = "tetraview.dismiss"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        context.window_manager.tetraview.clear_error()
        return {"FINISHED"}


CLASSES = (TETRAVIEW_OT_copy_report, TETRAVIEW_OT_open_folder, TETRAVIEW_OT_open_preferences, TETRAVIEW_OT_dismiss)
