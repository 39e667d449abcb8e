"""The view strip: four tiles that fill in while they are painted, their tools, variations and the orbit preview."""

from ..operators.properties import VIEW_NAMES, icon_of
from .job import draw_job
from .source import missing_views
from .text import draw_wrapped

TILE_SCALE = 5.4
SHEET_SCALES = {2: 4.6, 3: 3.2}
"""Size of a variation's picture by the number of columns."""
ORBIT_SCALE = 6.0


def draw_strip(layout, context) -> None:
    """The button that paints, and the views with all that can be done to them."""
    settings, status = context.scene.tetraview, context.window_manager.tetraview
    if status.running and status.kind in {"VIEWS", "VARIATIONS"}:
        draw_job(layout, context)
    else:
        _draw_paint(layout, settings, status)
    if settings.strip.variations:
        _draw_variations(layout, settings, status)
    painting = status.painted_so_far()
    if not settings.strip.job and not painting:
        return
    header, body = layout.panel("TETRAVIEW_strip")
    header.label(text="Views", icon="IMAGE_REFERENCE")
    if body is None:
        return
    grid = body.grid_flow(row_major=True, columns=2, even_columns=True, even_rows=True, align=False)
    for name in VIEW_NAMES:
        _draw_tile(grid.box(), settings.strip, status, name, painting.get(name, ""))
    for warning in settings.strip.warnings.splitlines():
        draw_wrapped(body, warning, context.region.width - 50, icon="ERROR")
    _draw_orbit(layout, body, context)


def _draw_paint(layout, settings, status) -> None:
    painted = settings.source == "PROMPT" or bool(missing_views(settings))
    something = settings.prompt.strip() if settings.source == "PROMPT" else len(missing_views(settings)) < len(VIEW_NAMES)
    column = layout.column(align=True)
    column.enabled = bool(something) and status.engine_ready and not status.running
    row = column.row(align=True)
    row.scale_y = 1.6
    text, icon = ("Paint Views", "BRUSH_DATA") if painted else ("Cut Out Views", "MOD_MASK")
    row.operator("tetraview.paint_views", text=text, icon=icon)
    if painted:
        row = column.row(align=True)
        again = row.row(align=True)
        again.enabled = settings.strip.job != ""
        again.operator("tetraview.reroll_views", icon="FILE_REFRESH")
        row.operator("tetraview.variations", icon="MESH_GRID")


def _draw_tile(box, strip, status, name, so_far) -> None:
    locked = getattr(strip, f"lock_{name}")
    column = box.column(align=True)
    row = column.row(align=True)
    row.label(text=name.capitalize())
    lock = row.row()
    lock.enabled = strip.job != ""
    lock.prop(strip, f"lock_{name}", text="", icon="LOCKED" if locked else "UNLOCKED", emboss=False)
    icon = icon_of(so_far or strip.path(name))
    if icon:
        column.template_icon(icon_value=icon, scale=TILE_SCALE)
    else:
        empty = column.column()
        empty.scale_y = TILE_SCALE
        empty.label(text="Gone" if strip.job else "", icon="ERROR" if strip.job else "BRUSH_DATA")
    row = column.grid_flow(row_major=True, columns=3, even_columns=True, align=True)
    row.enabled = strip.job != "" and not locked and not status.running
    row.operator("tetraview.reroll_view", text="", icon="FILE_REFRESH").view = name
    row.operator("tetraview.replace_view", text="", icon="IMAGE_DATA").view = name
    row.operator("tetraview.flip_view", text="", icon="MOD_MIRROR").view = name


def _draw_variations(layout, settings, status) -> None:
    box = layout.box()
    row = box.row(align=True)
    row.label(text="Choose One", icon="IMGDISPLAY")
    row.operator("tetraview.clear_variations", text="", icon="X", emboss=False)
    variations = settings.strip.variation_list()
    columns = 2 if len(variations) <= 4 else 3
    grid = box.grid_flow(row_major=True, columns=columns, even_columns=True, even_rows=True, align=True)
    grid.enabled = not status.running
    for index, variation in enumerate(variations):
        column = grid.column(align=True)
        column.template_icon(icon_value=icon_of(f"{variation['folder']}/front.png"), scale=SHEET_SCALES[columns])
        chosen = variation["folder"] == settings.strip.folder
        button = column.operator("tetraview.choose_variation", text=str(index + 1), depress=chosen)
        button.index = index


def _draw_orbit(layout, views, context) -> None:
    strip, status = context.scene.tetraview.strip, context.window_manager.tetraview
    if status.running and status.kind == "FIELD":
        draw_job(views, context)
        return
    if not strip.orbit:
        row = views.row()
        row.scale_y = 1.2
        row.enabled = not status.running and status.engine_ready and strip.job != ""
        row.operator("tetraview.orbit_views", icon="ORIENTATION_GIMBAL")
        return
    header, body = layout.panel("TETRAVIEW_orbit")
    header.label(text="Orbit Preview", icon="ORIENTATION_GIMBAL")
    if body is None:
        return
    icon = icon_of(status.orbit_frame(strip.orbit_frames()))
    if icon:
        body.template_icon(icon_value=icon, scale=ORBIT_SCALE)
    row = body.row(align=True)
    playing = status.orbit_playing
    row.operator("tetraview.play_orbit", text="Stop" if playing else "Play", icon="PAUSE" if playing else "PLAY")
    for kind, text in (("GIF", "GIF"), ("WEBP", "WebP"), ("MP4", "MP4")):
        row.operator("tetraview.save_orbit", text=text).kind = kind
