"""Variation of light and of material; a recoloured object gets a caption of its new colour.

Few objects are blue, pink or purple, so a model soon takes a colour for part of a noun; recolouring shows each noun in many.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...dataset.lighting import Light
from ...dataset.textured_mesh import TexturedMesh
from ...retrieval.colours import NAMED_COLOURS, nearest_names, repaint, to_lab, to_rgb

UInt8Array = npt.NDArray[np.uint8]

MAIN_SHARE = 0.3
"""Share of the visible surface that the first named colour needs for the object to be recoloured."""


def recolour(texture: UInt8Array, name: str, target: str, rng: np.random.Generator) -> UInt8Array | None:
    """Paint the texels of colour `name` in colour `target`, keeping their shading.

    Args:
        texture: uint8 [h, w, 3], sRGB.
        name, target: Keys of `NAMED_COLOURS`.
        rng: Source of the exact tint, which is a few Lab units from the named one.

    Returns:
        uint8 [h, w, 3]; None if no texel has the colour.
    """
    chosen = nearest_names(texture) == list(NAMED_COLOURS).index(name)
    if not chosen.any():
        return None
    aim = to_lab(np.array([[NAMED_COLOURS[target]]], np.uint8))[0, 0] + rng.normal(0, (3, 2.5, 2.5))
    soft = min(texture.shape[:2]) > 64  # a picture, not a palette of flat cells: no hard edges
    return repaint(texture, chosen, aim, soft=soft)


def vary_material(texture: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """The texture a little lighter or darker, more or less contrasty and colourful; uint8 [h, w, 3]."""
    lab = to_lab(texture)
    mean = lab[..., :1].mean()
    lab[..., :1] = (lab[..., :1] - mean) * rng.uniform(0.9, 1.1) + mean + rng.uniform(-6, 4)
    lab[..., 1:] *= rng.uniform(0.85, 1.15)
    return to_rgb(lab)


def random_light(rng: np.random.Generator) -> Light:
    """A lamp from above, mostly from the front, and an even surround; together they neither burn out nor drown the colours."""
    tint = rng.uniform(0.88, 1.08, 3)
    strength = float(rng.uniform(0.15, 0.65))
    direction = rng.normal(size=3) + np.array((0, -0.3, 0.9))
    return Light(direction, 1.05 - 0.6 * strength, strength, (float(tint[0]), float(tint[1]), float(tint[2])))


def with_article(phrase: str) -> str:
    """`a orange chair` -> `an orange chair`, and the reverse; before a u the article stays as it is."""
    return re.sub(r"\b(an?) ([^\Wu])", lambda m: ("an " if m[2] in "aeio" else "a ") + m[2], phrase, count=1)


def recoloured_meta(meta: Mapping[str, Any], target: str) -> dict[str, Any] | None:
    """The meta with its main colour named `target`; None if the caption does not tell the main colour, or the noun has one."""
    colours = meta.get("colours") or []
    if not colours or colours[0][1] < MAIN_SHARE or target in {name for name, _ in colours}:
        return None
    name, caption, noun = colours[0][0], str(meta.get("caption", "")), str(meta.get("caption_short", ""))
    words = re.compile(rf"\b{re.escape(name)}\b")
    if name not in NAMED_COLOURS or not words.search(caption) or any(re.search(rf"\b{c}\b", noun) for c in NAMED_COLOURS):
        return None
    renamed = with_article(words.sub(target, caption, count=1))
    return {**meta, "caption": renamed, "colours": [[target, colours[0][1]], *colours[1:]]}


def recoloured_mesh(mesh: TexturedMesh, rng: np.random.Generator) -> TexturedMesh | None:
    """The object in another main colour, with its caption told so; None where that is not possible."""
    target = str(rng.choice(list(NAMED_COLOURS)))
    meta = recoloured_meta(mesh.meta, target)
    if meta is None:
        return None
    texture = recolour(mesh.texture, mesh.meta["colours"][0][0], target, rng)
    return None if texture is None else dataclasses.replace(mesh, texture=texture, meta=meta)
