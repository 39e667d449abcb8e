"""The colours that captions name: which words they are, which texels have them, and painting one in place of another."""

from __future__ import annotations

import re

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

NAMED_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (204, 40, 40), "dark red": (122, 28, 30), "orange": (236, 132, 40), "brown": (134, 88, 52), "dark brown": (78, 50, 34),
    "beige": (222, 198, 160), "yellow": (240, 208, 56), "olive green": (112, 118, 48), "green": (70, 168, 64),
    "dark green": (38, 88, 44), "teal": (40, 150, 146), "light blue": (136, 196, 232), "blue": (48, 92, 204),
    "dark blue": (30, 42, 106), "purple": (130, 64, 172), "pink": (240, 140, 180), "white": (242, 242, 242),
    "light gray": (194, 194, 196), "gray": (134, 134, 136), "dark gray": (76, 76, 78), "black": (26, 26, 28),
}  # fmt: skip
"""sRGB of the colour words that captions use."""

SAME_COLOUR: dict[str, str] = {
    "grey": "gray", "light grey": "light gray", "dark grey": "dark gray", "violet": "purple", "lilac": "purple",
    "magenta": "pink", "crimson": "red", "scarlet": "red", "maroon": "dark red", "golden": "yellow", "turquoise": "teal",
    "cyan": "light blue", "sky blue": "light blue", "navy": "dark blue", "navy blue": "dark blue", "tan": "beige",
    "ivory": "white", "light brown": "brown", "light green": "green", "light red": "red", "bright red": "red",
    "dark purple": "purple", "dark orange": "orange", "dark yellow": "yellow",
}  # fmt: skip
"""Synonyms of the named colours."""

LIGHTNESS_WEIGHT, SAME_HUE = 0.4, 20.0
"""Texels closer than `SAME_HUE` Lab units, with lightness weighted less, count as one hue: light and shade on one surface."""

HUE_ANGLE_DEG, MIN_CHROMA, MIN_CHROMA_RATIO = 14.0, 9.0, 0.5
"""Texels also count as one hue if their hue angles differ by less, both have chroma, and the chromas are similar."""

_LONGEST_FIRST = sorted((*NAMED_COLOURS, *SAME_COLOUR), key=len, reverse=True)
_WORDS = re.compile(r"\b(" + "|".join(_LONGEST_FIRST).replace(" ", r"[\s-]+") + r")\b", re.IGNORECASE)


def split_colours(text: str) -> tuple[tuple[str, ...], str]:
    """The colours that a text names, keys of `NAMED_COLOURS` in order and each once, and the text without them."""
    found = [re.sub(r"[\s-]+", " ", match.lower()) for match in _WORDS.findall(text)]
    names = dict.fromkeys(SAME_COLOUR.get(word, word) for word in found)
    return tuple(names), re.sub(r"\s+", " ", _WORDS.sub(" ", text)).strip()


def to_lab(rgb: npt.NDArray[np.generic]) -> FloatArray:
    """CIE Lab float32 [h, w, 3] of uint8 sRGB."""
    return cv2.cvtColor(np.asarray(rgb, np.float32) / 255, cv2.COLOR_RGB2LAB)


def to_rgb(lab: FloatArray) -> UInt8Array:
    """uint8 sRGB [h, w, 3] of CIE Lab."""
    return (np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255 + 0.5).astype(np.uint8)


def nearest_names(texture: UInt8Array) -> npt.NDArray[np.int64]:
    """Index into `NAMED_COLOURS` of each texel's nearest colour (Lab), int64 [h, w]."""
    prototypes = to_lab(np.array([list(NAMED_COLOURS.values())], np.uint8))[0]
    distance = np.square(to_lab(texture)[:, :, None] - prototypes).sum(-1)
    return distance.argmin(-1)


def alike(texture: UInt8Array, seeds: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Texels of the same hue as the mean of some of them, lighter and darker ones too.

    Args:
        texture: uint8 [h, w, 3], sRGB.
        seeds: bool [h, w], at least one; they belong to it in any case.

    Returns:
        bool [h, w].
    """
    lab = to_lab(texture)
    mean = lab[seeds].mean(0)
    away = (lab - mean) * (LIGHTNESS_WEIGHT, 1.0, 1.0)
    found: npt.NDArray[np.bool_] = seeds | (np.square(away).sum(-1) < SAME_HUE**2)
    chroma, usual = np.hypot(lab[..., 1], lab[..., 2]), float(np.hypot(*mean[1:]))
    if usual >= MIN_CHROMA:
        between = np.abs(np.angle(np.exp(1j * (np.arctan2(lab[..., 2], lab[..., 1]) - np.arctan2(mean[2], mean[1])))))
        found |= (chroma >= max(MIN_CHROMA, MIN_CHROMA_RATIO * usual)) & (between < np.radians(HUE_ANGLE_DEG))
    return found


def repaint(texture: UInt8Array, chosen: npt.NDArray[np.bool_], aim: FloatArray, *, soft: bool) -> UInt8Array:
    """Paint texels in another colour and keep their shading.

    Args:
        texture: uint8 [h, w, 3], sRGB.
        chosen: bool [h, w], at least one.
        aim: float32 [3]: the new mean colour, Lab.
        soft: Whether to soften the edge of the selection.

    Returns:
        uint8 [h, w, 3].
    """
    lab = to_lab(texture)
    shading = (lab - lab[chosen].mean(0)) * (1.0, 0.4, 0.4)
    blend = chosen.astype(np.float32)
    if soft:
        blend = cv2.GaussianBlur(blend, (0, 0), 0.7)
    return to_rgb(lab + blend[..., None] * (aim + shading - lab))
