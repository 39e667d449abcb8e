"""`python -m tetraview train cutout`: the starter's cut-out network, for photos with busy backgrounds."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from ..options import add_loop_options, loop_settings, set_up, start_folder, train

log = logging.getLogger(__name__)

SUMMARY = "the starter's cut-out network: subjects before any background"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments to its parser."""
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder of object packs: train_*.npz, and val_*.npz for validation")
    add("--out", default="out/cutout", metavar="DIR", help="checkpoint, weights, curves and sample sheets (%(default)s)")
    add("--cache", metavar="DIR", help="rendered views, as the reconstructor's training makes them (OUT/views)")
    add("--batch", type=int, metavar="N", help="pictures a step (16)")
    add("--export", metavar="DIR", help="at the end write the weights there as float16, as the package ships them")
    add("--targets", type=int, default=10, metavar="N", help="target views rendered an object (%(default)s)")
    add("--px", type=int, default=128, help="side of rendered views (%(default)s)")
    add("--limit", type=int, metavar="N", help="render and use at most the first N shards of 64 objects")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that render (%(default)s)")
    add_loop_options(parser, start_from="weights to start from (random)", minutes=45.0, rate="2e-3", sheets="500")


def run(args: argparse.Namespace, views: Path) -> int:
    """Train; returns the exit status.

    Args:
        args: From `add_arguments`.
        views: Folder of the rendered views, `train` and `validation`.
    """
    from ...photos.cutout_network import CutoutNetwork
    from ..export import export_weights
    from ..loop import TrainingLoop
    from ..view_cache import ViewCache
    from .trainer import CutoutConfig, CutoutTask

    out, device, weights = Path(args.out), set_up(args), start_folder(args)
    chosen = {"batch": args.batch} if args.batch else {}
    network = CutoutNetwork() if weights is None else CutoutNetwork.from_pretrained(weights)
    validation = ViewCache(views / "validation")
    config = CutoutConfig(**loop_settings(args), **chosen)
    task = CutoutTask(network, config, ViewCache(views / "train"), validation if len(validation) else None, device)
    train(TrainingLoop(task, out))
    if args.export:
        log.info("%d bytes in %s", export_weights(out / "cutout", Path(args.export), CutoutNetwork), args.export)
    return 0
