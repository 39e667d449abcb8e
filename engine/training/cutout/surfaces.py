"""Procedural surfaces: noise, wood, cloth, tiles, stripes, cells, leaves; every scale and colour.

Each function draws float32 [px, px, 3] in 0..1 from a random generator and a palette, float32 [n, 3].
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


def random_palette(rng: np.random.Generator, count: int) -> Float32Array:
    """Colours [count, 3] of related or of any hues, most of them muted, as rooms and cloths are."""
    hue = rng.uniform(0, 180) + rng.normal(0, rng.choice([6.0, 20.0, 90.0]), count)
    saturation = np.clip(rng.beta(1.3, 3.0) * 255 + rng.normal(0, 25, count), 0, 255)
    value = np.clip(rng.uniform(40, 245) + rng.normal(0, rng.choice([12.0, 35.0, 70.0]), count), 8, 255)
    hsv = np.stack([hue % 180, saturation, value], -1)[None].astype(np.uint8)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] / 255).astype(np.float32)


def value_noise(rng: np.random.Generator, px: int, cells_x: float, cells_y: float | None = None) -> Float32Array:
    """Smooth noise [px, px] of unit range about 0, with so many cells across and down."""
    shape = (max(2, round(cells_y or cells_x)) + 1, max(2, round(cells_x)) + 1)
    grid = rng.random(shape, dtype=np.float32) - 0.5
    return cv2.resize(grid, (px, px), interpolation=cv2.INTER_CUBIC)


def fractal_noise(rng: np.random.Generator, px: int, cells: float, octaves: int = 4, stretch: float = 1.0) -> Float32Array:
    """Noise [px, px] of several octaves, about -0.5..0.5; `stretch` makes it finer down than across."""
    total = np.zeros((px, px), np.float32)
    gain = 1.0
    for _ in range(octaves):
        if cells > px / 2:
            break
        total += gain * value_noise(rng, px, cells, min(px / 2, cells * stretch))
        cells, gain = cells * 2, gain * 0.55
    return total / 1.6


def ramp(field: Float32Array, palette: Float32Array) -> Float32Array:
    """Colours [px, px, 3] of a scalar field in 0..1 along the palette."""
    stops = np.linspace(0, 1, len(palette))
    table = np.stack([np.interp(np.linspace(0, 1, 256), stops, channel) for channel in palette.T], -1)[None].astype(np.float32)
    index = cv2.convertScaleAbs(np.clip(field, 0, 1), alpha=255.0)
    return np.asarray(cv2.LUT(cv2.merge([index, index, index]), table), np.float32)


def _coordinates(rng: np.random.Generator, px: int, bend: float = 0.0) -> tuple[Float32Array, Float32Array]:
    """Turned and a little warped coordinates [px, px] that run over about 0..1."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.06)
    y, x = np.mgrid[0:px, 0:px].astype(np.float32) / px
    along = np.cos(angle) * x + np.sin(angle) * y
    across = -np.sin(angle) * x + np.cos(angle) * y
    if bend:
        along = along + bend * value_noise(rng, px, rng.uniform(2, 5))
        across = across + bend * value_noise(rng, px, rng.uniform(2, 5))
    return along.astype(np.float32), across.astype(np.float32)


def plain(rng: np.random.Generator, px: int) -> Float32Array:
    colour = random_palette(rng, 1)[0]
    grain = fractal_noise(rng, px, rng.uniform(2, 40), 3)[..., None] * rng.choice([0.0, 0.03, 0.1])
    return np.asarray(colour + grain, np.float32)


def gradient(rng: np.random.Generator, px: int) -> Float32Array:
    along, across = _coordinates(rng, px)
    field = along if rng.random() < 0.6 else np.hypot(along - rng.uniform(0, 1), across - rng.uniform(-0.5, 0.5))
    return ramp((field - field.min()) / max(1e-3, float(np.ptp(field))), random_palette(rng, int(rng.integers(2, 4))))


def clouds(rng: np.random.Generator, px: int) -> Float32Array:
    """Stone, plaster, soil, marble: noise of any scale through a palette."""
    field = fractal_noise(rng, px, float(np.exp(rng.uniform(np.log(2), np.log(60)))), int(rng.integers(1, 6)))
    if rng.random() < 0.3:
        field = np.abs(field)
    return ramp(0.5 + field * rng.uniform(0.6, 2.0), random_palette(rng, int(rng.integers(2, 5))))


def wood(rng: np.random.Generator, px: int) -> Float32Array:
    """Grain, in planks or in one sheet; brown as often as not."""
    along, across = _coordinates(rng, px)
    planks = float(rng.choice([0, 3, 5, 9]))
    plank = np.floor(across * planks) if planks else np.zeros_like(across)
    offset = np.sin(plank * 91.7) * 43.0
    grain = fractal_noise(rng, px, 3, 3) * 0.6
    rings = np.sin(2 * np.pi * (rng.uniform(6, 26) * (across + 0.15 * grain + offset) + 0.6 * along))
    if rng.random() < 0.6:
        dark = np.array([rng.uniform(0.15, 0.5), 0, 0], np.float32)
        dark[1:] = dark[0] * rng.uniform(0.55, 0.8), dark[0] * rng.uniform(0.25, 0.6)
        palette = np.stack([dark, np.clip(dark * rng.uniform(1.2, 2.2), 0, 1)])
    else:
        palette = random_palette(rng, 2)
    colours = ramp(0.5 + 0.25 * rings + 0.6 * grain, palette.astype(np.float32))
    colours *= (1 + 0.12 * np.sin(plank * 17.3))[..., None]
    if planks:
        colours *= np.where(np.abs(across * planks - np.round(across * planks)) < 0.03, 0.6, 1.0)[..., None]
    return colours.astype(np.float32)


def stripes(rng: np.random.Generator, px: int) -> Float32Array:
    along, _ = _coordinates(rng, px, rng.choice([0.0, 0.08]))
    wave = np.sin(2 * np.pi * along * float(np.exp(rng.uniform(np.log(2), np.log(30)))))
    return ramp(0.5 + 0.5 * np.clip(wave * rng.choice([1.0, 8.0]), -1, 1), random_palette(rng, int(rng.integers(2, 4))))


def checks(rng: np.random.Generator, px: int) -> Float32Array:
    """Chequers, gingham or plaid."""
    along, across = _coordinates(rng, px, rng.choice([0.0, 0.05]))
    count = float(np.exp(rng.uniform(np.log(2), np.log(22))))
    first, second = np.sin(np.pi * along * count), np.sin(np.pi * across * count * rng.choice([1.0, 1.0, 0.5]))
    if rng.random() < 0.5:
        return ramp((first * second > 0).astype(np.float32), random_palette(rng, 2))
    return ramp(0.5 * (first > 0) + 0.5 * (second > 0), random_palette(rng, 3))


def tiles(rng: np.random.Generator, px: int) -> Float32Array:
    """Square tiles in a straight grid with joints between them, each of its own shade."""
    along, across = _coordinates(rng, px)
    count = float(rng.uniform(3, 16))
    u, v = along * count + 20, across * count * rng.choice([1.0, 0.5]) + 20
    shade = rng.random((64, 64)).astype(np.float32)[v.astype(int) % 64, u.astype(int) % 64]
    palette = random_palette(rng, 3)
    joint = (np.minimum(u % 1, 1 - u % 1) < 0.04) | (np.minimum(v % 1, 1 - v % 1) < 0.04)
    colours = ramp(shade, palette[:2])
    colours[joint] = palette[2]
    return colours


def weave(rng: np.random.Generator, px: int) -> Float32Array:
    """Cloth seen near: two families of threads, with folds."""
    along, across = _coordinates(rng, px, 0.03)
    count = rng.uniform(25, 75)
    threads = np.sin(2 * np.pi * along * count) * np.sin(2 * np.pi * across * count)
    folds = fractal_noise(rng, px, rng.uniform(2, 6), 2) * rng.uniform(0, 1.4)
    return ramp(0.5 + 0.25 * threads + folds, random_palette(rng, 2))


def cells(rng: np.random.Generator, px: int) -> Float32Array:
    """Pebbles, patchwork, cobbles: the cells of scattered points."""
    count = int(np.exp(rng.uniform(np.log(6), np.log(350))))
    seeds = np.full((px, px), 255, np.uint8)
    seeds[rng.integers(0, px, count), rng.integers(0, px, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = ramp(rng.random(count + 1).astype(np.float32)[labels % (count + 1)], random_palette(rng, 4))
    if rng.random() < 0.6:
        colours = colours * np.clip(1.1 - distance * (rng.uniform(0.3, 1.0) * np.sqrt(count) / px), 0.2, 1.1)[..., None]
    return colours.astype(np.float32)


def shapes(rng: np.random.Generator, px: int) -> Float32Array:
    """Flat shapes over each other: things on a wall, prints, books, leaves, gravel; few and large or many and small."""
    canvas = np.ascontiguousarray(random_palette(rng, 1).repeat(px * px, 0).reshape(px, px, 3))
    count = int(np.exp(rng.uniform(np.log(6), np.log(220))))
    size = px * rng.uniform(0.5, 1.4) / np.sqrt(count)
    colours = random_palette(rng, 6)
    kind = rng.choice(["box", "ellipse", "polygon", "line", "any"])
    upright = rng.random() < 0.5
    for _ in range(count):
        colour = [float(c) for c in colours[rng.integers(6)] * rng.uniform(0.7, 1.2)]
        centre = rng.uniform(0, px, 2)
        half = size * rng.uniform(0.25, 1.0, 2)
        form = rng.choice(["box", "ellipse", "polygon", "line"]) if kind == "any" else kind
        turn = float(rng.choice([0.0, 90.0]) if upright else rng.uniform(0, 180))
        if form == "ellipse":
            axes = (max(1, int(half[0])), max(1, int(half[1])))
            cv2.ellipse(canvas, (int(centre[0]), int(centre[1])), axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
            continue
        if form == "line":
            tip = centre + 2 * size * np.array([np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))]) * rng.uniform(0.5, 2)
            ends = [tuple(int(c) for c in point) for point in (centre, tip)]
            cv2.line(canvas, ends[0], ends[1], colour, int(rng.integers(1, 5)), cv2.LINE_AA)
            continue
        if form == "box":
            corners = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, 2 * half)), turn))
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
            corners = centre + half * np.stack([np.cos(angles), np.sin(angles)], -1)
        cv2.fillPoly(canvas, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    return canvas


def bokeh(rng: np.random.Generator, px: int) -> Float32Array:
    """A far background out of focus: soft discs of light over soft colours."""
    canvas = clouds(rng, px)
    lights = np.zeros_like(canvas)
    for _ in range(int(rng.integers(5, 40))):
        centre = tuple(int(c) for c in rng.integers(0, px, 2))
        colour = [float(c) for c in random_palette(rng, 1)[0] * rng.uniform(0.2, 0.8)]
        cv2.circle(lights, centre, int(rng.integers(2, max(4, px // 10))), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(1, 5)) + cv2.GaussianBlur(lights, (0, 0), rng.uniform(0.7, 3))


SURFACES: tuple[tuple[Callable[[np.random.Generator, int], Float32Array], float], ...] = (
    (plain, 1.5), (gradient, 1.0), (clouds, 2.5), (wood, 2.0), (stripes, 1.0), (checks, 1.0), (tiles, 1.0), (weave, 1.0),
    (cells, 1.2), (shapes, 3.0), (bokeh, 0.8),
)  # fmt: skip
"""Kinds of surfaces, and the probability of each."""


def draw_surface(rng: np.random.Generator, px: int) -> Float32Array:
    """Any surface, sometimes a mixture of two, float32 [px, px, 3], about 0..1."""
    shares = np.array([share for _, share in SURFACES])
    picked = rng.choice(len(SURFACES), 2, p=shares / shares.sum())
    surface = SURFACES[picked[0]][0](rng, px)
    if rng.random() < 0.25:
        share = np.clip(0.5 + fractal_noise(rng, px, rng.uniform(2, 10), 3) * rng.uniform(1, 8), 0, 1)[..., None]
        surface = surface * share + SURFACES[picked[1]][0](rng, px) * (1 - share)
    if rng.random() < 0.4:
        surface = surface * (1 + rng.uniform(0.05, 0.35) * fractal_noise(rng, px, rng.uniform(10, 60), 2))[..., None]
    return np.asarray(surface, np.float32)
