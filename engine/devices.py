"""Choose the device for the models: CUDA, else MPS, else the CPU. Fall back with a message, never refuse."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class DeviceChoice:
    """The device to use.

    Attributes:
        name: A torch device: "cuda", "cuda:1", "mps" or "cpu".
        note: A sentence for the artist when the device asked for cannot be had; empty otherwise.
    """

    name: str
    note: str = ""


def choose_device(preference: str = "auto") -> DeviceChoice:
    """The best device of this machine, or the one asked for if it works.

    Args:
        preference: "auto", "cpu", "cuda", "cuda:N" or "mps".
    """
    import torch

    usable = usable_devices()
    if preference == "auto":
        return DeviceChoice(usable[0])
    kind, _, index = preference.partition(":")
    if kind not in usable:
        return DeviceChoice(usable[0], f"{kind.upper()} is not available here, so the engine uses {usable[0].upper()}.")
    if kind == "cuda" and index and (not index.isdigit() or int(index) >= torch.cuda.device_count()):
        return DeviceChoice("cuda", f"There is no {preference} on this machine, so the engine uses its first GPU.")
    return DeviceChoice(preference)


def usable_devices() -> list[str]:
    """The kinds of device that torch can compute on here, best first; the last is always "cpu"."""
    import torch

    usable = []
    if torch.cuda.is_available() and _computes("cuda"):
        usable.append("cuda")
    if torch.backends.mps.is_available() and _computes("mps"):
        usable.append("mps")
    return [*usable, "cpu"]


def use_all_cores() -> int:
    """Let torch use every core this process may run on, or as many as `OMP_NUM_THREADS` says; returns the number of threads."""
    import torch

    asked = os.environ.get("OMP_NUM_THREADS", "")
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = int(asked) if asked.isdigit() and int(asked) > 0 else cores
    torch.set_num_threads(threads)
    return threads


def side_by_side(work: Callable[[T], R], items: Sequence[T], device: torch.device | str) -> Generator[R, None, None]:
    """`work` of each item, in their order, on all of torch's threads: each worker computes on one core.

    That is faster than one item at a time on all cores: numpy and OpenCV use one core at a time, and torch's threads need not
    wait for one another after each small step, which takes long on a busy machine. On MPS, which several threads may not use,
    it is one item at a time. Workers do not inherit `torch.no_grad`.
    """
    import torch

    cores = torch.get_num_threads()
    if cores == 1 or len(items) < 2 or torch.device(device).type == "mps":
        yield from map(work, items)
        return
    torch.set_num_threads(1)  # for all threads that start from now on
    try:
        with ThreadPoolExecutor(cores, "tetraview-part") as pool:
            try:
                yield from pool.map(work, items)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(cores)


def _computes(device: str) -> bool:
    """Whether one small sum runs there: a driver too old for this torch is found here, not in the middle of a job."""
    import torch

    try:
        return float(torch.ones(2, device=device).sum()) == 2.0
    except RuntimeError:
        return False
