"""Steps, loss and looks of the cut-out network's training, as `generator/run.py` drives them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...photos.cutout_network import CutoutNetwork
from ..curves import CurveLog
from ..generator.run import Average, Clock, RunConfig, autocast_dtype, load_trainable, trainable_state
from ..view_cache import ViewCache
from .scenes import SceneConfig, draw_batch, object_weights

log = logging.getLogger(__name__)

LOSSES = ("loss", "cross_entropy", "overlap")
_SHEET_COLUMNS = 16


@dataclass(frozen=True)
class CutoutConfig(RunConfig):
    """Settings of this stage.

    Attributes:
        batch: Pictures a step.
        edge: How much more a pixel beside the outline counts.
        overlap: Weight of the soft intersection over union beside the cross entropy's 1.
        looks: How often each scene is seen in a step, mirrored and in other light: drawing one costs as much as learning from it.
        sizes: Share of the budget from which pictures have this side: small ones first, for they cost a tenth.
        looked_at: Unseen pictures a look is scored on.
        scenes: How pictures are made.
    """

    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    sheet_every: int = 500
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


class CutoutTrainer:
    """Holds the network, its moving average and optimiser.

    Args:
        network: The model.
        config: Settings.
        cache: Views of the training objects.
        validation: Views of unseen objects, or None.
        out: Where the weights (`OUT/cutout`) and sheets go.
        device: Where to train.
    """

    is_main = True

    def __init__(
        self,
        network: CutoutNetwork,
        config: CutoutConfig,
        cache: ViewCache,
        validation: ViewCache | None,
        out: Path,
        device: torch.device,
    ) -> None:
        self.config, self.cache, self.validation, self.out, self.device = config, cache, validation, out, device
        self.network = network.to(device, memory_format=torch.channels_last)
        self.clock = Clock(config)
        self.weights = object_weights(cache.meta)
        self.average = Average(self.network.parameters(), config.ema_decay)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        if config.compile:
            self.network.compile()

    def train_step(self) -> dict[str, float]:
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.rate
        px = max((start, side) for start, side in config.sizes if start <= self.clock.progress)[1]
        scenes = replace(config.scenes, px=px)
        pictures, coverage = draw_batch(self.cache, self.weights, scenes, config.batch, self.clock.rng(), looks=config.looks)
        truth = torch.from_numpy(coverage)[:, None].to(self.device).float() / 255
        self.network.train()
        with autocast_dtype(self.device, config.bf16):
            logits = self.network(to_pixels(pictures).to(self.device))
        loss, terms = cutout_loss(logits.float(), truth, config)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.average.update(self.clock.step)
        return {**terms, "norm": float(norm)}

    def agree(self, seconds: float) -> float:
        return seconds

    @torch.no_grad()
    def look(self, curves: CurveLog) -> None:
        """Sheet of pictures above coverage, mean overlap on unseen objects, and the averaged weights in `OUT/cutout`."""
        cache = self.validation or self.cache
        config = self.config
        pictures, coverage = draw_batch(
            cache, object_weights(cache.meta), config.scenes, config.looked_at, np.random.default_rng(config.seed + 1)
        )
        self.network.eval()
        with self.average.in_use():
            self.network.save_pretrained(self.out / "cutout")
            found = [self.network(to_pixels(part).to(self.device)).sigmoid()[:, 0].cpu() for part in np.array_split(pictures, 8)]
        probability = torch.cat(found).numpy()
        score = float(overlaps(probability > 0.5, coverage > 127).mean())
        log.info("step %d: overlap %.3f", self.clock.step, score)
        rows = []
        for start in range(0, min(len(pictures), 3 * _SHEET_COLUMNS), _SHEET_COLUMNS):
            part = np.s_[start : start + _SHEET_COLUMNS]
            seen = pictures[part].astype(np.float32) / 255
            kept = probability[part][..., None] * seen + (1 - probability[part][..., None]) * np.array([1.0, 0.0, 1.0])
            rows += [np.concatenate(list(seen), 1), np.concatenate(list(kept), 1)]
        width = rows[0].shape[1]
        sheet = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
        curves.add_validation(self.clock.step, self.clock.seconds, score, sheet)

    def state(self) -> dict[str, Any]:
        return {"model": trainable_state(self.network), "average": self.average.values, "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        load_trainable(self.network, state["model"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def overlaps(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union [B] of masks, bool [B, S, S]."""
    return (found & truth).sum((1, 2)) / np.maximum(1, (found | truth).sum((1, 2)))
