"""The framed views on disk: PNGs with straight alpha, and what they remember of where they come from.

A view that no picture shows is rendered from the reconstruction of the others. Its file says so, with a hash of its pixels: if
the artist changes it, the hash no longer fits, and the view counts as known from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import PhotoError
from ..types import VIEW_NAMES
from .folder import written_whole

UInt8Array = npt.NDArray[np.uint8]

MAX_VIEW_PX = 4096
_RENDERED = "tetraview-rendered"
"""Key of a PNG's text; its value is the hash of the pixels."""


def write_view(path: Path, image: UInt8Array, *, is_rendered: bool = False) -> None:
    """Write uint8 [H, W, 4] as a PNG, whole or not at all; `is_rendered`: it comes from the reconstruction of the others."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if is_rendered:
        text.add_text(_RENDERED, _pixel_hash(image))
    with written_whole(path) as temporary:
        Image.fromarray(image).save(temporary, compress_level=1, pnginfo=text)


def rendered_views(folder: Path) -> frozenset[str]:
    """Names of the views in a folder that were rendered from the reconstruction of the others, and not edited since."""
    from PIL import Image

    found = set()
    for name in VIEW_NAMES:
        try:
            with Image.open(folder / f"{name}.png") as image:
                marked = image.info.get(_RENDERED)
                if marked is not None and marked == _pixel_hash(np.asarray(image.convert("RGBA"), np.uint8)):
                    found.add(name)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # `read_views` says what is wrong with it
            continue
    return frozenset(found)


def _pixel_hash(image: UInt8Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def check_view_file(path: Path) -> None:
    """Raise `PhotoError`, in one sentence, if a view is no file."""
    if not path.exists():
        raise PhotoError(f"There is no {path.name} among the views in {path.parent}: start from the photos instead.")
    if not path.is_file():  # a folder; or a pipe, which would be waited for
        raise PhotoError(f"The view {path} is not a file: start from the photos instead.")


def read_views(folder: Path, names: Iterable[str] = VIEW_NAMES) -> dict[str, UInt8Array]:
    """Framed views of an earlier run, perhaps edited since.

    Args:
        folder: Holds a PNG of each.
        names: Views to read; the others may be missing.

    Raises:
        PhotoError: One is missing, no image, not square, without alpha, or not of the size of the others.
    """
    from PIL import Image, UnidentifiedImageError

    views: dict[str, UInt8Array] = {}
    for name in names:
        path = folder / f"{name}.png"
        check_view_file(path)
        try:
            with Image.open(path) as image:
                if max(image.size) > MAX_VIEW_PX:  # known before it is decoded
                    size = f"{image.width} x {image.height}"
                    raise PhotoError(f"The view {path} is too large ({size} px): make it at most {MAX_VIEW_PX} px a side.")
                has_alpha = image.has_transparency_data
                views[name] = np.asarray(image.convert("RGBA"), np.uint8)
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PhotoError(f"The view {path} cannot be read: start from the photos instead.") from error
        height, width = views[name].shape[:2]
        if height != width or not has_alpha:
            raise PhotoError(f"The view {path} must be a square PNG with an alpha channel; it is {width} x {height} px.")
    sizes = {image.shape for image in views.values()}
    if len(sizes) > 1:
        raise PhotoError(f"The views in {folder} differ in size: make all four as large as the largest.")
    return views
