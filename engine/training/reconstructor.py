"""Training of the reconstructor: its settings, its loss and its validation, as `loop.TrainingLoop` drives them.

Stage one is volumetric; stage two adds the loss of the extracted mesh (`mesh_loss`), starting from stage one's weights.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..cameras import RIG_FOVY_DEG, Rig
from ..imaging.colour import on_white
from ..imaging.compare import psnr
from ..reconstructor import Reconstructor
from ..rendering.volumetric import render_field
from .batches import Batch, BatchConfig, draw_batch
from .loop import LoopConfig, Task, Validation, autocast, torch_generator
from .losses import LossConfig, render_batch, surface_loss, volumetric_loss
from .mesh_loss import MeshLossConfig, mesh_loss, single
from .view_cache import ViewCache

log = logging.getLogger(__name__)

REFRESH_EVERY = 100
"""Batches between looks for shards of the cache that have been rendered since."""

CONDITION_CHANNELS = 96
"""Width of what modulates the starter's residual blocks: cameras, and which views are known."""

SDF_SCALE = 0.02
"""World units of distance per unit of log density, when the SDF head is set from the density."""


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """Settings of the reconstructor's training.

    Attributes:
        validation_objects: Objects of the validation cache that are rendered.
        source_weights: Relative weight of an object by its source; 1 if not named.
        batch: Settings of the batches.
        loss: Weights of the volumetric loss.
        mesh: Weights of the mesh loss.
    """

    ema_decay: float = 0.995
    sheet_every: int | None = None
    sheet_every_s: float | None = 420.0
    validation_objects: int = 16
    source_weights: dict[str, float] = field(default_factory=dict)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    mesh: MeshLossConfig = field(default_factory=MeshLossConfig)

    @property
    def is_mesh_stage(self) -> bool:
        return self.batch.views > 0


def mesh_stage(minutes: float = 10.0, seed: int = 0) -> TrainConfig:
    """The settings of stage two: few objects, whole views, a tenth of the rate."""
    batch = BatchConfig(objects=3, rays=192, jittered=0.2, mirror=0.0, turn=0.0, views=2)
    return TrainConfig(minutes=minutes, learning_rate=2e-4, warmup_steps=20, ema_decay=0.99, seed=seed, batch=batch)


def reconstructor_loss(
    model: Reconstructor, batch: Batch, config: TrainConfig, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch on the model's device, and the values of its terms.

    Args:
        model: The model.
        batch: Its input views and target rays; with whole target views the mesh loss is added.
        config: Settings.
        rng: Source of the randomness of samples along rays and of the mesh loss's pixels.
    """
    device = batch.raw.device
    with autocast(device, config.bf16):
        encoded = model.encode_batch(batch.raw, batch.rigs, batch.known)
    generator = torch_generator(rng, device)
    decoded = render_batch(model, encoded, batch, config.loss, generator)
    loss, terms = volumetric_loss(decoded, batch, config.loss, config.batch.patch)
    if config.loss.sdf or config.loss.normal:
        part, surface_terms = surface_loss(model, encoded, batch, config.loss, generator)
        loss, terms = loss + part, terms | surface_terms
    for index, views in enumerate(batch.views):
        part, mesh_terms = mesh_loss(model, single(encoded, index), views, config.mesh, rng)
        loss = loss + part / len(batch.views)
        terms |= {key: terms.get(key, 0.0) + value / len(batch.views) for key, value in mesh_terms.items()}
    return loss, terms


def object_weights(cache: ViewCache, config: TrainConfig) -> np.ndarray:
    """Probability of each object, float64 [len(cache)]."""
    weights = np.array([config.source_weights.get(str(m.get("source")), 1.0) for m in cache.meta])
    return weights / weights.sum()


VALIDATION_SETS: dict[str, tuple[int, tuple[bool, bool, bool, bool]]] = {
    "four": (0, (True, True, True, True)),
    "turnaround": (1, (True, True, True, False)),
    "one": (0, (True, False, False, False)),
}
"""Validation sets: the set of input views in the cache, and the known ones among them."""


def validate(model: Reconstructor, cache: ViewCache, count: int, views: int = 2) -> tuple[dict[str, float], np.ndarray]:
    """Mean PSNR over unseen objects and views, dB, of each of `VALIDATION_SETS`, and a sheet float32: truth above predictions."""
    scores: dict[str, list[float]] = {name: [] for name in VALIDATION_SETS}
    columns = []
    for index in np.linspace(0, len(cache) - 1, min(count, len(cache))).astype(int):
        item = cache[int(index)]
        cameras, targets = np.asarray(item["c2w"], np.float32), np.asarray(item["targets"])
        chosen = _side_views(cameras, views)
        truths = [on_white(targets[view]) for view in chosen]
        column = [truths[-1]]
        for name, (chosen_set, known) in VALIDATION_SETS.items():
            rig = Rig(*(float(v) for v in item["rigs"][chosen_set]))
            model_field = model.encode(item["inputs"][chosen_set], rig, known)
            for view, truth in zip(chosen, truths, strict=True):
                image = on_white(render_field(model_field, cameras[view], RIG_FOVY_DEG, truth.shape[0], samples=48))
                scores[name].append(psnr(image, truth))
            column.append(image)
        columns.append(np.concatenate(column, 0))
    return {name: float(np.mean(values)) for name, values in scores.items()}, np.concatenate(columns, 1)


def _side_views(c2w: np.ndarray, count: int) -> np.ndarray:
    """The target views nearest to 20 degrees above the horizon, int [count]: people look at objects from there."""
    height = c2w[:, 2, 3] / np.linalg.norm(c2w[:, :3, 3], axis=1)
    return np.argsort(np.abs(height - math.sin(math.radians(20))), kind="stable")[:count]


class ReconstructorTask(Task[Batch]):
    """Trains a reconstructor on rendered views.

    Args:
        model: The model.
        config: Settings; with whole target views in its batches it is the mesh stage.
        cache: Views of the training objects.
        validation: Views of unseen objects, or None.
        device: Device to train on.
    """

    losses = ("colour", "opacity", "termination", "occupancy", "surface")

    def __init__(
        self, model: Reconstructor, config: TrainConfig, cache: ViewCache, validation: ViewCache | None, device: torch.device
    ) -> None:
        self.config: TrainConfig = config
        self.cache, self.validation, self.device = cache, validation, device
        self.network: Reconstructor = model.to(device, memory_format=torch.channels_last)
        if config.compile:
            self.network.unet.compile()
        self.input_px = int(model.config["input_px"])
        self._weights = object_weights(cache, config)
        self._drawn = 0

    def draw(self, rng: np.random.Generator, progress: float) -> Batch:
        """Draw some objects' views and rays; shards that are still being rendered join as they come."""
        if self._drawn % REFRESH_EVERY == 0 and self.cache.refresh() != len(self._weights):
            self._weights = object_weights(self.cache, self.config)
        self._drawn += 1
        return draw_batch(self.cache, self.config.batch, self.input_px, self._weights, rng)

    def loss(self, network: nn.Module, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        return reconstructor_loss(self.network, batch.to(self.device), self.config, rng)

    def validate(self) -> Validation | None:
        if self.validation is None:
            return None
        scores, sheet = validate(self.copy(), self.validation, self.config.validation_objects)
        return Validation(float(np.mean(list(scores.values()))), sheet, scores)

    def save_weights(self, out: Path, found: Validation | None) -> None:
        """Write the model to `OUT/reconstructor`; a volumetric stage without SDF loss sets its SDF head from the density."""
        model = self.copy()
        if not self.config.is_mesh_stage and not self.config.loss.sdf:
            model.decoder.initialise_sdf_from_density(SDF_SCALE)
        model.save_pretrained(out / "reconstructor")

    def copy(self) -> Reconstructor:
        """A copy of the model that is not compiled, ready to use."""
        copy = Reconstructor(**{key: value for key, value in self.network.config.items() if not key.startswith("_")})
        copy.load_state_dict(self.network.state_dict())
        return copy.to(self.device).eval()


def start_from_weights(weights: Path, **changes: object) -> Reconstructor:
    """A model that begins as the one in a folder; parameters that it has beyond it begin as they are initialised.

    Args:
        weights: A folder with `config.json` and weights.
        changes: Settings that differ from the folder's, such as `condition_channels`.
    """
    old = Reconstructor.from_pretrained(weights)
    config = {key: value for key, value in old.config.items() if not key.startswith("_")} | changes
    model = Reconstructor(**config)
    missing, unexpected = model.load_state_dict(old.state_dict(), strict=False)
    if unexpected:
        raise ValueError(f"{weights} holds parameters that the model lacks: {unexpected[:3]}")
    log.info("%d parameters of %s, %d new", len(old.state_dict()), weights, len(missing))
    return model
