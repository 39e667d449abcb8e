"""Training of the reconstructor, in a time budget, resumable to the step, on CPU or CUDA.

Stage one is volumetric; stage two adds the loss of the extracted mesh (`mesh_loss`), starting from stage one's weights.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..cameras import RIG_FOVY_DEG, Rig
from ..reconstructor import Reconstructor
from ..rendering.volumetric import render_field
from .batches import Batch, BatchConfig, draw_batch, prefetch
from .curves import CurveLog
from .losses import LossConfig, render_batch, surface_loss, volumetric_loss
from .mesh_loss import MeshLossConfig, mesh_loss, single
from .view_cache import ViewCache

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        minutes: Time budget over all resumptions; the learning rate follows it.
        max_steps: Stop earlier, after this many steps; None for no bound.
        learning_rate, warmup_steps, final_rate: AdamW's peak rate, steps up to it, and the share left at the end (cosine).
        weight_decay, clip_norm, ema_decay: As their names say.
        bf16: Run the U-Net's convolutions in bfloat16.
        compile: Fuse the U-Net with `torch.compile`: some minutes at the start (it needs a C++ compiler), a fifth off each step.
        validate_every_s, checkpoint_every_s: Seconds between.
        validation_objects: Objects of the validation cache that are rendered.
        source_weights: Relative weight of an object by its source; 1 if not named.
        seed: Of everything random.
    """

    minutes: float = 60.0
    max_steps: int | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    bf16: bool = True
    compile: bool = False
    validate_every_s: float = 420.0
    checkpoint_every_s: float = 120.0
    validation_objects: int = 16
    source_weights: dict[str, float] = field(default_factory=dict)
    seed: int = 0
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


def rate_at(progress: float, step: int, config: TrainConfig) -> float:
    """Learning rate at a step, `progress` of the budget spent (0..1): linear warm-up, then cosine."""
    cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.learning_rate * cosine * min(1.0, (step + 1) / config.warmup_steps)


class Trainer:
    """Holds what a checkpoint holds: model, its moving average, optimiser, random state, step and seconds spent."""

    def __init__(self, model: Reconstructor, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = model.to(device, memory_format=torch.channels_last)
        if config.compile:
            self.model.unet.compile()
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.optimiser = torch.optim.AdamW(self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        self.generator = torch.Generator(device=device).manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.mesh_rng = np.random.default_rng((config.seed, 2))
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        by_time = self.seconds / (self.config.minutes * 60)
        return by_time if self.config.max_steps is None else max(by_time, self.step / self.config.max_steps)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the terms of the loss."""
        started = time.perf_counter()
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.progress, self.step, self.config)
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            encoded = self.model.encode_batch(batch.raw, batch.rigs, batch.known)
        decoded = render_batch(self.model, encoded, batch, self.config.loss, self.generator)
        loss, terms = volumetric_loss(decoded, batch, self.config.loss, self.config.batch.patch)
        if self.config.loss.sdf or self.config.loss.normal:
            part, surface_terms = surface_loss(self.model, encoded, batch, self.config.loss, self.generator)
            loss, terms = loss + part, terms | surface_terms
        for index, views in enumerate(batch.views):
            part, mesh_terms = mesh_loss(self.model, single(encoded, index), views, self.config.mesh, self.mesh_rng)
            loss = loss + part / len(batch.views)
            terms |= {key: terms.get(key, 0.0) + value / len(batch.views) for key, value in mesh_terms.items()}
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], 1 - decay)
        self.step += 1
        self.seconds += time.perf_counter() - started
        return {"loss": loss.item(), **terms, "norm": float(norm)}

    def averaged(self) -> Reconstructor:
        """A copy of the model with the averaged weights, ready to use or to save."""
        config = {key: value for key, value in self.model.config.items() if not key.startswith("_")}
        copy = Reconstructor(**config)
        with torch.no_grad():
            for target, source in zip(copy.parameters(), self.average, strict=True):
                target.copy_(source)
        return copy.to(self.device).eval()

    def save(self, path: Path) -> None:
        """Write a checkpoint: temporary name, then rename."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "rng": json.dumps(self.rng.bit_generator.state),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        with torch.no_grad():
            for target, source in zip(self.average, state["average"], strict=True):
                target.copy_(source)
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.step, self.seconds = state["step"], state["seconds"]


def object_weights(cache: ViewCache, config: TrainConfig) -> np.ndarray:
    """Probability of each object, float64 [len(cache)]."""
    weights = np.array([config.source_weights.get(str(m.get("source")), 1.0) for m in cache.meta])
    return weights / weights.sum()


def batches_forever(cache: ViewCache, trainer: Trainer) -> Iterator[Batch]:
    """Batches without end; shards that are still being rendered join as they come."""
    input_px = int(trainer.model.config["input_px"])
    weights = object_weights(cache, trainer.config)
    drawn = 0
    while True:
        if drawn % 100 == 0 and cache.refresh() != len(weights):
            weights = object_weights(cache, trainer.config)
        drawn += 1
        yield draw_batch(cache, trainer.config.batch, input_px, weights, trainer.rng)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """RGBA of straight alpha, 0..1 or uint8, to float RGB on white."""
    image = rgba.astype(np.float32) / (255 if rgba.dtype == np.uint8 else 1)
    return image[..., :3] * image[..., 3:] + 1 - image[..., 3:]


VALIDATION_SETS: dict[str, tuple[int, tuple[bool, bool, bool, bool]]] = {
    "four": (0, (True, True, True, True)),
    "turnaround": (1, (True, True, True, False)),
    "one": (0, (True, False, False, False)),
}
"""What is validated: the set of input views in the cache, and which of them are known."""


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
            rgba = torch.from_numpy(np.array(item["inputs"][chosen_set])).permute(0, 3, 1, 2).float() / 255  # type: ignore[call-overload]
            rig = Rig(*(float(v) for v in item["rigs"][chosen_set]))  # type: ignore[call-overload]
            model_field = model.encode(rgba, rig, known)
            for view, truth in zip(chosen, truths, strict=True):
                image = on_white(render_field(model_field, cameras[view], RIG_FOVY_DEG, truth.shape[0], samples=48))
                scores[name].append(-10 * math.log10(max(1e-6, float(np.square(truth - image).mean()))))
            column.append(image)
        columns.append(np.concatenate(column, 0))
    return {name: float(np.mean(values)) for name, values in scores.items()}, np.concatenate(columns, 1)


def _side_views(c2w: np.ndarray, count: int) -> np.ndarray:
    """The target views nearest to 20 degrees above the horizon, int [count]: people look at objects from there."""
    height = c2w[:, 2, 3] / np.linalg.norm(c2w[:, :3, 3], axis=1)
    return np.argsort(np.abs(height - math.sin(math.radians(20))), kind="stable")[:count]


def train(trainer: Trainer, cache: ViewCache, validation: ViewCache | None, out: Path) -> Iterator[dict[str, float]]:
    """Train until the budget is spent; yields the terms of each step.

    Writes `checkpoint.pt`, `curves.csv`, `curves.png`, `samples_<step>.png` and, at every validation and at the end, the
    averaged weights in `reconstructor/` under `out`. Closing the iterator saves a checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "train_config.json").write_text(json.dumps(asdict(trainer.config), indent=2))
    curves = CurveLog(out)
    stream = batches_forever(cache, trainer)
    if trainer.device.type != "cpu":  # a thread that draws would take the cores from the step: 1.33 s instead of 0.81 on two
        stream = prefetch(stream)
    saved = checked = time.perf_counter()
    try:
        for batch in stream:
            if trainer.progress >= 1:
                break
            terms = trainer.train_step(batch)
            curves.add(trainer.step, trainer.seconds, terms)
            yield terms
            now = time.perf_counter()
            if now - saved > trainer.config.checkpoint_every_s:
                trainer.save(out / "checkpoint.pt")
                saved = now
            if validation is not None and now - checked > trainer.config.validate_every_s:
                _validate_and_save(trainer, validation, curves, out)
                checked = time.perf_counter()
    finally:
        stream.close()  # type: ignore[attr-defined]
        trainer.save(out / "checkpoint.pt")
        curves.flush()
    _validate_and_save(trainer, validation, curves, out)


def _validate_and_save(trainer: Trainer, validation: ViewCache | None, curves: CurveLog, out: Path) -> None:
    model = trainer.averaged()
    if validation is not None:
        scores, sheet = validate(model, validation, trainer.config.validation_objects)
        each = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
        log.info("step %d, %.0f s: validation %s dB", trainer.step, trainer.seconds, each)
        curves.add_validation(trainer.step, trainer.seconds, float(np.mean(list(scores.values()))), sheet)
    if not trainer.config.is_mesh_stage and not trainer.config.loss.sdf:
        model.decoder.initialise_sdf_from_density(SDF_SCALE)
    model.save_pretrained(out / "reconstructor")


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


CONDITION_CHANNELS = 96
"""Width of what modulates the starter's residual blocks: cameras, and which views are known."""

SDF_SCALE = 0.02
"""World units of distance per unit of log density, when the SDF head is set from the density."""
