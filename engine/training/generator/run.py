"""What every stage of the generator's training shares: time budget, learning rate, averaged weights, checkpoints.

Random numbers are drawn anew from (seed, process, step) at every step, so that a resumed run needs no saved random state.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..curves import CurveLog


@dataclass(frozen=True)
class RunConfig:
    """Settings common to all stages.

    Attributes:
        minutes: Time budget over all resumptions; the learning rate follows it.
        max_steps: Stop earlier, after this many steps; None for no bound.
        learning_rate, warmup_steps, final_rate: AdamW's peak rate, steps up to it, and the share left at the end (cosine).
        weight_decay, clip_norm, ema_decay: As their names say.
        bf16: Run convolutions and matrix products in bfloat16.
        compile: Fuse the network with `torch.compile`; it needs a C++ compiler and some minutes at the start.
        checkpoint_every_s, sheet_every: Seconds between checkpoints; steps between sample sheets.
        seed: Of everything random.
    """

    minutes: float = 60.0
    max_steps: int | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    bf16: bool = True
    compile: bool = False
    checkpoint_every_s: float = 120.0
    sheet_every: int = 1000
    seed: int = 0


class Clock:
    """Steps and seconds of training over all resumptions, and what share of the budget they are."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the budget that is spent; 1 or more: done."""
        by_time = self.seconds / (self.config.minutes * 60) if self.config.minutes > 0 else 1.0
        return by_time if self.config.max_steps is None else max(by_time, self.step / self.config.max_steps)

    @property
    def rate(self) -> float:
        """Learning rate now: linear warm-up, then cosine down to `final_rate`."""
        config = self.config
        cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(self.progress, 1.0)))
        return config.learning_rate * cosine * min(1.0, (self.step + 1) / config.warmup_steps)

    def rng(self, process: int = 0) -> np.random.Generator:
        """The random numbers of this step."""
        return np.random.default_rng((self.config.seed, process, self.step))


class Average:
    """Exponential moving average of parameters; early on it follows faster.

    Args:
        parameters: Those averaged, in a fixed order.
        decay: Share kept each step in the long run.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """The parameters are the averaged ones within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, value in zip(self.parameters, self.values, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    @torch.no_grad()
    def load(self, values: list[Tensor]) -> None:
        """Go on from saved values."""
        for target, source in zip(self.values, values, strict=True):
            target.copy_(source)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def trainable(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that take gradients."""
    return [p for p in module.parameters() if p.requires_grad]


def trainable_state(module: torch.nn.Module) -> dict[str, Tensor]:
    """Their values by name: what a checkpoint holds (for LoRA a few megabytes)."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_trainable(module: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Restore `trainable_state`.

    Raises:
        ValueError: The checkpoint is of another model.
    """
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() != state.keys():
        raise ValueError(f"the checkpoint is of another model: {sorted(own.keys() ^ state.keys())[:3]} differ")
    for name, parameter in own.items():
        parameter.copy_(state[name])


def autocast_dtype(device: torch.device, bf16: bool) -> torch.autocast:
    """The autocast of a forward pass on this device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


class Trainer(Protocol):
    """A stage of the training, as `train` drives it."""

    clock: Clock
    is_main: bool

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the terms of the loss, `loss` first."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the clock."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from it."""

    def agree(self, seconds: float) -> float:
        """What the main process says of the time spent; all processes must stop at the same step."""

    def look(self, curves: CurveLog) -> None:
        """Write a sample sheet and scores, and the averaged weights in their own folder."""


def resume(trainer: Trainer, out: Path, device: torch.device) -> bool:
    """Go on from the checkpoint in `out`, if there is one; returns whether there was."""
    path = out / "checkpoint.pt"
    if not path.exists():
        return False
    state = torch.load(path, map_location=device, weights_only=True)
    trainer.load(state)
    trainer.clock.step, trainer.clock.seconds = state["step"], state["seconds"]
    return True


def train(trainer: Trainer, out: Path, curves: CurveLog) -> Iterator[dict[str, float]]:
    """Train until the budget is spent; yields the terms of each step.

    Writes `checkpoint.pt` and `curves.csv` in `out`, and what `Trainer.look` writes every `sheet_every` steps and at the end.
    Closing the iterator saves a checkpoint. Sheets and checkpoints do not count as training time.
    """
    clock, config = trainer.clock, trainer.clock.config
    out.mkdir(parents=True, exist_ok=True)
    if trainer.is_main:
        (out / "train_config.json").write_text(json.dumps(asdict(config), indent=2))
    looked, saved = -1, time.perf_counter()

    def save() -> None:
        if trainer.is_main:
            save_checkpoint(out / "checkpoint.pt", {**trainer.state(), "step": clock.step, "seconds": clock.seconds})

    try:
        while clock.progress < 1:
            started = time.perf_counter()
            terms = trainer.train_step()
            clock.step += 1
            clock.seconds = trainer.agree(clock.seconds + time.perf_counter() - started)
            if trainer.is_main:
                curves.add(clock.step, clock.seconds, terms)
            yield terms
            if time.perf_counter() - saved > config.checkpoint_every_s:
                save()
                saved = time.perf_counter()
            if clock.step % config.sheet_every == 0:
                save()
                trainer.look(curves)
                looked = clock.step
    finally:
        save()
        if trainer.is_main:
            curves.flush()
    if looked != clock.step:
        trainer.look(curves)
