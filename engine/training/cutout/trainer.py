"""Batches, loss and validation of the cut-out network's training, as `loop.TrainingLoop` drives them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...photos.cutout_network import CutoutNetwork
from ..loop import LoopConfig, Task, Validation, autocast
from ..view_cache import ViewCache
from .scenes import SceneConfig, draw_batch, object_weights

LOSSES = ("loss", "cross_entropy", "overlap")
_SHEET_COLUMNS = 16


@dataclass(frozen=True)
class CutoutConfig(LoopConfig):
    """Settings of this stage.

    Attributes:
        batch: Pictures a step.
        edge: Extra weight of a pixel beside the outline.
        overlap: Weight of the soft intersection over union beside the cross entropy's 1.
        looks: Variants of each scene in a step, mirrored and relit: composing one costs as much as learning from it.
        sizes: Share of the budget from which pictures have this side: small ones first, for they cost a tenth.
        looked_at: Unseen pictures a validation is scored on.
        scenes: Settings of the pictures.
    """

    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    sheet_every: int | None = 500
    batch: int = 16
    edge: float = 2.0
    overlap: float = 0.5
    looks: int = 3
    sizes: tuple[tuple[float, int], ...] = ((0.0, 64), (0.7, 96), (0.92, 128))
    looked_at: int = 192
    scenes: SceneConfig = field(default_factory=SceneConfig)


def cutout_loss(logits: Tensor, coverage: Tensor, config: CutoutConfig) -> tuple[Tensor, dict[str, float]]:
    """The loss of logits [B, 1, S, S] against coverage [B, 1, S, S] in 0..1, and its terms.

    Cross entropy, heavier beside the outline, and one minus the soft intersection over union of each picture.
    """
    widest, narrowest = F.max_pool2d(coverage, 5, 1, 2), -F.max_pool2d(-coverage, 5, 1, 2)
    weight = 1 + config.edge * (widest - narrowest)
    cross_entropy = (weight * F.binary_cross_entropy_with_logits(logits, coverage, reduction="none")).sum() / weight.sum()
    probability = logits.sigmoid()
    both = (probability * coverage).sum((1, 2, 3))
    either = (probability + coverage - probability * coverage).sum((1, 2, 3))
    overlap = 1 - ((both + 10) / (either + 10)).mean()
    loss = cross_entropy + config.overlap * overlap
    return loss, {"loss": loss.item(), "cross_entropy": cross_entropy.item(), "overlap": overlap.item()}


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 [B, S, S, 3] -> float32 [B, 3, S, S] in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class CutoutBatch:
    """Pictures uint8 [B, S, S, 3] and the coverage of their subjects uint8 [B, S, S]."""

    pictures: npt.NDArray[np.uint8]
    coverage: npt.NDArray[np.uint8]


class CutoutTask(Task[CutoutBatch]):
    """Trains the cut-out network.

    Args:
        network: The model.
        config: Settings.
        cache: Views of the training objects.
        validation: Views of unseen objects; if None, the training objects are measured.
        device: Device to train on.
    """

    losses = LOSSES
    score = "overlap"

    def __init__(
        self, network: CutoutNetwork, config: CutoutConfig, cache: ViewCache, validation: ViewCache | None, device: torch.device
    ) -> None:
        self.config: CutoutConfig = config
        self.cache, self.validation, self.device = cache, validation, device
        self.network: CutoutNetwork = network.to(device, memory_format=torch.channels_last)
        self.weights = object_weights(cache.meta)
        if config.compile:
            self.network.compile()

    def draw(self, rng: np.random.Generator, progress: float) -> CutoutBatch:
        config = self.config
        px = max((start, side) for start, side in config.sizes if start <= progress)[1]
        scenes = replace(config.scenes, px=px)
        return CutoutBatch(*draw_batch(self.cache, self.weights, scenes, config.batch, rng, looks=config.looks))

    def loss(self, network: nn.Module, batch: CutoutBatch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        truth = torch.from_numpy(batch.coverage)[:, None].to(self.device).float() / 255
        with autocast(self.device, self.config.bf16):
            logits = network(to_pixels(batch.pictures).to(self.device))
        return cutout_loss(logits.float(), truth, self.config)

    def validate(self) -> Validation:
        """Mean overlap on unseen objects, and a sheet of pictures above what is kept of them."""
        cache = self.validation or self.cache
        config = self.config
        pictures, coverage = draw_batch(
            cache, object_weights(cache.meta), config.scenes, config.looked_at, np.random.default_rng(config.seed + 1)
        )
        found = [self.network(to_pixels(part).to(self.device)).sigmoid()[:, 0].cpu() for part in np.array_split(pictures, 8)]
        probability = torch.cat(found).numpy()
        score = float(overlaps(probability > 0.5, coverage > 127).mean())
        rows = []
        for start in range(0, min(len(pictures), 3 * _SHEET_COLUMNS), _SHEET_COLUMNS):
            part = np.s_[start : start + _SHEET_COLUMNS]
            seen = pictures[part].astype(np.float32) / 255
            kept = probability[part][..., None] * seen + (1 - probability[part][..., None]) * np.array([1.0, 0.0, 1.0])
            rows += [np.concatenate(list(seen), 1), np.concatenate(list(kept), 1)]
        width = rows[0].shape[1]
        return Validation(score, np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]))

    def save_weights(self, out: Path, found: Validation | None) -> None:
        """Write the network to `OUT/cutout`."""
        self.network.save_pretrained(out / "cutout")


def overlaps(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union [B] of masks, bool [B, S, S]."""
    return (found & truth).sum((1, 2)) / np.maximum(1, (found | truth).sum((1, 2)))
