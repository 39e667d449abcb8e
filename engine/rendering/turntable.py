"""Frames of one turn around an object, written as an animation, a sheet or a folder of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..cameras import FloatArray, orbit_c2w
from ..job.folder import written_whole

ANIMATED, STILL = (".gif", ".webp"), (".png", ".jpg", ".jpeg")
GIF_TICK_MS = 10
TURN_S = 3.6
"""Seconds of one turn."""

Pixels = npt.NDArray[np.uint8]


def turn_c2w(frames: int, elevation_deg: float) -> FloatArray:
    """Cameras of one turn, float32 [frames, 4, 4]: counter-clockwise from the front, the last one step before the first."""
    return orbit_c2w(np.arange(frames) * (360 / frames), elevation_deg)


def compose(frame: Pixels, background: tuple[int, int, int] | None) -> Image.Image:
    """A frame uint8 [S, S, 4] on a colour; with None it keeps its alpha."""
    image = Image.fromarray(frame)
    if background is None:
        return image
    backdrop = Image.new("RGBA", image.size, (*background, 255))
    backdrop.alpha_composite(image)
    return backdrop.convert("RGB")


def write_turntable(images: Sequence[Image.Image], output: Path, seconds: float = TURN_S) -> list[Path]:
    """Write frames as an animation, a sheet or a folder of PNGs, as the suffix of `output` says; returns the files."""
    suffix = output.suffix.lower()
    if suffix == "":
        output.mkdir(parents=True, exist_ok=True)
        paths = [output / f"frame_{index:04d}.png" for index in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            with written_whole(path) as temporary:
                image.save(temporary)
        return paths
    output.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(output) as temporary:
        if suffix in STILL:
            sheet = contact_sheet(images)
            (sheet if suffix == ".png" else sheet.convert("RGB")).save(temporary)
        else:
            frame_ms = max(2 * GIF_TICK_MS, round(seconds * 1000 / len(images) / GIF_TICK_MS) * GIF_TICK_MS)
            options: dict[str, Any] = {"quality": 90, "method": 4} if suffix == ".webp" else {"disposal": 2}
            images[0].save(temporary, save_all=True, append_images=images[1:], duration=frame_ms, loop=0, **options)
    return [output]


def contact_sheet(images: Sequence[Image.Image]) -> Image.Image:
    """All frames on one picture, row by row, about as wide as high."""
    columns = math.ceil(math.sqrt(len(images)))
    width, height = images[0].size
    sheet = Image.new(images[0].mode, (columns * width, math.ceil(len(images) / columns) * height))
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * width, index // columns * height))
    return sheet
