"""`python -m tetraview train cutout`: the starter's cut-out network, for photos with busy backgrounds."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger(__name__)

SUMMARY = "the starter's cut-out network: subjects before any background"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments to its parser."""
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder of object packs: train_*.npz, and val_*.npz for validation")
    add("--out", default="out/cutout", metavar="DIR", help="checkpoint, weights, curves and sample sheets (%(default)s)")
    add("--cache", metavar="DIR", help="rendered views, as the reconstructor's training makes them (OUT/views)")
    add("--minutes", type=float, default=45.0, help="time budget over all resumptions (%(default)s)")
    add("--max-steps", type=int, metavar="N", help="stop after N steps")
    add("--batch", type=int, metavar="N", help="pictures a step (16)")
    add("--export", metavar="DIR", help="at the end write the weights there as float16, as the package ships them")
    add("--targets", type=int, default=10, metavar="N", help="target views rendered an object (%(default)s)")
    add("--px", type=int, default=128, help="side of rendered views (%(default)s)")
    add("--limit", type=int, metavar="N", help="render and use at most the first N shards of 64 objects")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that render (%(default)s)")
    add("--threads", type=int, metavar="N", help="threads of the processor (all)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (%(default)s)")
    add("--no-bf16", action="store_true", help="keep the network in float32")
    add("--compile", action="store_true", help="fuse the network: slow to start, then faster (needs a C++ compiler)")
    add("--seed", type=int, default=0)


def run(args: argparse.Namespace, views: Path) -> int:
    """Train; returns the exit status.

    Args:
        args: From `add_arguments`.
        views: Folder of the rendered views, `train` and `validation`.
    """
    import cv2
    import torch
    from tqdm import tqdm

    from ...devices import choose_device
    from ...photos.cutout_network import CutoutNetwork
    from ..curves import CurveLog
    from ..export import export_weights
    from ..generator.run import resume, train
    from ..view_cache import ViewCache
    from .trainer import LOSSES, CutoutConfig, CutoutTrainer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    threads = args.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(args.seed)
    out, device = Path(args.out), torch.device(choose_device(args.device).name)
    chosen = {"batch": args.batch} if args.batch else {}
    config = CutoutConfig(
        minutes=args.minutes, max_steps=args.max_steps, bf16=not args.no_bf16, compile=args.compile, seed=args.seed, **chosen
    )
    validation = ViewCache(views / "validation")
    trainer = CutoutTrainer(
        CutoutNetwork(), config, ViewCache(views / "train"), validation if len(validation) else None, out, device
    )
    if resume(trainer, out, device):
        log.info("resuming at step %d, %.0f s", trainer.clock.step, trainer.clock.seconds)
    out.mkdir(parents=True, exist_ok=True)
    steps = train(trainer, out, CurveLog(out, losses=LOSSES, score="overlap"))
    try:
        with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}") as bar:
            for terms in steps:
                bar.n = min(100, round(100 * trainer.clock.progress, 1))
                bar.set_postfix_str(f"step {trainer.clock.step}, loss {terms['loss']:.4f}")
    finally:
        steps.close()  # type: ignore[attr-defined]
    if args.export:
        log.info("%d bytes in %s", export_weights(out / "cutout", Path(args.export), CutoutNetwork), args.export)
    log.info("step %d after %.0f s; weights in %s", trainer.clock.step, trainer.clock.seconds, out / "cutout")
    return 0
