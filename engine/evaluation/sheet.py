"""The contact sheet: the inputs of each object beside rows of truth, volumetric render and exported mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..cameras import FloatArray
from ..job.folder import written_whole

TILE_PX = 112
SHOWN_VIEWS: tuple[int, ...] = (0, 2, 4, 6, 9, 13)
"""Indices of the novel views shown: four at elevation 0, two at 40."""

_LABEL_PX = 18
_GAP_PX = 8
_TEXT, _MUTED, _PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


def to_image(pixels: FloatArray, px: int) -> Image.Image:
    """float32 [H, W, 3] 0..1 as a picture of `px` a side."""
    image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    if image.size == (px, px):
        return image
    return image.resize((px, px), Image.Resampling.BOX if image.width > px else Image.Resampling.LANCZOS)


def fit_text(draw: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text, shortened with an ellipsis to `width` pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def object_strip(
    caption: str,
    inputs: Sequence[npt.NDArray[np.floating]],
    rows: Mapping[str, FloatArray],
    psnr_by_view: Mapping[str, Sequence[float]],
) -> Image.Image:
    """One object's part of the sheet.

    Args:
        caption: Its name.
        inputs: The four input views on white, float [H, W, 3].
        rows: Novel views float32 [16, px, px, 3] of the truth and of each result, keyed by the row's name.
        psnr_by_view: PSNR of each of the 16 views, for the rows that have one.
    """
    height = len(rows) * (TILE_PX + _LABEL_PX)
    input_px = height // 2 - _LABEL_PX // 2
    left = 2 * input_px + _GAP_PX
    strip = Image.new("RGB", (left + len(SHOWN_VIEWS) * TILE_PX, height + _LABEL_PX + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(strip)
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    draw.text((4, 1), fit_text(draw, caption, strip.width - 8, font), _TEXT, font=font)
    for index, view in enumerate(inputs):
        strip.paste(to_image(view, input_px), (index % 2 * input_px, _LABEL_PX + index // 2 * input_px))
    for row, (name, images) in enumerate(rows.items()):
        y = _LABEL_PX + row * (TILE_PX + _LABEL_PX)
        for column, shown in enumerate(SHOWN_VIEWS):
            x = left + column * TILE_PX
            strip.paste(to_image(images[shown], TILE_PX), (x, y))
            label = f"{psnr_by_view[name][shown]:.1f} dB" if name in psnr_by_view else ""
            label = f"{name} {label}" if column == 0 else label
            draw.text((x + 4, y + TILE_PX + 1), label, _MUTED, font=small)
    return strip


def assemble(strips: Sequence[Path], path: Path, *, columns: int = 2, gap_px: int = 16) -> None:
    """Write pictures of one size, read from files, as a sheet of so many columns.

    Raises:
        ValueError: There are no pictures.
    """
    if not strips:
        raise ValueError("no pictures to put on a sheet")
    columns = min(columns, len(strips))
    images = [Image.open(strip).convert("RGB") for strip in strips]
    width, height = max(i.width for i in images), max(i.height for i in images)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap_px) + gap_px, rows * (height + gap_px) + gap_px), _PAPER)
    for index, image in enumerate(images):
        sheet.paste(image, (gap_px + index % columns * (width + gap_px), gap_px + index // columns * (height + gap_px)))
    with written_whole(path) as temporary:
        sheet.save(temporary)


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the items, evenly spread over all: not the best, not the first."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]
