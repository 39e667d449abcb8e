"""Shared parts of all training commands: the training loop's options, the set-up of a run, and its progress bar."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequestError

if TYPE_CHECKING:
    import torch

    from .loop import TrainingLoop

log = logging.getLogger(__name__)


def add_loop_options(
    parser: argparse.ArgumentParser, *, start_from: str, minutes: float = 60.0, rate: str = "1e-3", sheets: str = "1000"
) -> None:
    """Add the training loop's options.

    Args:
        parser: The model's parser.
        start_from: Help of `--start-from`: the weights that training may start from.
        minutes: Default time budget.
        rate, sheets: Defaults of `--learning-rate` and `--sheet-every` in words; the model's configuration holds the values.
    """
    add = parser.add_argument_group("training").add_argument
    add("--minutes", type=float, default=minutes, help="time budget of the stage over all resumptions (%(default)s)")
    add("--max-steps", type=int, metavar="N", help="stop after N steps")
    add("--start-from", metavar="DIR", help=start_from)
    add("--learning-rate", type=float, metavar="RATE", help=f"peak of the schedule ({rate})")
    add("--warmup-steps", type=int, metavar="N", help="steps up to the peak rate (the model's own)")
    add("--ema-decay", type=float, metavar="DECAY", help="decay of the weights' moving average (the model's own)")
    add("--accumulate", type=int, default=1, metavar="N", help="batches a step, one after another (%(default)s)")
    add("--sheet-every", type=int, metavar="N", help=f"steps between validations, each with a sample sheet ({sheets})")
    add("--threads", type=int, metavar="N", help="threads of the processor (all)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (%(default)s)")
    add("--no-bf16", action="store_true", help="keep everything in float32")
    add("--compile", action="store_true", help="fuse the network: slow to start, then faster (needs a C++ compiler)")
    add("--seed", type=int, default=0, help="seed of all randomness (%(default)s)")


def loop_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `LoopConfig` that the options set; what was left out keeps the model's default."""
    settings: dict[str, Any] = {
        "minutes": args.minutes,
        "max_steps": args.max_steps,
        "accumulate": args.accumulate,
        "bf16": not args.no_bf16,
        "compile": args.compile,
        "seed": args.seed,
    }
    given = {name: getattr(args, name) for name in ("learning_rate", "warmup_steps", "ema_decay", "sheet_every")}
    return settings | {name: value for name, value in given.items() if value is not None}


def start_folder(args: argparse.Namespace, record: str = "config.json") -> Path | None:
    """The folder given as `--start-from`, or None.

    Args:
        args: From `add_loop_options`.
        record: The file that a folder of such weights holds.

    Raises:
        InvalidRequestError: The folder holds no such weights.
    """
    if args.start_from is None:
        return None
    folder = Path(args.start_from)
    if not (folder / record).exists():
        raise InvalidRequestError(f"--start-from {folder}: there are no weights (no {record}).")
    return folder


def set_up(args: argparse.Namespace) -> torch.device:
    """Start logging, set the threads and the seed; returns the device."""
    import cv2
    import torch

    from ..devices import choose_device

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    threads = args.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(args.seed)
    return torch.device(choose_device(args.device).name)


def train(loop: TrainingLoop[Any]) -> None:
    """Continue from the checkpoint if there is one, and train with a progress bar."""
    from tqdm import tqdm

    if loop.resume():
        log.info("resuming at step %d, %.0f s", loop.clock.step, loop.clock.seconds)
    steps = loop.run()
    layout = "{l_bar}{bar}| {elapsed}<{remaining} {postfix}"
    try:
        with tqdm(total=100, unit="%", bar_format=layout, disable=not loop.is_main) as bar:
            for terms in steps:
                bar.n = min(100, round(100 * loop.clock.progress, 1))
                bar.set_postfix_str(f"step {loop.clock.step}, loss {terms['loss']:.4f}")
    finally:
        steps.close()
    log.info("step %d after %.0f s of training; results in %s", loop.clock.step, loop.clock.seconds, loop.out)
