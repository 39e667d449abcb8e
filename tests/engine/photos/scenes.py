"""Drawn subjects with known silhouettes, and photographs of them on known backgrounds."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw

TEAL, RED, DARK = (40, 130, 125), (190, 60, 50), (50, 45, 60)
_SUPERSAMPLE = 4


def draw(kind: str, px: int = 400, colour: tuple[int, int, int] = TEAL) -> np.ndarray:
    """A subject as uint8 [px, px, 4], straight alpha, antialiased: "mug" (with a see-through handle), "vase" or "box"."""
    s = px * _SUPERSAMPLE
    image = Image.new("RGBA", (s, s), (*colour, 0))
    pen = ImageDraw.Draw(image)
    solid = (*colour, 255)

    def at(*shares: float) -> list[int]:
        return [round(share * s) for share in shares]

    if kind == "mug":
        pen.ellipse(at(0.52, 0.34, 0.82, 0.66), outline=solid, width=round(0.055 * s))
        pen.rounded_rectangle(at(0.22, 0.22, 0.62, 0.78), radius=round(0.05 * s), fill=solid)
        pen.rectangle(at(0.22, 0.4, 0.62, 0.5), fill=(*RED, 255))
    elif kind == "vase":
        pen.polygon(at(0.42, 0.15, 0.58, 0.15, 0.72, 0.5, 0.6, 0.85, 0.4, 0.85, 0.28, 0.5), fill=solid)
        pen.ellipse(at(0.42, 0.45, 0.52, 0.55), fill=(*DARK, 255))
    else:
        pen.rectangle(at(0.25, 0.3, 0.7, 0.75), fill=solid)
        pen.rectangle(at(0.3, 0.35, 0.45, 0.5), fill=(*RED, 255))
    return np.asarray(image.resize((px, px), Image.Resampling.BOX))


def background(kind: str, height: int, width: int, seed: int = 0) -> np.ndarray:
    """float32 [height, width, 3] in 0..255: "plain", "gradient", "noisy", "white" (slightly vignetted) or "busy"."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    if kind == "busy":
        tiles = rng.integers(0, 255, (height // 25 + 1, width // 25 + 1, 3)).astype(np.float32)
        return cv2.resize(tiles, (width, height), interpolation=cv2.INTER_NEAREST)
    base = {"plain": (205, 205, 200), "gradient": (200, 190, 175), "noisy": (200, 205, 190), "white": (252, 252, 252)}[kind]
    field = np.ones((height, width, 3)) * base
    if kind == "gradient":
        field *= (1 - 0.18 * (y + 1) / 2 - 0.1 * (x * x + y * y) / 2)[..., None]
    if kind == "white":
        field *= (1 - 0.02 * (x * x + y * y))[..., None]
    if kind == "noisy":
        field += rng.normal(0, 5, field.shape)
    return np.clip(field, 0, 255).astype(np.float32)


def photograph(subject: np.ndarray, on: str = "plain", *, seed: int = 0, shadow: float = 0.0) -> np.ndarray:
    """The subject composed on a background, uint8 [H, W, 4] and opaque; `shadow` darkens a soft patch beside it."""
    height, width = subject.shape[:2]
    alpha = subject[..., 3:].astype(np.float32) / 255
    behind = background(on, height, width, seed)
    if shadow:
        thrown = np.roll(alpha[..., 0], (height // 60, width // 30), (0, 1))
        behind *= 1 - shadow * cv2.GaussianBlur(thrown, (0, 0), width / 35)[..., None]
    mixed = subject[..., :3] * alpha + behind * (1 - alpha)
    return np.dstack([np.clip(mixed + 0.5, 0, 255).astype(np.uint8), np.full((height, width), 255, np.uint8)])


def placed(subject: np.ndarray, height: int, width: int, scale: float, dx: float, dy: float) -> np.ndarray:
    """The subject [px, px, 4] scaled about its centre and put at the centre plus (dx, dy) of a new image."""
    px = subject.shape[0]
    affine = np.array([[scale, 0, width / 2 + dx - scale * px / 2], [0, scale, height / 2 + dy - scale * px / 2]])
    premultiplied = subject.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    moved = cv2.warpAffine(premultiplied, affine, (width, height), flags=cv2.INTER_AREA)
    moved[..., :3] /= np.maximum(moved[..., 3:] / 255, 1e-3)
    return np.clip(moved + 0.5, 0, 255).astype(np.uint8)


def overlap(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two soft masks, uint8 [H, W]."""
    return float(np.minimum(alpha, truth).sum(dtype=np.float64) / np.maximum(alpha, truth).sum(dtype=np.float64))
