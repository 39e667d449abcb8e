"""Pictures for people: the photos the engine saw beside the mesh it made of them, nothing picked unless ids say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..cameras import RIG_FOVY_DEG, orbit_c2w
from ..dataset.lighting import Light
from ..dataset.render import render_views
from ..dataset.textured_mesh import TexturedMesh
from ..imaging.colour import on_white
from ..types import VIEW_NAMES
from .sheet import assemble, fit_text, spread, to_image

PICTURE_PX = 256
CAMERA_DEG = ((30.0, 25.0), (210.0, 25.0))
"""Azimuth and elevation of the pictures of the result, between the input views."""

_CAPTION_PX = 22


def gallery_tile(caption: str, inputs: Mapping[str, npt.NDArray[np.uint8]], mesh: TexturedMesh | None) -> Image.Image:
    """One object: its four input views, two by two, then two lit pictures of the mesh made of them.

    Args:
        caption: A line under the pictures.
        inputs: RGBA of the four views, straight alpha, keyed by name.
        mesh: The exported mesh; None leaves its place white.
    """
    px = PICTURE_PX
    tile = Image.new("RGB", (3 * px, px + _CAPTION_PX), (255, 255, 255))
    for index, name in enumerate(VIEW_NAMES):
        tile.paste(to_image(on_white(inputs[name]), px // 2), (index % 2 * (px // 2), index // 2 * (px // 2)))
    if mesh is not None:
        for index, (azimuth, elevation) in enumerate(CAMERA_DEG):
            c2w = orbit_c2w(azimuth, elevation)
            lamp = Light(direction=c2w[0, :3, 2] + c2w[0, :3, 1] - 0.6 * c2w[0, :3, 0], ambient=0.55, diffuse=0.5)
            picture = on_white(render_views(mesh, c2w, RIG_FOVY_DEG, px, 3, lamp).rgba[0])
            tile.paste(to_image(picture, px), (px + index * px, 0))
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(14)
    draw.text((4, px + 2), fit_text(draw, caption, tile.width - 8, font), (60, 60, 60), font=font)
    return tile


def write_gallery(tiles: Sequence[Path], path: Path, *, count: int = 24, columns: int = 3) -> None:
    """Put at most `count` tiles, evenly spread over all, into one picture.

    Raises:
        ValueError: There are no tiles.
    """
    assemble(spread(tiles, count), path, columns=columns)
