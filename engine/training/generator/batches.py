"""Batches for the denoiser: latents of one appearance of each object, its prompt, and flags of its known views."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...multiview.grid import views_to_grid
from .captions import CaptionConfig, draw_caption
from .grid_cache import LIT
from .latents import LatentCache


@dataclass(frozen=True)
class BatchConfig:
    """Settings of the drawing of batches.

    Attributes:
        size: Grids a step (of one process).
        known: Share of grids of which one to three views are known.
        mirror, turn: Shares of grids mirrored left-right, and turned by quarter turns.
        kind_weights: Relative weights of the kinds of appearance; 1 if not named.
        source_weights: Relative weight of an object by its source; 1 if not named.
        family_power: An object of a family of n counts n to the minus this.
        captions: Settings of the prompts.
    """

    size: int = 16
    known: float = 0.5
    mirror: float = 0.5
    turn: float = 0.1
    kind_weights: dict[str, float] = field(default_factory=lambda: {LIT: 0.6})
    source_weights: dict[str, float] = field(default_factory=dict)
    family_power: float = 0.5
    captions: CaptionConfig = field(default_factory=CaptionConfig)


@dataclass(frozen=True)
class GeneratorBatch:
    """latents float32 [B, C, 2h, 2h]; mask float32 [B, 1, 2h, 2h], 1 = to paint; masked_latents = latents where known, else 0."""

    latents: Tensor
    mask: Tensor
    masked_latents: Tensor
    prompts: list[str]

    def to(self, device: torch.device) -> GeneratorBatch:
        """The batch on another device."""
        return GeneratorBatch(self.latents.to(device), self.mask.to(device), self.masked_latents.to(device), self.prompts)


def object_weights(latents: LatentCache, config: BatchConfig) -> npt.NDArray[np.float64]:
    """Probability of each object, float64 [len(latents)]."""
    metas = latents.grids.meta
    sizes: dict[object, int] = {}
    for meta in metas:
        sizes[meta.get("family")] = sizes.get(meta.get("family"), 0) + 1
    counts = [1 if m.get("family") is None else sizes[m.get("family")] for m in metas]
    weights = np.array([config.source_weights.get(str(m.get("source")), 1.0) for m in metas])
    weights = weights * np.array(counts, np.float64) ** -config.family_power
    return weights / weights.sum()


def kind_probabilities(latents: LatentCache, config: BatchConfig) -> npt.NDArray[np.float64]:
    """Probability of each appearance, float64 [A]."""
    weights = np.array([config.kind_weights.get(kind, 1.0) for kind in latents.grids.kinds])
    return weights / weights.sum()


def draw_known(share: float, rng: np.random.Generator) -> list[bool]:
    """Draw the known views: none, or in `share` of the draws one to three, all subsets of one size equally likely."""
    known = [False] * 4
    if rng.random() < share:
        for view in rng.permutation(4)[: rng.integers(1, 4)]:
            known[int(view)] = True
    return known


def draw_batch(
    latents: LatentCache,
    config: BatchConfig,
    weights: npt.NDArray[np.float64],
    kinds: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> GeneratorBatch:
    """`config.size` grids; objects by `weights` [N], appearances by `kinds` [A] (both sum to one)."""
    cells, known, prompts = [], [], []
    for index in rng.choice(len(weights), config.size, p=weights):
        appearance = int(rng.choice(len(kinds), p=kinds))
        views = latents.cells(int(index), appearance, bool(rng.random() < config.mirror))
        if rng.random() < config.turn:
            views = np.roll(views, -int(rng.integers(1, 4)), 0)  # the object turned by as many quarters
        is_known = draw_known(config.known, rng)
        name_light = not any(is_known) or rng.random() < 0.5
        entry = latents.grids.meta[int(index)]["appearances"][appearance]
        prompts.append(draw_caption(entry, config.captions, rng, name_light=name_light))
        cells.append(views)
        known.append(is_known)
    views_of_all = torch.from_numpy(np.stack(cells)).float()  # [B, 4, C, h, h]
    paint = 1 - torch.tensor(known, dtype=torch.float32)[:, :, None, None, None]  # [B, 4, 1, 1, 1]
    grid = views_to_grid(views_of_all)
    mask = views_to_grid(paint.expand(-1, -1, 1, *views_of_all.shape[-2:]))
    return GeneratorBatch(grid, mask, grid * (1 - mask), prompts)
