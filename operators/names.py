"""Names for the object."""

import os
import re

from ..engine.photo_names import VIEW_WORDS

ARTICLES = ("a", "an", "the")
LONGEST_NAME = 48
"""Longest name, characters; Blender cuts names at 63 bytes and needs some of them for ".001"."""


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
