"""The sidebar tab of the 3-D view: photos, settings, one big button, the result."""

import bpy

from ..operators.properties import POLY_PRESETS, REQUEST_KEY, VIEW_NAMES
from .text import draw_wrapped, duration
from .thumbnails import icon_of

FIXES = {
    "preferences": ("tetraview.open_preferences", "Open Preferences", "PREFERENCES", {"page": "ADDON"}),
    "preferences.system": ("tetraview.open_preferences", "Open System Preferences", "PREFERENCES", {"page": "SYSTEM"}),
    "tetraview.install_engine": ("tetraview.install_engine", "Install Engine", "IMPORT", {}),
}
"""What an error's `fix` looks like as a button: operator, text, icon, properties."""

JOB_NAMES = {
    "GENERATE": "Making the mesh",
    "CUTOUT": "Cutting out",
    "ORBIT": "Rendering the orbit",
    "INSTALL": "Installing the engine",
}
TURNTABLE_KEY = "tetraview_turntable"
THUMBNAIL_SCALE = 5.6


def draw_job(layout, context) -> None:
    """Progress of the running job and its Cancel button."""
    status = context.window_manager.tetraview
    column = layout.column(align=True)
    row = column.row(align=True)
    row.scale_y = 1.6
    row.operator("tetraview.cancel", text="Cancelling…" if status.cancelling else "Cancel", icon="X")
    text = f"{status.fraction:.0%}"
    if status.eta_s >= 0:
        text += f"   about {duration(status.eta_s)} left"
    column.progress(factor=status.fraction, type="BAR", text=text)
    column.label(text=status.message or JOB_NAMES.get(status.kind, ""), icon="SORTTIME", translate=False)


def draw_error(layout, context) -> None:
    """The last error in a box with the button that mends it."""
    status = context.window_manager.tetraview
    if not status.error:
        return
    box = layout.box()
    row = box.row()
    text = row.column()
    text.alert = True
    draw_wrapped(text, status.error, context.region.width - 90, icon="ERROR")
    row.operator("tetraview.dismiss", text="", icon="X", emboss=False)
    buttons = box.column(align=True)
    if status.error_fix in FIXES:
        operator, label, icon, values = FIXES[status.error_fix]
        button = buttons.operator(operator, text=label, icon=icon)
        for key, value in values.items():
            setattr(button, key, value)
    buttons.operator("tetraview.copy_report", text="Copy Report", icon="COPYDOWN")


class TETRAVIEW_PT_main(bpy.types.Panel):
    bl_label = "Tetraview"
    bl_idname = "TETRAVIEW_PT_main"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Tetraview"

    def draw(self, context):
        layout = self.layout
        status = context.window_manager.tetraview
        if TURNTABLE_KEY in context.scene:
            self._draw_turntable(layout)
            return
        if not status.engine_ready and not status.running:
            self._draw_no_engine(layout, context)
        self._draw_photos(layout, context)
        self._draw_mesh(layout, context)
        layout.separator()
        self._draw_button(layout, context)
        draw_error(layout, context)
        self._draw_result(layout, context)

    def _draw_turntable(self, layout):
        box = layout.box()
        box.label(text="Orbit preview", icon="ORIENTATION_GIMBAL")
        box.label(text="A temporary scene; yours is untouched.")
        row = box.row()
        row.scale_y = 1.4
        row.operator("tetraview.orbit_close", icon="LOOP_BACK")

    def _draw_no_engine(self, layout, context):
        if context.window_manager.tetraview.error:
            return  # the error box says the same, with the button
        box = layout.box()
        draw_wrapped(box, context.window_manager.tetraview.engine_problem, context.region.width - 50, icon="INFO")
        row = box.row()
        row.scale_y = 1.3
        row.operator("tetraview.install_engine", text="Install Engine…", icon="IMPORT")
        box.operator("tetraview.open_preferences", icon="PREFERENCES").page = "ADDON"

    def _draw_photos(self, layout, context):
        header, body = layout.panel("TETRAVIEW_photos")
        header.label(text="Photos", icon="IMAGE_DATA")
        if body is None:
            return
        settings, status = context.scene.tetraview, context.window_manager.tetraview
        body.enabled = not status.running
        body.operator("tetraview.choose_photos", text="Choose Four Photos…", icon="FILEBROWSER")
        views = status.views()
        grid = body.grid_flow(row_major=True, columns=2, even_columns=True, even_rows=True, align=False)
        for name in VIEW_NAMES:
            self._draw_slot(grid.box(), settings, name, views.get(name, ""))
        column = body.column(align=True)
        split = column.split(factor=0.32)
        split.label(text="Cut-out")
        split.prop(settings, "cutout", text="")
        button = column.row()
        button.enabled = len(settings.photos()) == len(VIEW_NAMES) and status.engine_ready
        button.operator("tetraview.preview_cutout", icon="MOD_MASK")
        if status.warnings:
            box = body.box()
            for warning in status.warnings.splitlines():
                draw_wrapped(box, warning, context.region.width - 60, icon="ERROR")

    def _draw_slot(self, box, settings, name, cutout_path):
        path = getattr(settings, name)
        column = box.column(align=True)
        row = column.row(align=True)
        row.label(text=name.capitalize() + (" (cut out)" if cutout_path and path else ""))
        if path:
            row.operator("tetraview.clear_photo", text="", icon="X", emboss=False).view = name
        icon = icon_of(cutout_path or bpy.path.abspath(path)) if path else 0
        if icon:
            column.template_icon(icon_value=icon, scale=THUMBNAIL_SCALE)
        else:
            empty = column.column()
            empty.scale_y = THUMBNAIL_SCALE - 0.25
            empty.operator("tetraview.choose_photo", text="Missing" if path else "", icon="ERROR" if path else "ADD").view = name
            return
        column.operator("tetraview.choose_photo", text="Change…", icon="NONE").view = name

    def _draw_mesh(self, layout, context):
        header, body = layout.panel("TETRAVIEW_mesh")
        header.label(text="Mesh", icon="MESH_DATA")
        if body is None:
            return
        settings = context.scene.tetraview
        body.enabled = not context.window_manager.tetraview.running
        row = body.row(align=True)
        for key, label, _, _ in POLY_PRESETS:
            row.prop_enum(settings, "poly_preset", key, text=label)
        column = body.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(settings, "poly_budget")
        column.prop(settings, "texture_px")
        header, more = layout.panel("TETRAVIEW_more", default_closed=True)
        header.label(text="More")
        if more is not None:
            more.enabled = body.enabled
            column = more.column()
            column.use_property_split, column.use_property_decorate = True, False
            column.prop(settings, "elevation")
            column.prop(settings, "object_name")
            column.prop(settings, "seed")

    def _draw_button(self, layout, context):
        settings, status = context.scene.tetraview, context.window_manager.tetraview
        if status.running:
            draw_job(layout, context)
            return
        missing = [name for name in VIEW_NAMES if not getattr(settings, name)]
        row = layout.row()
        row.scale_y = 1.8
        row.enabled = not missing and status.engine_ready
        row.operator("tetraview.generate", icon="SHADERFX")
        if missing and len(missing) < len(VIEW_NAMES):
            hint = layout.row()
            hint.active = False
            hint.label(text=f"Still needed: {', '.join(missing)}", icon="BLANK1")

    def _draw_result(self, layout, context):
        status, active = context.window_manager.tetraview, context.active_object
        if status.note and not status.running and not status.error:
            layout.label(text=status.note, icon="CHECKMARK" if "cancelled" not in status.note else "INFO", translate=False)
        ours = active is not None and REQUEST_KEY in active
        if not ours and not status.result_object:
            return
        header, body = layout.panel("TETRAVIEW_result")
        header.label(text="Result", icon="OUTLINER_OB_MESH")
        if body is None:
            return
        body.enabled = not status.running
        name = active.name if ours else status.result_object
        row = body.row(align=True)
        row.operator("tetraview.select_result", text=name, icon="RESTRICT_SELECT_OFF")
        row.operator("tetraview.open_folder", text="", icon="FILE_FOLDER").folder = status.result_folder
        if ours:
            row = body.row(align=True)
            row.operator("tetraview.regenerate", text="Again", icon="FILE_REFRESH")
            row.operator("tetraview.copy_settings", text="Settings", icon="PASTEDOWN")
        row = body.row(align=True)
        row.label(text="Orbit")
        row.operator("tetraview.orbit_preview", text="Play", icon="PLAY").output = "PLAY"
        row.operator("tetraview.orbit_preview", text="GIF").output = "GIF"
        row.operator("tetraview.orbit_preview", text="MP4").output = "MP4"


CLASSES = (TETRAVIEW_PT_main,)
