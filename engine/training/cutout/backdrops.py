"""Backdrops of a subject: a wall, a table before it, a corner of a room, and other things in sight."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .surfaces import draw_surface, fractal_noise, gradient, plain, random_palette

Float32Array = npt.NDArray[np.float32]


def draw_backdrop(rng: np.random.Generator, px: int, foot: float, things: list[Float32Array]) -> Float32Array:
    """A backdrop without the subject.

    Args:
        rng: Draws everything.
        px: Side.
        foot: Row at which the subject stands, from the top; a table or floor reaches at least this far up.
        things: Other objects that may be in sight, float32 [h, w, 4], premultiplied, 0..1.

    Returns:
        float32 [px, px, 3], about 0..1.
    """
    kind = rng.random()
    if kind < 0.12:
        scene = plain(rng, px) if rng.random() < 0.5 else gradient(rng, px)
    elif kind < 0.5:
        scene = _tilted(rng, draw_surface(rng, px)) if rng.random() < 0.4 else draw_surface(rng, px)
    elif kind < 0.82:
        scene = _table(rng, px, foot)
    else:
        scene = _corner(rng, px, foot)
    if things:
        scene = _with_things(rng, scene, foot, things)
    blur = rng.choice([0.0, 0.0, 0.6, 1.2, 2.5, 5.0]) * px / 160
    if blur:
        scene = cv2.GaussianBlur(scene, (0, 0), blur)
    return scene * _light(rng, px)[..., None]


def _light(rng: np.random.Generator, px: int) -> Float32Array:
    """Uneven light over the scene [px, px]: a slope, a vignette, now and then the soft shadows of unseen things."""
    y, x = np.mgrid[-1 : 1 : px * 1j, -1 : 1 : px * 1j].astype(np.float32)
    slope = rng.normal(0, 0.15, 2)
    light = 1 + slope[0] * x + slope[1] * y - rng.choice([0.0, 0.0, rng.uniform(0, 0.3)]) * (x * x + y * y)
    if rng.random() < 0.3:
        light = light * (1 + rng.uniform(0.2, 0.8) * np.minimum(0, fractal_noise(rng, px, rng.uniform(2, 5), 2)))
    return np.clip(light, 0.2, 1.6).astype(np.float32)


def _tilted(rng: np.random.Generator, surface: Float32Array) -> Float32Array:
    """The surface seen at a slant."""
    px = surface.shape[0]
    source = np.array([[0, 0], [px, 0], [px, px], [0, px]], np.float32)
    target = source + rng.normal(0, 0.22 * px, (4, 2)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    return cv2.warpPerspective(surface, matrix, (px, px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _receding(surface: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The surface as a table or floor: narrower with distance."""
    px = surface.shape[0]
    source = np.array([[0, 0], [px, 0], [px, px], [0, px]], np.float32)
    inward = rng.uniform(0.1, 0.4) * px
    far = np.array([[inward, 0], [px - inward, 0], [px * 1.5, px], [-px * 0.5, px]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, far)
    return cv2.warpPerspective(surface, matrix, (px, px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _table(rng: np.random.Generator, px: int, foot: float) -> Float32Array:
    """A wall, and a table or floor before it whose edge runs behind the subject."""
    wall = draw_surface(rng, px)
    table = _receding(draw_surface(rng, px), rng)
    edge = float(np.clip(foot - rng.uniform(0.03, 0.55) * px, 0.1 * px, 0.97 * px))
    slant = rng.normal(0, 0.04)
    y, x = np.mgrid[0:px, 0:px].astype(np.float32)
    below = np.clip(y - (edge + slant * (x - px / 2)) + 0.5, 0, 1)
    scene = wall * (1 - below[..., None]) + table * below[..., None]
    if rng.random() < 0.5:  # the edge itself: a rim, or the shade behind it
        width = rng.uniform(0.5, 4)
        line = np.exp(-(((y - edge - slant * (x - px / 2)) / width) ** 2))[..., None]
        scene = scene * (1 - line * rng.uniform(-0.4, 0.7))
    return np.asarray(scene, np.float32)


def _corner(rng: np.random.Generator, px: int, foot: float) -> Float32Array:
    """Two walls and a floor, with pictures or windows on the walls."""
    corner_x = rng.uniform(0.1, 0.9) * px
    corner_y = float(np.clip(foot - rng.uniform(0.05, 0.5) * px, 0.15 * px, 0.95 * px))
    left, right, floor = draw_surface(rng, px), draw_surface(rng, px), _receding(draw_surface(rng, px), rng)
    if rng.random() < 0.6:
        right = left * rng.uniform(0.6, 1.3)  # one wallpaper, other light
    for wall in (left, right):
        for _ in range(int(rng.integers(0, 4))):
            corner = rng.uniform(-0.1, 0.9, 2) * px
            far = corner + rng.uniform(0.08, 0.5, 2) * px
            box = [tuple(int(c) for c in p) for p in (corner, far)]
            frame, inside = ([float(c) for c in colour] for colour in random_palette(rng, 2))
            wall[:] = cv2.rectangle(np.ascontiguousarray(wall), box[0], box[1], inside, -1)
            wall[:] = cv2.rectangle(np.ascontiguousarray(wall), box[0], box[1], frame, int(rng.integers(1, 5)))
    y, x = np.mgrid[0:px, 0:px].astype(np.float32)
    fall = rng.uniform(0.0, 0.5, 2)
    edge = corner_y + np.where(x < corner_x, fall[0] * (corner_x - x), fall[1] * (x - corner_x))
    scene = np.where((x < corner_x)[..., None], left, right)
    return np.where((y > edge)[..., None], floor, scene).astype(np.float32)


def _with_things(rng: np.random.Generator, scene: Float32Array, foot: float, things: list[Float32Array]) -> Float32Array:
    """Other objects behind or beside the subject: on its ground or anywhere, never larger than a third of the picture."""
    px = scene.shape[0]
    for thing in things:
        size = px * float(np.exp(rng.uniform(np.log(0.06), np.log(0.42))))
        scale = size / max(thing.shape[:2])
        width, height = max(2, round(thing.shape[1] * scale)), max(2, round(thing.shape[0] * scale))
        small = cv2.resize(thing, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        x = rng.uniform(-0.5 * width, px - 0.5 * width)
        bottom = foot - rng.uniform(0.0, 0.3) * px if rng.random() < 0.6 else rng.uniform(0, px * 1.1)
        paste(scene, small, round(x), round(bottom - height))
    return scene


def paste(scene: Float32Array, thing: Float32Array, left: int, top: int) -> None:
    """Lay float32 [h, w, 4], premultiplied, over `scene` in place; what lies outside is cut off."""
    height, width = thing.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(scene.shape[1], left + width), min(scene.shape[0], top + height)
    if x0 >= x1 or y0 >= y1:
        return
    part = thing[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:]
    scene[y0:y1, x0:x1] = scene[y0:y1, x0:x1] * (1 - alpha) + part[..., :3]
