"""The training loop that every model shares; a model brings a `Task`: its batches, its loss and its validation.

The loop owns the time budget, the learning rate, the optimiser, the moving average of the weights, checkpoints and curves.

Random numbers are drawn from (seed, process, step) at every step. A checkpoint therefore needs no random state, a resumed
run continues exactly as the interrupted one would have, and batches may be drawn ahead in a thread.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .average import Average
from .curves import CurveLog
from .prefetch import prefetch

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

BatchT = TypeVar("BatchT")

CHECKPOINT = "checkpoint.pt"

_DRAW, _LOSS, _TORCH = range(3)
"""Purposes of a step's random numbers: drawing a batch, computing its loss, and whatever reads torch's global generator."""


@dataclass(frozen=True)
class LoopConfig:
    """Settings that all models share.

    Attributes:
        minutes: Time budget over all resumptions; the learning rate follows it.
        max_steps: Stop after this many steps; no bound if None.
        learning_rate: Peak rate of AdamW.
        warmup_steps: Steps of linear warm-up to the peak.
        final_rate: Share of the peak rate that is left at the end of the cosine schedule.
        weight_decay: Weight decay of AdamW.
        clip_norm: Norm that gradients are clipped to.
        ema_decay: Share of the moving average that is kept each step.
        accumulate: Batches a step, one after another.
        bf16: Run convolutions and matrix products in bfloat16.
        compile: Fuse the network with `torch.compile`; it needs a C++ compiler and some minutes at the start.
        checkpoint_every_s: Seconds between checkpoints.
        sheet_every: Steps between validations; if None, steps trigger none.
        sheet_every_s: Seconds between validations; if None, time triggers none.
        seed: Seed of everything that is drawn at random.
    """

    minutes: float = 60.0
    max_steps: int | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    accumulate: int = 1
    bf16: bool = True
    compile: bool = False
    checkpoint_every_s: float = 120.0
    sheet_every: int | None = 1000
    sheet_every_s: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Validation:
    """Result of a validation.

    Attributes:
        score: The value of the column that the task's `score` names.
        sheet: A picture to look at, float [H, W, 3] in 0..1.
        more: Further scores by name.
    """

    score: float
    sheet: npt.NDArray[np.floating[Any]]
    more: dict[str, float] = field(default_factory=dict)


class Task(ABC, Generic[BatchT]):
    """A model's part of the training.

    Attributes:
        config: The model's settings.
        device: Device that the network is on.
        network: The module that is trained: its parameters that require gradients.
        target: A module whose parameters hold the moving average at all times, for losses that call it; if None, the loop keeps
            the average by itself.
        losses: Names of the terms that the curves show.
        score: Name of the validation's score.
    """

    config: LoopConfig
    device: torch.device
    network: nn.Module
    target: nn.Module | None = None
    losses: tuple[str, ...] = ("loss",)
    score: str = "psnr"

    @abstractmethod
    def draw(self, rng: np.random.Generator, progress: float) -> BatchT:
        """Draw a batch. It may run in another thread, so it must take its random numbers from `rng` alone.

        Args:
            rng: Source of the batch's randomness.
            progress: Share of the budget that is spent, 0..1.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: BatchT, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of a batch, and the values of its terms.

        Args:
            network: `self.network`, wrapped where several processes train.
            batch: From `draw`.
            rng: Source of the loss's randomness.
        """

    @abstractmethod
    def validate(self) -> Validation | None:
        """Measure the network on unseen data; it holds the averaged weights. Returns None without unseen data."""

    @abstractmethod
    def save_weights(self, out: Path, found: Validation | None) -> None:
        """Write the network, which holds the averaged weights, to its own folder under `out`."""


class Clock:
    """Counts steps and seconds of training over all resumptions, and derives the learning rate from them."""

    def __init__(self, config: LoopConfig) -> None:
        self.config = config
        self.step, self.seconds = 0, 0.0

    def progress_at(self, step: int) -> float:
        """Share of the budget that is spent at a step, by the seconds spent until now; 1 or more: it is used up."""
        by_time = self.seconds / (self.config.minutes * 60) if self.config.minutes > 0 else 1.0
        return by_time if self.config.max_steps is None else max(by_time, step / self.config.max_steps)

    @property
    def progress(self) -> float:
        """Share of the budget that is spent now."""
        return self.progress_at(self.step)

    @property
    def rate(self) -> float:
        """Learning rate now: linear warm-up, then a cosine down to `final_rate`."""
        config = self.config
        cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(self.progress, 1.0)))
        return config.learning_rate * cosine * min(1.0, (self.step + 1) / config.warmup_steps)


class TrainingLoop(Generic[BatchT]):
    """Trains a task; holds what a checkpoint holds: network, moving average, optimiser, steps and seconds.

    Args:
        task: The model's part.
        out: Folder of the checkpoint, the curves, the sample sheets and the weights.
        accelerator: Runs several processes as one training; None for one process.
        draw_ahead: Draw batches in a thread. By default only if the network is not on the CPU, where the thread
            would take its cores.
    """

    def __init__(
        self, task: Task[BatchT], out: Path, accelerator: Accelerator | None = None, *, draw_ahead: bool | None = None
    ) -> None:
        self.task, self.config, self.out, self.accelerator = task, task.config, out, accelerator
        self.process = 0 if accelerator is None else int(accelerator.process_index)
        self.is_main = accelerator is None or bool(accelerator.is_main_process)
        self.clock = Clock(self.config)
        self.parameters = [p for p in task.network.parameters() if p.requires_grad]
        target = None if task.target is None else task.target.parameters()
        self.average = Average(self.parameters, self.config.ema_decay, target)
        self.network: nn.Module = task.network
        self.optimiser: Any = torch.optim.AdamW(self.parameters, self.config.learning_rate, weight_decay=self.config.weight_decay)
        if accelerator is not None:
            self.network, self.optimiser = accelerator.prepare(self.network, self.optimiser)
        self.draw_ahead = task.device.type != "cpu" if draw_ahead is None else draw_ahead
        self._ahead: Generator[list[BatchT]] | None = None

    def rng(self, step: int, part: int, purpose: int) -> np.random.Generator:
        """The random numbers of one part of a step; the same every time."""
        return np.random.default_rng((self.config.seed, self.process, step, part, purpose))

    def draw(self, step: int) -> list[BatchT]:
        """The batches of a step, `accumulate` of them."""
        progress = min(1.0, self.clock.progress_at(step))
        return [self.task.draw(self.rng(step, part, _DRAW), progress) for part in range(self.config.accumulate)]

    def step(self, batches: Sequence[BatchT] | None = None) -> dict[str, float]:
        """One optimiser step.

        Args:
            batches: The batches to learn from; the step's own if None.

        Returns:
            The loss, its terms and the norm of the gradient.
        """
        started, clock = time.perf_counter(), self.clock
        if batches is None:
            batches = self.draw(clock.step) if self._ahead is None else next(self._ahead)
        for group in self.optimiser.param_groups:
            group["lr"] = clock.rate
        torch.manual_seed(int(self.rng(clock.step, 0, _TORCH).integers(2**62)))
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for part, batch in enumerate(batches):
            loss, terms = self.task.loss(self.network, batch, self.rng(clock.step, part, _LOSS))
            self._backward(loss / len(batches))
            for name, value in {"loss": float(loss.detach()), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value / len(batches)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.average.update(clock.step)
        terms = {**sums, "norm": float(norm)}
        clock.step += 1
        clock.seconds = self._agreed(clock.seconds + time.perf_counter() - started)
        return terms

    def run(self) -> Generator[dict[str, float], None, None]:
        """Train until the budget is spent; yields the terms of each step.

        Writes `checkpoint.pt`, `curves.csv`, `curves.png` and, at every validation and at the end, `validation.csv`, a sample
        sheet and the averaged weights. Closing the iterator saves a checkpoint. Validations and checkpoints do not count as
        training time.
        """
        clock, config = self.clock, self.config
        self.out.mkdir(parents=True, exist_ok=True)
        if self.is_main:
            (self.out / "train_config.json").write_text(json.dumps(asdict(config), indent=2))
        curves = CurveLog(self.out, losses=self.task.losses, score=self.task.score)
        validated, saved, measured = -1, time.perf_counter(), time.perf_counter()
        if self.draw_ahead:
            self._ahead = prefetch(self.draw(step) for step in itertools.count(clock.step))
        try:
            while clock.progress < 1:
                terms = self.step()
                if self.is_main:
                    curves.add(clock.step, clock.seconds, terms)
                yield terms
                now = time.perf_counter()
                if now - saved > config.checkpoint_every_s:
                    self.save()
                    saved = now
                by_steps = config.sheet_every is not None and clock.step % config.sheet_every == 0
                if by_steps or (config.sheet_every_s is not None and now - measured > config.sheet_every_s):
                    self.save()
                    self.validate(curves)
                    validated, measured = clock.step, time.perf_counter()
        finally:
            if self._ahead is not None:
                self._ahead.close()
                self._ahead = None
            self.save()
            if self.is_main:
                curves.flush()
        if validated != clock.step:
            self.validate(curves)

    def validate(self, curves: CurveLog) -> None:
        """Measure the averaged weights, write them, and log the result."""
        if not self.is_main:
            return
        self.task.network.eval()
        with self.average.in_use(), torch.no_grad():
            found = self.task.validate()
            self.task.save_weights(self.out, found)
        if found is None:
            return
        scores = {self.task.score: found.score, **found.more}
        log.info("step %d, %.0f s: %s", self.clock.step, self.clock.seconds, {k: round(v, 3) for k, v in scores.items()})
        curves.add_validation(self.clock.step, self.clock.seconds, found.score, found.sheet, found.more)

    def save(self) -> None:
        """Write the checkpoint under a temporary name, then rename it."""
        if not self.is_main:
            return
        state = {
            "model": trainable_state(self.task.network),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
            "step": self.clock.step,
            "seconds": self.clock.seconds,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / CHECKPOINT
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self) -> bool:
        """Continue from the checkpoint in `out` if there is one; returns whether there was.

        Raises:
            ValueError: The checkpoint belongs to another model.
        """
        path = self.out / CHECKPOINT
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.task.device, weights_only=True)
        load_trainable(self.task.network, state["model"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.clock.step, self.clock.seconds = state["step"], state["seconds"]
        return True

    def _backward(self, loss: Tensor) -> None:
        if self.accelerator is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)

    def _agreed(self, seconds: float) -> float:
        """The time spent as the main process measures it: all processes must stop at the same step."""
        if self.accelerator is None or self.accelerator.num_processes == 1:
            return seconds
        from accelerate.utils import broadcast

        return float(broadcast(torch.tensor([seconds], dtype=torch.float64, device=self.task.device))[0])


def trainable_state(module: nn.Module) -> dict[str, Tensor]:
    """Values of the parameters that require gradients, by name (with LoRA a few megabytes)."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_trainable(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore `trainable_state`.

    Raises:
        ValueError: The state belongs to another model.
    """
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() != state.keys():
        raise ValueError(f"the checkpoint belongs to another model: {sorted(own.keys() ^ state.keys())[:3]} differ")
    for name, parameter in own.items():
        parameter.copy_(state[name])


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """The autocast of a forward pass on a device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def torch_generator(rng: np.random.Generator, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator that is seeded by the next number of `rng`."""
    return torch.Generator(device=device).manual_seed(int(rng.integers(2**62)))
