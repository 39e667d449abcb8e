"""Names: the side in a photo's file name, and a name for the object."""

import os
import re

from ..engine.types import VIEW_NAMES

VIEW_WORDS = {
    "front": ("front", "vorne", "face"),
    "right": ("right", "rechts"),
    "back": ("back", "rear", "behind", "hinten"),
    "left": ("left", "links"),
}

ARTICLES = ("a", "an", "the")
LONGEST_NAME = 48
"""Longest name, characters; Blender cuts names at 63 bytes and needs some of them for ".001"."""


def assign_by_name(paths):
    """Assign photos to sides by the words in their file names.

    Args:
        paths: Paths of image files.

    Returns:
        dict view name -> path; a view is left out when no file, or more than one, names it.
    """
    found: dict[str, list[str]] = {name: [] for name in VIEW_NAMES}
    for path in paths:
        words = re.findall(r"[a-z]+", os.path.splitext(os.path.basename(path))[0].lower())
        named = [name for name in VIEW_NAMES if any(word in words for word in VIEW_WORDS[name])]
        if len(named) == 1:
            found[named[0]].append(path)
    return {name: hits[0] for name, hits in found.items() if len(hits) == 1}


def name_from_photos(photos) -> str:
    """A name for the object: what the photos' file names share beside front, right, back, left; else "Object"."""
    sides = {word for words in VIEW_WORDS.values() for word in words}
    names = set()
    for path in photos.values():
        words = re.split(r"[^0-9A-Za-z]+", os.path.splitext(os.path.basename(path))[0])
        names.add(" ".join(word for word in words if word and word.lower() not in sides))
    return names.pop().title() if len(names) == 1 and names != {""} else "Object"


def name_from_prompt(prompt: str) -> str:
    """A name for the object: the prompt's first phrase without its article, in title case; else "Object"."""
    words = prompt.partition(",")[0].split()
    while words and words[0].lower() in ARTICLES:
        words = words[1:]
    name = ""
    for word in words:
        longer = f"{name} {word[0].upper()}{word[1:]}".strip()
        if len(longer.encode()) > LONGEST_NAME:
            break
        name = longer
    return name or "Object"
