"""The moving average of a network's weights; training saves this average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of parameters; it follows faster during the first steps.

    Args:
        parameters: Parameters to average, in a fixed order.
        decay: Share kept each step in the long run.
        values: Tensors that hold the average; copies of the parameters if None.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float, values: Iterable[Tensor] | None = None) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.values = [p.detach().clone() for p in self.parameters] if values is None else [v.detach() for v in values]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Exchange parameters and average within the block."""
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
        """Continue from saved values."""
        for target, source in zip(self.values, values, strict=True):
            target.copy_(source)
