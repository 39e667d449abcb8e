"""Kernel sources and their results: the folder of the `.cu` files, their macros, and a compiled program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

FOLDER = Path(__file__).resolve().parent
HEADER = "device.cuh"

Definitions = Mapping[str, str | int]
Argument = Tensor | int | float


class Program(Protocol):
    """A compiled `.cu`."""

    def launch(self, kernel: str, grid: int, block: int, args: Sequence[Argument]) -> None:
        """Run one of its kernels on torch's current stream of the device.

        Args:
            kernel: Name of an `extern "C" __global__` function.
            grid: Blocks; with 0 nothing happens.
            block: Threads a block.
            args: Contiguous tensors become pointers, integers `long long`, floats `float`.
        """
