"""Photos with busy backgrounds to measure cut-outs on: kinds of background that no training of ours shows.

They share no code with `training/cutout`, so that a score on them says something about backgrounds never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]


def _colour(rng: np.random.Generator, darkest: float = 0.1, brightest: float = 0.9) -> Float32Array:
    grey = rng.uniform(darkest, brightest)
    return np.clip(grey + rng.normal(0, 0.12, 3), 0.02, 0.98).astype(np.float32)


def _speckle(rng: np.random.Generator, height: int, width: int, sigma: float) -> Float32Array:
    """Blurred white noise of unit deviation [h, w]."""
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), sigma)
    return np.asarray(noise / max(1e-6, float(noise.std())), np.float32)


def bricks(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """A wall in running bond."""
    course = rng.uniform(0.05, 0.11) * width
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    row = np.floor(y / course)
    column = x / (course * 2.6) + 0.5 * (row % 2)
    shade = np.sin(row * 12.9898 + np.floor(column) * 78.233) * 43758.5453
    shade = shade - np.floor(shade)
    brick = np.array([rng.uniform(0.4, 0.7), rng.uniform(0.2, 0.4), rng.uniform(0.12, 0.3)], np.float32)
    wall = brick * (0.75 + 0.5 * shade[..., None]) * (1 + 0.08 * _speckle(rng, height, width, 1.2)[..., None])
    joint = (y / course % 1 < 0.14) | (column % 1 < 0.055)
    wall[joint] = _colour(rng, 0.55, 0.85)
    return wall.astype(np.float32)


def newsprint(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Sheets of printed text under the object."""
    page = (219 * (1 + 0.02 * _speckle(rng, height, width, 2)[..., None].repeat(3, -1))).clip(0, 255).astype(np.uint8)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz    "))
    size = float(rng.uniform(0.35, 0.9)) * width / 640
    for left in range(10, width, max(40, width // 4)):
        y = int(rng.integers(8, 30))
        while y < height + 20:
            if rng.random() < 0.08:
                far = (left + width // 5, y + height // 8)
                page = cv2.rectangle(page, (left, y), far, [float(255 * c) for c in _colour(rng)], -1)
                y += height // 7
                continue
            bold = rng.random() < 0.1
            text = "".join(rng.choice(letters, 14 if not bold else 7))
            cv2.putText(page, text, (left, y), 0, size * (2 if bold else 1), (30, 30, 33), 1 + bold, cv2.LINE_AA)
            y += int(size * (62 if bold else 30))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-25, 25)), 1.35)
    return cv2.warpAffine(page, turn, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32) / 255


def grass(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Blades over each other."""
    lawn = np.full((height, width, 3), (0.1, 0.16, 0.05), np.float32)
    blade = width / 640
    for _ in range(4200):
        foot = rng.uniform(-20, [width + 20, height + 60])
        tip = foot + rng.normal([0, -38], [13, 10]) * blade
        tone = rng.uniform(0.25, 1.0)
        colour = [float(c) for c in tone * np.array([rng.uniform(0.25, 0.7), rng.uniform(0.5, 0.8), rng.uniform(0.1, 0.3)])]
        ends = [tuple(int(v) for v in point) for point in (foot, tip)]
        cv2.line(lawn, ends[0], ends[1], colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    return lawn


def bookshelf(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Shelves of books with titles."""
    shelf = np.full((height, width, 3), _colour(rng, 0.15, 0.4), np.float32)
    step = height // int(rng.integers(2, 5))
    for bottom in range(step, height + step, step):
        x = 0
        while x < width:
            thick, tall = int(rng.uniform(0.02, 0.07) * width) + 3, int(step * rng.uniform(0.62, 0.9))
            colour, top = _colour(rng, 0.1, 0.8) * rng.uniform(0.5, 1.3, 3), bottom - tall
            shelf = cv2.rectangle(shelf, (x, top), (x + thick, bottom - step // 14), [float(c) for c in colour], -1)
            round_back = 0.7 + 0.3 * np.sin(np.linspace(0.3, np.pi - 0.3, thick))[None, :, None]
            part = shelf[max(0, top) : max(0, bottom - step // 14), x : x + thick]
            part *= round_back[:, : part.shape[1]]
            title = [float(c) for c in 1 - colour.clip(0, 1)]
            for line in range(int(rng.integers(1, 5))):
                y = top + int(tall * (0.15 + 0.18 * line))
                cv2.line(shelf, (x + 2, y), (x + thick - 3, y), title, int(rng.integers(1, 5)))
            x += thick + int(rng.integers(0, 3))
        shelf[max(0, bottom - step // 14) : bottom] = _colour(rng, 0.35, 0.6)
    return shelf


def crumpled(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """A sheet or blanket full of creases, lit from a side."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / width
    relief = np.zeros((height, width), np.float32)
    for _ in range(34):
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 1.2)
        distance = np.cos(angle) * x + np.sin(angle) * y - offset * (np.cos(angle) + np.sin(angle)) * 0.7
        relief += rng.uniform(0.2, 1.0) * np.abs(distance) * np.exp(-((distance * rng.uniform(3, 9)) ** 2))
    slope = cv2.Sobel(relief, -1, 1, 0) + 0.6 * cv2.Sobel(relief, -1, 0, 1)
    light = 0.75 + 0.3 * np.tanh(slope / (2.2 * slope.std()))
    return (_colour(rng, 0.3, 0.9) * light[..., None]).astype(np.float32)


def herringbone(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Parquet laid in zigzag, seen from above at a slant."""
    side = max(height, width)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    size = rng.uniform(0.03, 0.06) * side
    u, v = (x + y) / (1.414 * size), (x - y) / (1.414 * size)
    left = (np.floor(u) + np.floor(v)) % 4 < 2
    number = np.where(left, np.floor(u) * 7.3 + np.floor((v + np.floor(u)) / 4) * 3.1, np.floor(v) * 5.7 + np.floor(u / 4) * 9.7)
    shade = 0.8 + 0.3 * np.abs(np.sin(number * 12.9898))
    grain = np.where(left, np.sin(u * 26 + 3 * np.sin(v)), np.sin(v * 26 + 3 * np.sin(u)))
    tone = np.array([rng.uniform(0.45, 0.75), rng.uniform(0.3, 0.5), rng.uniform(0.15, 0.3)], np.float32)
    floor = tone * (shade + 0.06 * grain)[..., None]
    seam = np.where(left, u % 1, v % 1) < 0.07
    floor[seam] *= 0.45
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    slanted = corners + np.array([[0.1, 0], [-0.1, 0], [0.4, 0.3], [-0.4, 0.3]], np.float32) * side
    matrix = cv2.getPerspectiveTransform(corners, slanted)
    return cv2.warpPerspective(floor.astype(np.float32), matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def rug(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Ornaments in rings and petals, with a fringe of rectangles."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = rng.uniform(0.3, 0.7, 2) * (width, height)
    radius, angle = np.hypot(x - centre[0], y - centre[1]) / width, np.arctan2(y - centre[1], x - centre[0])
    rings = np.sin(radius * rng.uniform(40, 90) + rng.uniform(0.5, 2.5) * np.sin(angle * rng.integers(5, 13)))
    petals = np.sin(angle * rng.integers(8, 24) + np.floor(radius * 12) * 1.7)
    colours = np.stack([_colour(rng, 0.15, 0.85) * rng.uniform(0.5, 1.4, 3) for _ in range(4)]).clip(0, 1)
    cloth = colours[(rings > 0).astype(int) * 2 + (petals > 0.2)]
    return (cloth * (1 + 0.1 * _speckle(rng, height, width, 0.8)[..., None])).astype(np.float32)


def speckled_stone(rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """A worktop of granite or terrazzo before a kitchen wall."""
    base = np.full((height, width, 3), _colour(rng, 0.3, 0.8), np.float32)
    for sigma, share in ((0.012, 1.35), (0.006, 1.2), (0.003, 1.1)):
        base[_speckle(rng, height, width, sigma * width) > share] = _colour(rng)
    edge = int(height * rng.uniform(0.25, 0.6))
    wall = np.full((edge, width, 3), _colour(rng, 0.5, 0.9), np.float32)
    wall[:, :: max(8, width // 9)] *= 0.6
    wall[edge // 2 : edge // 2 + max(2, height // 60)] = _colour(rng)
    base[:edge] = wall
    base[edge : edge + max(2, height // 80)] *= 0.5
    return base


KINDS: dict[str, Callable[[np.random.Generator, int, int], Float32Array]] = {
    "bricks": bricks, "newsprint": newsprint, "grass": grass, "bookshelf": bookshelf,
    "crumpled sheet": crumpled, "herringbone": herringbone, "rug": rug, "worktop": speckled_stone,
}  # fmt: skip
"""Kinds of background by name: float32 [h, w, 3], about 0..1, from (rng, height, width)."""

CROWD = "crowd"
"""One more kind, for `busy_photo`: other objects in a row behind the subject, before a wall."""

PLAIN = "plain"
"""And one that is not busy, to compare: a wall of one colour, darker towards the floor."""


def busy_photo(
    subject: UInt8Array,
    kind: str,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = (480, 640),
    others: Sequence[UInt8Array] = (),
) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """A photo of a subject before a busy background, through noise and JPEG.

    Args:
        subject: uint8 [h, w, 4], straight alpha.
        kind: One of `KINDS`, `CROWD` or `PLAIN`.
        rng: Draws everything.
        size: Height and width of the photo.
        others: For `CROWD`: what stands behind, as `subject`.

    Returns:
        uint8 [H, W, 3], and where the subject is, bool [H, W].

    Raises:
        ValueError: There is no such kind, or a crowd without other objects.
    """
    height, width = size
    if kind == PLAIN:
        fall = 1 - rng.uniform(0, 0.3) * np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        scene = np.full((height, width, 3), _colour(rng, 0.3, 0.95), np.float32) * fall
    elif kind == CROWD:
        if not others:
            raise ValueError("a crowd needs other objects")
        scene = np.full((height, width, 3), _colour(rng, 0.4, 0.9), np.float32)
        scene[int(height * 0.7) :] = _colour(rng, 0.2, 0.8)
        for column, other in enumerate(others):
            _stand(scene, other, (column + rng.uniform(0.2, 0.8)) / len(others), rng.uniform(0.74, 0.8), rng.uniform(0.25, 0.45))
    elif kind in KINDS:
        scene = np.clip(KINDS[kind](rng, height, width), 0, 1)
    else:
        raise ValueError(f"unknown kind of background {kind!r}: use one of {(*KINDS, CROWD, PLAIN)}")
    if rng.random() < 0.5:
        scene = cv2.GaussianBlur(scene, (0, 0), float(rng.uniform(0.5, 2.5)) * width / 640)
    coverage = _stand(scene, subject, rng.uniform(0.4, 0.6), rng.uniform(0.86, 0.95), rng.uniform(0.45, 0.8), shadow=0.5)
    photo = scene * rng.uniform(0.8, 1.1) * rng.uniform(0.93, 1.07, 3) + rng.normal(0, 0.012, scene.shape)
    _, stream = cv2.imencode(".jpg", (np.clip(photo, 0, 1) * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8), coverage > 0.5


def _stand(
    scene: Float32Array, thing: UInt8Array, centre: float, foot: float, share: float, *, shadow: float = 0.3
) -> Float32Array:
    """Stand a thing in the scene, in place; returns its coverage [H, W]. Places are shares of the picture's sides."""
    solid = thing[..., 3] > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    part = thing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
    part[..., :3] *= part[..., 3:]
    height, width = scene.shape[:2]
    scale = share * min(height / part.shape[0], width / part.shape[1])
    matrix = np.array([[scale, 0, centre * width - scale * part.shape[1] / 2], [0, scale, foot * height - scale * part.shape[0]]])
    if scale < 1:
        part = cv2.GaussianBlur(part, (0, 0), 0.35 / scale)
    layer = cv2.warpAffine(part, matrix, (width, height), flags=cv2.INTER_LINEAR)
    ground = np.zeros((height, width), np.float32)
    axes = (max(1, int(0.5 * scale * part.shape[1])), max(1, int(0.09 * scale * part.shape[1])))
    cv2.ellipse(ground, (int(centre * width), int(foot * height)), axes, 0, 0, 360, 1.0, -1)
    ground = cv2.GaussianBlur(ground, (0, 0), max(1.0, 0.06 * scale * part.shape[1]))[..., None]
    scene[:] = scene * (1 - shadow * ground) * (1 - layer[..., 3:]) + layer[..., :3]
    return np.asarray(layer[..., 3], np.float32)
