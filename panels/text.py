"""Sentences in a layout that cannot wrap them."""

import textwrap

import bpy

POINTS_PER_LETTER = 6.6


def draw_wrapped(layout, text: str, width_px: float, icon: str = "NONE") -> None:
    """Labels that hold `text`, broken at about `width_px`; the icon stands at the first line."""
    scale = bpy.context.preferences.system.ui_scale or 1.0  # 0 until a window was drawn
    room = width_px / scale - (24 if icon != "NONE" else 8)
    lines = textwrap.wrap(text, max(12, int(room / POINTS_PER_LETTER))) or [""]
    column = layout.column(align=True)
    column.scale_y = 0.85
    for number, line in enumerate(lines):
        mark = icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE")
        column.label(text=line, icon=mark, translate=False)


def duration(seconds: float) -> str:
    """Seconds as a person says them: "8 s", "1 min 20 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
