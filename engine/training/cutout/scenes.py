"""Pictures to learn from: a rendered subject lit, placed before a backdrop, shadowed and photographed.

Dvornik et al. 2018 and Dwibedi et al. 2017, Cut, Paste and Learn, https://arxiv.org/abs/1708.01642, showed that pasted subjects
teach segmentation if nothing about the paste itself gives them away: so blur, noise, light and JPEG fall on the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...cameras import RIG_DISTANCE, RIG_FOVY_DEG
from ..view_cache import ViewCache, absolute_depth
from .backdrops import draw_backdrop, paste
from .surfaces import draw_surface, fractal_noise

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SceneConfig:
    """Settings of the composed pictures.

    Attributes:
        px: Side of a picture.
        smallest, largest: Longest side of the subject as a share of the picture's.
        squeeze: Largest stretch, either way: photos of any shape are squeezed to a square.
        textured: Share of subjects that get a texture of their own over the rendered one.
        things: Most other objects in one picture.
        degraded: Share of pictures with blur, noise or JPEG.
    """

    px: int = 128
    smallest: float = 0.25
    largest: float = 0.95
    squeeze: float = 1.6
    textured: float = 0.3
    things: int = 6
    degraded: float = 0.75


def object_weights(meta: Sequence[dict[str, object]]) -> npt.NDArray[np.float64]:
    """Probability of each object [n]: photos show textured things, so scans and textured objects are drawn more often."""
    weights = np.array([8.0 if m.get("scan") else 2.0 if m.get("mode") == "atlas" else 1.0 for m in meta])
    return weights / weights.sum()


def draw_view(cache: ViewCache, index: int, rng: np.random.Generator) -> Float32Array:
    """A random view of an object, cut to its outline's box: float32 [h, w, 4], premultiplied, 0..1; often shaded."""
    arrays = cache[index]
    depth = None
    if rng.random() < 0.55:
        rgba = arrays["inputs"][int(rng.integers(2)), int(rng.integers(4))]
    else:
        view = int(rng.integers(len(arrays["targets"])))
        rgba, depth = arrays["targets"][view], arrays["depth"][view]
    solid = rgba[..., 3] > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if len(rows) == 0:
        return np.zeros((2, 2, 4), np.float32)
    near = np.s_[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    part = rgba[near].astype(np.float32) / 255
    if depth is not None and rng.random() < 0.8:
        part[..., :3] *= _relief(absolute_depth(depth[near]), len(depth), rng)[..., None]
    part[..., :3] *= part[..., 3:]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def _relief(depth: Float32Array, px: int, rng: np.random.Generator) -> Float32Array:
    """Shading [h, w] of one lamp on the relief of a part of a depth image of side `px`."""
    footprint = 2 * RIG_DISTANCE * np.tan(np.deg2rad(RIG_FOVY_DEG / 2)) / px
    inside = cv2.erode((depth > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    slope_x = cv2.Sobel(depth, -1, 1, 0, scale=0.125) / footprint
    slope_y = cv2.Sobel(depth, -1, 0, 1, scale=0.125) / footprint
    normal = np.stack([slope_x, slope_y, np.ones_like(depth)], -1)  # x right, y down, z towards the camera
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.array([rng.normal(0, 0.7), rng.normal(-0.7, 0.5), rng.uniform(0.3, 1.0)])
    lamp /= np.linalg.norm(lamp)
    strength = rng.uniform(0.2, 0.9)
    shade = 1.05 - 0.7 * strength + strength * np.maximum(normal @ lamp, 0)
    if rng.random() < 0.25:
        halfway = lamp + np.array([0, 0, 1])
        shade = shade + rng.uniform(0.1, 0.8) * np.maximum(normal @ (halfway / np.linalg.norm(halfway)), 0) ** rng.uniform(8, 50)
    return np.where(inside, shade, np.median(shade[inside]) if inside.any() else 1.0).astype(np.float32)


def _dressed(subject: Float32Array, config: SceneConfig, rng: np.random.Generator) -> Float32Array:
    """The subject [h, w, 4] with other colours, a texture, a slope of light."""
    height, width = subject.shape[:2]
    alpha = subject[..., 3:]
    colour = subject[..., :3] * rng.uniform(0.6, 1.25) * rng.uniform(0.85, 1.15, 3)
    if rng.random() < 0.25:  # another hue: turn the colour channels
        colour = colour[..., rng.permutation(3)]
    if rng.random() < config.textured:
        texture = draw_surface(rng, max(height, width))[:height, :width]
        share = rng.uniform(0.2, 0.9)
        grey = colour.mean(-1, keepdims=True)
        colour = colour * (1 - share) + share * texture * (0.3 * alpha + 0.9 * grey)
    elif rng.random() < 0.5:
        grain = fractal_noise(rng, max(height, width), rng.uniform(8, 60), 3)[:height, :width]
        colour = colour * (1 + rng.uniform(0.1, 0.5) * grain[..., None])
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope = 1 + rng.normal(0, 0.12) * x + rng.normal(0, 0.12) * y
    return np.concatenate([np.clip(colour * slope[..., None], 0, alpha), alpha], -1).astype(np.float32)


def _placed(subject: Float32Array, config: SceneConfig, rng: np.random.Generator) -> Float32Array:
    """The subject on an empty picture [px, px, 4]: its size, place, stretch and a slight turn at random."""
    px = config.px
    height, width = subject.shape[:2]
    stretch = config.squeeze ** rng.uniform(-1, 1) if rng.random() < 0.5 else 1.0
    height, width = height * stretch**0.5, width / stretch**0.5
    share = rng.uniform(config.smallest, config.largest)
    size = max(height, width)
    height, width = max(2, round(height / size * share * px)), max(2, round(width / size * share * px))
    shrinks = height * width < subject.shape[0] * subject.shape[1]
    methods = [cv2.INTER_AREA] if shrinks else [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]
    small = np.clip(cv2.resize(subject, (width, height), interpolation=methods[int(rng.integers(len(methods)))]), 0, 1)
    room = np.array([px - width, px - height]) / 2
    offset = np.clip(rng.normal(0, 0.45, 2), -1.0, 1.0) * room
    if rng.random() < 0.06:
        offset = offset + rng.normal(0, 0.1, 2) * px  # some are cut off by the frame
    picture = np.zeros((px, px, 4), np.float32)
    paste_rgba(picture, small, round(room[0] + offset[0]), round(room[1] + offset[1]))
    if rng.random() < 0.3:
        turn = cv2.getRotationMatrix2D((px / 2, px / 2), rng.normal(0, 5), 1.0)
        picture = cv2.warpAffine(picture, turn, (px, px), flags=cv2.INTER_LINEAR)
    return picture


def paste_rgba(picture: Float32Array, thing: Float32Array, left: int, top: int) -> None:
    """Put float32 [h, w, 4] on an empty picture in place; what lies outside is cut off."""
    height, width = thing.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(picture.shape[1], left + width), min(picture.shape[0], top + height)
    if x0 < x1 and y0 < y1:
        picture[y0:y1, x0:x1] = thing[y0 - top : y1 - top, x0 - left : x1 - left]


def _shadowed(scene: Float32Array, alpha: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The backdrop with the subject's shadows: one where it stands, one cast to a side."""
    px = alpha.shape[0]
    solid = alpha > 0.5
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if len(rows) == 0:
        return scene
    left, right, foot = columns[0], columns[-1], rows[-1]
    if rng.random() < 0.65:
        contact = np.zeros((px, px), np.float32)
        centre = ((left + right) // 2 + int(rng.normal(0, 0.03) * px), foot - int(rng.uniform(0, 0.04) * px))
        axes = (max(1, int((right - left) * rng.uniform(0.4, 0.7))), max(1, int((right - left) * rng.uniform(0.05, 0.25))))
        cv2.ellipse(contact, centre, axes, 0, 0, 360, 1.0, -1)
        contact = cv2.GaussianBlur(contact, (0, 0), rng.uniform(0.01, 0.06) * px)
        scene = scene * (1 - rng.uniform(0.15, 0.75) * contact)[..., None]
    if rng.random() < 0.4:
        lean, squash = rng.normal(0, 0.8), rng.uniform(0.15, 0.9)
        shear = np.array([[1, -lean * squash, lean * squash * foot], [0, squash, foot * (1 - squash)]], np.float32)
        cast = cv2.warpAffine(alpha, shear, (px, px), flags=cv2.INTER_LINEAR)
        cast = cv2.GaussianBlur(cast, (0, 0), rng.uniform(0.004, 0.05) * px)
        scene = scene * (1 - rng.uniform(0.1, 0.6) * cast)[..., None]
    return np.asarray(scene, np.float32)


def photographed(picture: Float32Array, config: SceneConfig, rng: np.random.Generator) -> UInt8Array:
    """The picture [px, px, 3] as a camera gives it: exposure, cast, contrast; often blur, noise, JPEG. uint8."""
    exposed = np.clip(picture, 0, 1.3) * rng.uniform(0.7, 1.25) * rng.uniform(0.88, 1.12, 3)
    curved = np.clip(exposed, 0, 1) ** rng.uniform(0.6, 1.25)
    contrasted = (curved - 0.5) * rng.uniform(0.75, 1.15) + 0.5
    result = (np.clip(contrasted, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() > config.degraded:
        return result
    if rng.random() < 0.35:
        result = cv2.GaussianBlur(result, (0, 0), rng.uniform(0.3, 1.1) * config.px / 160)
    elif rng.random() < 0.15:
        result = cv2.addWeighted(result, 1.8, cv2.GaussianBlur(result, (0, 0), 1.0), -0.8, 0)  # a camera's sharpening
    if rng.random() < 0.6:
        noise = rng.standard_normal(result.shape, np.float32) * rng.uniform(1, 14)
        if rng.random() < 0.5:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * 1.6  # a shrunk photo's grain is not white
        result = np.clip(result + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, stream = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])
        result = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8)
    return result


def draw_scene(
    cache: ViewCache, weights: npt.NDArray[np.float64], config: SceneConfig, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array]:
    """One picture and its truth.

    Args:
        cache: Rendered views of the objects.
        weights: Probability of each object to be the subject.
        config: Settings of the pictures.
        rng: Draws everything.

    Returns:
        uint8 [px, px, 3] and the subject's coverage, uint8 [px, px].
    """
    subject = _placed(_dressed(draw_view(cache, int(rng.choice(len(weights), p=weights)), rng), config, rng), config, rng)
    alpha = np.ascontiguousarray(subject[..., 3])
    rows = np.flatnonzero((alpha > 0.5).any(1))
    foot = float(rows[-1]) if len(rows) else config.px * 0.8
    count = int(rng.integers(1, config.things + 1)) if rng.random() < 0.5 else 0
    things = [draw_view(cache, int(rng.integers(len(weights))), rng) for _ in range(count)]
    scene = _shadowed(draw_backdrop(rng, config.px, foot, things), alpha, rng)
    paste(scene, subject, 0, 0)
    return photographed(scene, config, rng), (alpha * 255 + 0.5).astype(np.uint8)


def augment_scene(picture: UInt8Array, alpha: UInt8Array, rng: np.random.Generator) -> tuple[UInt8Array, UInt8Array]:
    """A picture and its truth once more at a tenth of the cost: mirrored, nearer or farther, in other light and colours."""
    px = len(alpha)
    zoom = np.exp(rng.uniform(np.log(0.75), np.log(1.25)))
    shift = rng.normal(0, 0.06, 2) * px
    matrix = np.array([[-zoom, 0, px / 2 + zoom * px / 2 + shift[0]], [0, zoom, px / 2 - zoom * px / 2 + shift[1]]], np.float32)
    size, border = (px, px), cv2.BORDER_REFLECT_101
    moved = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    truth = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR)
    outside = cv2.warpAffine(np.full_like(alpha, 255), matrix, size, flags=cv2.INTER_NEAREST) == 0
    if (cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)[outside] > 127).any():
        return np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])  # the subject would be mirrored, too
    curve = (np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.7, 1.4, 3) * 255 * rng.uniform(0.75, 1.0)).astype(np.uint8)
    return np.asarray(cv2.LUT(moved[..., rng.permutation(3)], curve[None]), np.uint8), np.asarray(truth, np.uint8)


def draw_batch(
    cache: ViewCache,
    weights: npt.NDArray[np.float64],
    config: SceneConfig,
    count: int,
    rng: np.random.Generator,
    *,
    looks: int = 1,
) -> tuple[UInt8Array, UInt8Array]:
    """Pictures uint8 [count, px, px, 3] and coverage uint8 [count, px, px], each scene so many times (`augment_scene`)."""
    drawn = [draw_scene(cache, weights, config, rng) for _ in range(-(-count // looks))]
    drawn += [augment_scene(*scene, rng) for _ in range(looks - 1) for scene in drawn]
    drawn = drawn[:count]
    return np.stack([picture for picture, _ in drawn]), np.stack([alpha for _, alpha in drawn])
