"""What resuming must give, for any model: the same weights, bit for bit, as a run that was never interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tetraview.engine.training.loop import Task, TrainingLoop

EXACT = {"minutes": 1e9, "max_steps": 8}
"""Settings with which the learning rate follows the steps, not the clock."""


def check_resuming_is_exact(
    new_task: Callable[[], Task[Any]], folder: Path, steps: int = 2, accelerator: Any = None
) -> dict[str, float]:
    """Compare one step after `steps` steps, with and without an interruption; returns the terms of that step.

    The interrupted run draws its batches ahead, so that it has drawn more of them than it has used.
    """
    straight = TrainingLoop(new_task(), folder / "straight", accelerator)
    for _ in range(steps):
        straight.step()
    expected = straight.step()

    interrupted = TrainingLoop(new_task(), folder / "interrupted", accelerator, draw_ahead=True)
    run = interrupted.run()
    for _ in range(steps):
        next(run)
    run.close()
    assert not list((folder / "interrupted").glob("*.partial"))

    torch.manual_seed(12345)
    torch.rand(7)  # another random state than the interrupted run's
    resumed = TrainingLoop(new_task(), folder / "interrupted", accelerator)
    assert not all(map(torch.equal, resumed.parameters, straight.parameters))
    assert resumed.resume() and resumed.clock.step == steps and resumed.clock.seconds == interrupted.clock.seconds
    assert resumed.step() == expected
    assert len(resumed.parameters) > 0
    for ours, theirs in ((resumed.parameters, straight.parameters), (resumed.average.values, straight.average.values)):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    return expected
