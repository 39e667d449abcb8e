"""Batches for the reconstructor: augmented input views and random target rays of a few objects."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..cameras import RIG_FOVY_DEG, Rig, rays_through
from ..reconstructor import Reconstructor
from .augmentation import augment_views
from .view_cache import ViewCache, absolute_depth

FloatArray = npt.NDArray[np.float32]

TRIES = 12
"""Pixels looked at for each ray while searching covered ones: an object that covers less than a twentieth gets fewer."""


@dataclass(frozen=True)
class BatchConfig:
    """Settings of the drawing of batches.

    Attributes:
        objects: Objects a step.
        rays: Target rays an object.
        foreground: Share of the rays that start from covered pixels of the target.
        inputs: Relative weights of the cache's sets of input views: canonical rig, turnaround, random rigs.
        known: Relative weights of the numbers of known views, one to four.
        front_known: Share of incomplete sets whose front view is among the known ones; of the rest it is a matter of chance.
        surface: Points of the true surface an object.
        jittered: Share of objects whose inputs are the jittered, half lit set.
        imperfect_masks: Share of the jittered ones whose silhouettes are also eroded.
        spoiled: Share of objects whose inputs are augmented with the defects of photos and painted views.
        mirror, turn, recolour: Shares of objects mirrored left-right, turned by quarter turns, and recoloured.
        patch: Side of the squares of neighbouring pixels that rays are drawn in, for losses that compare neighbours; 1: single
            pixels.
        views: Whole target views an object, for the mesh stage; needs `mirror` and `turn` to be 0.
    """

    objects: int = 6
    rays: int = 640
    foreground: float = 0.6
    inputs: tuple[float, ...] = (0.45, 0.25, 0.15, 0.15)
    known: tuple[float, float, float, float] = (0.25, 0.1, 0.15, 0.5)
    front_known: float = 0.8
    surface: int = 256
    jittered: float = 0.1
    imperfect_masks: float = 0.4
    spoiled: float = 0.0
    mirror: float = 0.5
    turn: float = 0.1
    recolour: float = 0.15
    patch: int = 8
    views: int = 0

    def __post_init__(self) -> None:
        if self.rays < self.patch**2:
            side = f"one square of side {self.patch}"
            raise ValueError(f"rays: expected at least {self.patch**2}, {side}, got {self.rays}")


@dataclass(frozen=True)
class TargetView:
    """One view of one object: c2w float32 [4, 4]; colour on white float32 [px, px, 3], alpha and depth float32 [px, px]."""

    c2w: FloatArray
    colour: FloatArray
    alpha: FloatArray
    depth: FloatArray


@dataclass(frozen=True)
class Batch:
    """A few objects: their input views, rays with their truth, and points of the true surface.

    Attributes:
        raw: float [B, 4, S, S, 5], see `Reconstructor.prepare`; unknown views are marked.
        known: bool [B, 4].
        batch_index: int64 [R], the object of each of R rays.
        origins, directions, colour, alpha, depth: [R, 3], [R, 3], [R, 3] on white, [R], and [R], 0 where nothing is hit.
        depth_maps: float16 [B, T, px, px], all target views of each object, less `RIG_DISTANCE`, inf where nothing is hit.
        w2c: float [B, T, 4, 4], their cameras.
        frame: float [B, 3, 3], which takes the batch's (mirrored, turned) world to that of the target views.
        surface: float [B, P, 8], see `dataset.surface_samples`, in the batch's world.
        rigs: The B rigs of the input views.
        views: Whole target views of each object (mesh stage).
    """

    raw: Tensor
    known: Tensor
    batch_index: Tensor
    origins: Tensor
    directions: Tensor
    colour: Tensor
    alpha: Tensor
    depth: Tensor
    depth_maps: Tensor
    w2c: Tensor
    frame: Tensor
    surface: Tensor
    rigs: tuple[Rig, ...]
    views: tuple[tuple[TargetView, ...], ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        tensors = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        return replace(self, **moved)


def erode_mask(rgba: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A view whose silhouette is a little too large or small, and soft, as automatic cut-outs are; uint8 [H, W, 4]."""
    alpha = cv2.GaussianBlur(rgba[..., 3].astype(np.float32) / 255, (0, 0), float(rng.uniform(0.6, 1.6)))
    alpha = np.clip((alpha - rng.uniform(0.35, 0.65)) * rng.uniform(1.5, 4) + 0.5, 0, 1)
    colour = rgba[..., :3].astype(np.float32)
    if (rgba[..., 3] == 0).any() and (rgba[..., 3] > 0).any():  # what the mask newly covers is background: white
        colour = np.where(rgba[..., 3:] > 0, colour, 255)
    return np.concatenate([colour, alpha[..., None] * 255], -1).astype(np.uint8)


def recolour_map(rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """A permutation, gain and offset of the channels, the same for inputs and targets."""
    order = rng.permutation(3) if rng.random() < 0.7 else np.arange(3)
    return order, rng.uniform(0.75, 1.15, 3).astype(np.float32), rng.uniform(-0.05, 0.1, 3).astype(np.float32)


def target_rays(c2w: FloatArray, pixels: npt.NDArray[np.int64], px: int) -> tuple[FloatArray, FloatArray]:
    """Rays through the centres of pixels [N] (flat indices) of cameras [N, 4, 4]: origins and unit directions [N, 3]."""
    column, row = pixels % px, pixels // px
    return rays_through(c2w, RIG_FOVY_DEG, (np.stack([column, row], -1) + 0.5) * (2 / px) - 1)


def in_patches(pixels: npt.NDArray[np.int64], patch: int, px: int) -> npt.NDArray[np.int64]:
    """As many whole squares as there is room for, evenly drawn from `pixels`, each around one of them.

    Args:
        pixels: int64 [N], flat indices into images [T, px, px].
        patch: Side of a square, at most px.
        px: Side of an image.

    Returns:
        int64 [N // patch**2 * patch**2]: the squares one after another, each row by row.
    """
    count = len(pixels) // patch**2
    anchors = pixels[np.linspace(0, len(pixels) - 1, count).astype(int)]
    view, row, column = anchors // (px * px), anchors // px % px, anchors % px
    top, left = (np.clip(place - patch // 2, 0, px - patch) for place in (row, column))
    steps = np.arange(patch)
    rows, columns = top[:, None, None] + steps[:, None], left[:, None, None] + steps
    squares = (view[:, None, None] * px + rows) * px + columns
    return np.asarray(squares.reshape(-1))


@dataclass(frozen=True)
class DrawnObject:
    """One object's part of a batch; see `Batch`."""

    raw: FloatArray
    known: npt.NDArray[np.bool_]
    rays: tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
    """Origins, directions, colour, alpha, depth."""
    w2c: FloatArray
    frame: FloatArray
    surface: FloatArray
    rig: Rig
    views: tuple[TargetView, ...]


def draw_known(config: BatchConfig, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw the known views, bool [4]."""
    weights = np.array(config.known)
    count = 1 + int(rng.choice(4, p=weights / weights.sum()))
    order = rng.permutation(4)
    if rng.random() < config.front_known:
        order = np.concatenate([[0], order[order != 0]])
    known = np.zeros(4, bool)
    known[order[:count]] = True
    return known


def draw_object(
    item: dict[str, npt.NDArray[np.generic]], config: BatchConfig, input_px: int, rng: np.random.Generator
) -> DrawnObject:
    """One object's part of a batch, drawn and augmented."""
    jittered = rng.random() < config.jittered
    weights = np.array(config.inputs)
    chosen_set = -1 if jittered else int(rng.choice(len(weights), p=weights / weights.sum()))
    views = np.array(item["inputs"][chosen_set])
    rig = Rig(*(float(v) for v in item["rigs"][chosen_set]))
    known = draw_known(config, rng)
    if jittered and rng.random() < config.imperfect_masks:
        views = np.stack([erode_mask(view, rng) for view in views])
    targets, depth, cameras = item["targets"], item["depth"], np.asarray(item["c2w"], np.float32)
    count, px = targets.shape[0], targets.shape[1]
    pixels = rng.integers(0, count * px * px, config.rays)
    candidates = rng.integers(0, count * px * px, TRIES * config.rays)
    covered = candidates[np.asarray(targets).reshape(-1, 4)[candidates, 3] > 0][: int(config.rays * config.foreground)]
    pixels[: len(covered)] = covered
    if config.patch > 1:
        pixels = in_patches(rng.permutation(pixels), config.patch, px)
    view_index, pixel = pixels // (px * px), pixels % (px * px)
    origins, directions = target_rays(cameras[view_index], pixel, px)
    surface = np.asarray(item["surface"], np.float32)
    surface = surface[rng.integers(0, len(surface), config.surface)]
    rgba = np.asarray(targets).reshape(-1, 4)[pixels].astype(np.float32) / np.float32(255)
    colour, alpha = rgba[:, :3], rgba[:, 3]
    frame = np.eye(3, dtype=np.float32)
    if rng.random() < config.mirror:
        frame[0, 0] = -1
        views, known = views[[0, 3, 2, 1], :, ::-1], known[[0, 3, 2, 1]]
        origins, directions = origins * (-1, 1, 1), directions * (-1, 1, 1)
        surface = surface * np.array((-1, 1, 1, -1, 1, 1, 1, 1), np.float32)
    if rng.random() < config.turn:
        quarter = int(rng.integers(1, 4))
        views, known = np.roll(views, -quarter, 0), np.roll(known, -quarter)  # the view at 90 * quarter becomes the front
        cos, sin = [(0, -1), (-1, 0), (0, 1)][quarter - 1]  # turn by -90 * quarter degrees about z
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
        origins, directions = origins @ turn.T, directions @ turn.T
        surface = np.concatenate([surface[:, :3] @ turn.T, surface[:, 3:6] @ turn.T, surface[:, 6:]], 1)
        frame = frame @ turn.T
    whole = [int(i) for i in rng.choice(count, config.views, replace=False)]
    pictures = np.asarray(targets)[whole].astype(np.float32) / 255  # [views, px, px, 4]
    if rng.random() < config.recolour:
        order, gain, offset = recolour_map(rng)
        colour = np.clip(colour[:, order] * gain + offset, 0, 1)
        pictures[..., :3] = np.clip(pictures[..., order] * gain + offset, 0, 1)
        recoloured = np.clip(views[..., order] * gain + offset * 255, 0, 255).astype(np.uint8)
        views = np.concatenate([recoloured, views[..., 3:]], -1)
    if config.spoiled and rng.random() < config.spoiled:
        views = augment_views(np.ascontiguousarray(views), rng)
    raw = Reconstructor.prepare(np.ascontiguousarray(views), input_px)
    on_white = colour * alpha[:, None] + 1 - alpha[:, None]
    hit = absolute_depth(np.asarray(depth).reshape(-1)[pixels])
    whole_views = tuple(
        TargetView(cameras[i], p[..., :3] * p[..., 3:] + 1 - p[..., 3:], p[..., 3], absolute_depth(np.asarray(depth[i])))
        for i, p in zip(whole, pictures, strict=True)
    )
    rays = (origins.astype(np.float32), directions.astype(np.float32), on_white.astype(np.float32), alpha, hit)
    return DrawnObject(raw, known, rays, np.linalg.inv(cameras), frame, surface.astype(np.float32), rig, whole_views)


def draw_batch(cache: ViewCache, config: BatchConfig, input_px: int, weights: FloatArray, rng: np.random.Generator) -> Batch:
    """Objects drawn by `weights` [len(cache)] (they sum to one), each with its rays."""
    chosen = [cache[int(i)] for i in rng.choice(len(weights), config.objects, p=weights)]
    drawn = [draw_object(item, config, input_px, rng) for item in chosen]
    known = torch.from_numpy(np.stack([d.known for d in drawn]))
    raw = Reconstructor.mark_unknown(torch.from_numpy(np.stack([d.raw for d in drawn])), known)
    rays = zip(*(d.rays for d in drawn), strict=True)
    origins, directions, colour, alpha, depth = (torch.from_numpy(np.concatenate(parts)) for parts in rays)
    index = torch.arange(config.objects).repeat_interleave(len(drawn[0].rays[0]))
    depth_maps = torch.from_numpy(np.stack([np.asarray(item["depth"]) for item in chosen]))
    w2c, frame, surface = (torch.from_numpy(np.stack([getattr(d, name) for d in drawn])) for name in ("w2c", "frame", "surface"))
    views = tuple(d.views for d in drawn) if config.views else ()
    rigs = tuple(d.rig for d in drawn)
    return Batch(raw, known, index, origins, directions, colour, alpha, depth, depth_maps, w2c, frame, surface, rigs, views)
