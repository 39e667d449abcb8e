"""Photos by their file names: the kinds that can be read, and the side that a name tells. Standard library only.

Blender and the command line share this one rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from .types import VIEW_NAMES

PHOTO_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".heic", ".heif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".tga", ".ppm",
)  # fmt: skip
"""Suffixes of the files that are taken for photos, in lower case."""

OTHER_KINDS = {
    ".svg": "an SVG drawing", ".pdf": "a PDF document", ".psd": "a Photoshop file", ".exr": "an OpenEXR image",
    ".hdr": "an HDR image", ".mp4": "a video", ".mov": "a video", ".dng": "a raw photo", ".cr2": "a raw photo",
    ".cr3": "a raw photo", ".nef": "a raw photo", ".arw": "a raw photo", ".raf": "a raw photo", ".orf": "a raw photo",
    ".rw2": "a raw photo", ".blend": "a Blender file",
}  # fmt: skip
"""Suffixes of files that artists give in place of photos, with what they are."""

VIEW_WORDS = {
    "front": ("front", "vorne", "face"),
    "right": ("right", "rechts"),
    "back": ("back", "rear", "behind", "hinten"),
    "left": ("left", "links"),
}
"""The words that tell a side."""


@dataclass
class NamedPhotos:
    """Files sorted by the sides that their names tell.

    Attributes:
        photos: Path of the photo of each side that exactly one file names.
        twice: The paths of the files of each side that several name.
        unreadable: The first file of a kind that cannot be read for each side that has no photo.
        unnamed: Photos whose names tell no side, or several.
    """

    photos: dict[str, str] = field(default_factory=dict)
    twice: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """One sentence about the first file that is not used although its name tells a side; "" if there is none."""
        for name, paths in self.twice.items():
            one, other = (PurePath(path).name for path in paths[:2])
            return f"There are two photos of the {name} view, {one} and {other}: remove one, or choose it by hand."
        return next((kind_sentence(path) for path in self.unreadable.values()), "")


def side_of(path: str) -> str | None:
    """The side that a file's name tells; None if it tells none, or several."""
    words = re.findall(r"[a-z]+", PurePath(path).stem.lower())
    named = [name for name in VIEW_NAMES if any(word in words for word in VIEW_WORDS[name])]
    return named[0] if len(named) == 1 else None


def sort_by_name(paths: Iterable[str]) -> NamedPhotos:
    """Sort files by the sides that their names tell; a file called just "front" goes before those that also hold the word."""
    found = NamedPhotos()
    readable: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for path in paths:
        side, suffix = side_of(path), PurePath(path).suffix.lower()
        if suffix not in PHOTO_SUFFIXES:
            if side is not None and suffix in OTHER_KINDS:
                others.setdefault(side, path)
        elif side is None:
            found.unnamed.append(path)
        else:
            readable.setdefault(side, []).append(path)
    for side in VIEW_NAMES:
        candidates = readable.get(side, [])
        plain = [path for path in candidates if PurePath(path).stem.lower() in VIEW_WORDS[side]] or candidates
        if len(plain) == 1:
            found.photos[side] = plain[0]
        elif plain:
            found.twice[side] = plain
        elif side in others:
            found.unreadable[side] = others[side]
    return found


def kind_sentence(path: str) -> str:
    """A sentence for a file of a kind that cannot be read; "" if its suffix tells no such kind."""
    file = PurePath(path)
    kind = OTHER_KINDS.get(file.suffix.lower())
    return f"{file.name} is {kind}, which cannot be read here: export it as PNG or JPEG." if kind else ""
