"""The lower half of the panel: what kind of mesh, the big button, the result."""

from ..operators.properties import MESH_ROWS, POLY_PRESETS, REQUEST_KEY, VIEW_NAMES
from .job import draw_job
from .source import missing_views
from .text import draw_wrapped


def draw_mesh(layout, context) -> None:
    """Triangles, texture and the rarer settings."""
    settings = context.scene.tetraview
    row = layout.row(align=True)
    row.enabled = not context.window_manager.tetraview.running
    for key, label, _, _ in POLY_PRESETS:
        row.prop_enum(settings, "poly_preset", key, text=label)
    header, body = layout.panel("TETRAVIEW_mesh", default_closed=True)
    header.label(text="Mesh")
    if body is not None:
        column = body.column()
        column.enabled = row.enabled
        column.use_property_split, column.use_property_decorate = True, False
        for name in MESH_ROWS:
            if name != "find_elevation" or settings.source == "PHOTOS":
                column.prop(settings, name)
        column.prop(settings, "object_name")


def draw_generate(layout, context) -> None:
    """The big button, and whether it begins with the views that are shown; or the job that it started."""
    settings, status = context.scene.tetraview, context.window_manager.tetraview
    if status.running:
        if status.kind not in {"VIEWS", "VARIATIONS", "FIELD"}:
            draw_job(layout, context)
        return
    current = settings.strip_is_current()
    has_photos = len(missing_views(settings)) < len(VIEW_NAMES)
    something = settings.prompt.strip() if settings.source == "PROMPT" else has_photos
    row = layout.row()
    row.scale_y = 1.8
    row.enabled = (current or bool(something)) and status.engine_ready
    row.operator("tetraview.generate", icon="SHADERFX")
    hint = layout.row()
    hint.active = False
    if current:
        hint.label(text="From the views above", icon="CHECKMARK")
    elif settings.strip.job and something:
        hint.label(text="New settings: makes new views first", icon="INFO")


def draw_result(layout, context) -> None:
    """The last job's message, and the object that it made or that is selected."""
    status, active = context.window_manager.tetraview, context.active_object
    if status.note and not status.running and not status.error:
        note, *warnings = status.note.splitlines()
        draw_wrapped(layout, note, context.region.width - 30, icon="INFO" if "cancelled" in note else "CHECKMARK")
        for warning in warnings:
            draw_wrapped(layout, warning, context.region.width - 30, icon="ERROR")
    if status.ready and not status.running:
        row = layout.row()
        row.scale_y = 1.4
        row.operator("tetraview.place_result", icon="IMPORT")
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
