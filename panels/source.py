"""The top of the panel: what the views are made from, a prompt or photos."""

import os

import bpy

from ..operators.properties import PAINTING_ROWS, VIEW_NAMES, icon_of

DICE = os.path.join(os.path.dirname(__file__), "dice.png")
SLOT_SCALE = 2.6
LONGEST_ENTRY = 60


class TETRAVIEW_MT_prompts(bpy.types.Menu):
    """Earlier prompts, newest first"""

    bl_idname = "TETRAVIEW_MT_prompts"
    bl_label = "Earlier Prompts"

    def draw(self, context):
        layout, prompts = self.layout, context.window_manager.tetraview.prompts()
        for prompt in prompts:
            text = prompt if len(prompt) <= LONGEST_ENTRY else prompt[: LONGEST_ENTRY - 1].rstrip() + "…"
            layout.operator("tetraview.use_prompt", text=text, translate=False).prompt = prompt
        if not prompts:
            layout.label(text="None yet")
            return
        layout.separator()
        layout.operator("tetraview.forget_prompts", icon="TRASH")


def draw_source(layout, context) -> None:
    """The switch, and what belongs to its side."""
    settings, status = context.scene.tetraview, context.window_manager.tetraview
    column = layout.column()
    column.enabled = not status.running
    row = column.row(align=True)
    row.scale_y = 1.2
    row.prop(settings, "source", expand=True)
    if settings.source == "PHOTOS":
        _draw_photos(column, settings)
    if settings.source == "PROMPT" or missing_views(settings):
        _draw_prompt(column, settings)
        _draw_painting(layout, settings, column.enabled)


def missing_views(settings) -> list[str]:
    """Views that no photo shows."""
    return [name for name in VIEW_NAMES if not getattr(settings, name)]


def _draw_prompt(layout, settings) -> None:
    painted = settings.source == "PHOTOS"
    column = layout.column(align=True)
    row = column.row(align=True)
    field = row.row(align=True)
    field.scale_y = 1.2
    field.prop(settings, "prompt", text="", placeholder="What is it? (helps)" if painted else "a red armchair")
    row.menu("TETRAVIEW_MT_prompts", text="", icon="TIME")
    row = column.row(align=True)
    row.prop(settings, "style", expand=True)
    row = layout.row(align=True)
    row.prop(settings, "seed")
    row.operator("tetraview.dice", text="", icon_value=icon_of(DICE))


def _draw_painting(layout, settings, enabled) -> None:
    header, body = layout.panel("TETRAVIEW_painting", default_closed=True)
    header.label(text="Painting")
    if body is None:
        return
    column = body.column()
    column.enabled = enabled
    column.use_property_split, column.use_property_decorate = True, False
    for name in PAINTING_ROWS:
        column.prop(settings, name)
    column.prop(settings, "variation_count")


def _draw_photos(layout, settings) -> None:
    layout.operator("tetraview.choose_photos", text="Choose Photos…", icon="FILEBROWSER")
    grid = layout.grid_flow(row_major=True, columns=len(VIEW_NAMES), even_columns=True, even_rows=True, align=True)
    for name in VIEW_NAMES:
        _draw_slot(grid.column(align=True), settings, name)
    _draw_swap(layout, settings)
    missing = missing_views(settings)
    if missing and len(missing) < len(VIEW_NAMES):
        hint = layout.row()
        hint.active = False
        *first, last = missing
        names = f"{', '.join(first)} and {last}" if first else last
        hint.label(text=f"{names.capitalize()} will be painted", icon="BRUSH_DATA")
    split = layout.split(factor=0.32)
    split.label(text="Cut-out")
    split.prop(settings, "cutout", text="")


def _draw_swap(layout, settings) -> None:
    """Many turnarounds name the sides the other way round: one button exchanges left and right."""
    row = layout.row()
    row.enabled = bool(settings.left or settings.right)
    button = row.operator("tetraview.swap", text="Swap Left and Right", icon="UV_SYNC_SELECT")
    button.first, button.second = "left", "right"


def _draw_slot(column, settings, name) -> None:
    path = getattr(settings, name)
    icon = icon_of(bpy.path.abspath(path)) if path else 0
    label = column.row()
    label.alignment = "CENTER"
    label.label(text=name.capitalize())
    if icon:
        column.template_icon(icon_value=icon, scale=SLOT_SCALE)
        row = column.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
        row.operator("tetraview.choose_photo", text="", icon="FILE_FOLDER").view = name
        row.operator("tetraview.clear_photo", text="", icon="X").view = name
        return
    empty = column.column()
    empty.scale_y = SLOT_SCALE + 1
    empty.operator("tetraview.choose_photo", text="", icon="ERROR" if path else "ADD").view = name


CLASSES = (TETRAVIEW_MT_prompts,)
