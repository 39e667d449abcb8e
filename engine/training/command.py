"""`python -m tetraview train MODEL`: render the views once, train in a time budget, resume, save weights."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequestError
from .cutout import command as cutout
from .generator import command as generator
from .retrieval import build_bank
from .text import command as text

if TYPE_CHECKING:
    from .view_cache import CacheConfig

log = logging.getLogger(__name__)


MODELS = {
    "reconstructor": "four views to a field: stage two of the system",
    "cutout": cutout.SUMMARY,
    "text": text.SUMMARY,
    **generator.STAGES,
    "examples": "the pictures from which painting may begin: stored, not trained",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser: a sub-command for each model."""
    parser.description = "Train a model. Interrupt it at any time: started again with the same --out it goes on where it stopped."
    models = parser.add_subparsers(dest="model", metavar="MODEL", required=True)
    for name, summary in MODELS.items():
        model = models.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == "reconstructor":
            _add_reconstructor_arguments(model)
        elif name == "cutout":
            cutout.add_arguments(model)
        elif name == "text":
            text.add_arguments(model)
        elif name == "examples":
            build_bank.add_arguments(model)
        else:
            generator.add_arguments(model, name)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises:
        InvalidRequestError: Something the training needs is missing.
    """
    if args.model == "reconstructor":
        return _run_reconstructor(args)
    if args.model == "cutout":
        return cutout.run(args, _rendered_views(args))
    others = {"text": text.run, "examples": build_bank.run}
    return others.get(args.model, generator.run)(args)


def _add_reconstructor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = textwrap.fill(
        "Train the reconstructor. The views of all objects are rendered once (Embree) into the cache folder; then stage one "
        "trains volumetrically, and stage two tunes the signed distance through a mesh render. The averaged weights are in "
        "OUT/reconstructor, ready for `reconstruct --model`.",
        100,
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder of object packs: train_*.npz, and val_*.npz for validation")
    add("--out", default="out/train", metavar="DIR", help="checkpoint, weights, curves and sample sheets (%(default)s)")
    add("--cache", metavar="DIR", help="rendered views (OUT/views)")
    add("--stage", choices=["volumetric", "mesh"], default="volumetric", help="(%(default)s)")
    add("--minutes", type=float, default=60.0, help="time budget of the stage over all resumptions (%(default)s)")
    add("--max-steps", type=int, metavar="N", help="stop after N steps")
    add("--start-from", metavar="DIR", help="weights to start from; stage mesh needs them (OUT/reconstructor)")
    add("--export", metavar="DIR", help="at the end write the weights there as float16, as the package ships them")
    add("--objects", type=int, metavar="N", help="objects a step (6; stage mesh 3)")
    add("--rays", type=int, metavar="N", help="target rays an object (640; stage mesh 192)")
    add("--ema-decay", type=float, metavar="DECAY", help="decay of the weights' moving average (0.995; stage mesh 0.99)")
    add("--warmup-steps", type=int, metavar="N", help="steps up to the peak rate (200; stage mesh 20)")
    add("--patch", type=int, metavar="PX", help="draw rays in squares of this side, for SSIM and gradient losses (8)")
    add("--appearances", type=int, default=2, metavar="N",
        help="renders of each object: as it is, then with random solid textures over its own (%(default)s)")  # fmt: skip
    add("--jittered", type=float, metavar="SHARE", help="share of objects seen by jittered cameras, half of those lit")
    add("--spoiled", type=float, metavar="SHARE", help="share of objects whose inputs are spoiled as photos are")
    add("--source-weight", type=source_weight, action="append", default=[], metavar="SOURCE=WEIGHT",
        help="draw the objects of a source so many times as often; may be given several times")  # fmt: skip
    add("--learning-rate", type=float, metavar="RATE", help="peak rate (1e-3; stage mesh 2e-4)")
    add("--threads", type=int, metavar="N", help="processor threads (all)")
    add("--targets", type=int, default=12, metavar="N", help="target views rendered an object (%(default)s)")
    add("--px", type=int, default=128, help="side of inputs and targets (%(default)s)")
    add("--limit", type=int, metavar="N", help="render and use at most the first N shards of 64 objects")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that render (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (%(default)s)")
    add("--no-bf16", action="store_true", help="keep the U-Net in float32")
    add("--compile", action="store_true", help="fuse the U-Net: slow to start, then a fifth faster (needs a C++ compiler)")
    add("--seed", type=int, default=0)


def source_weight(text: str) -> tuple[str, float]:
    """A source and its weight from "SOURCE=WEIGHT".

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    name, _, weight = text.rpartition("=")
    try:
        if name and float(weight) >= 0:
            return name, float(weight)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=WEIGHT, as in ycb=3")


def _run_reconstructor(args: argparse.Namespace) -> int:
    """Train the reconstructor; returns the exit status.

    Raises:
        InvalidRequestError: No packs in the data folder, or stage two without weights to start from.
    """
    import torch
    from tqdm import tqdm

    from ..devices import choose_device
    from ..reconstructor import Reconstructor
    from .export import export_weights
    from .reconstructor import CONDITION_CHANNELS, TrainConfig, Trainer, mesh_stage, start_from_weights, train
    from .view_cache import ViewCache

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    out, views = Path(args.out), _rendered_views(args)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    device = torch.device(choose_device(args.device).name)
    weights = Path(args.start_from) if args.start_from else out / "reconstructor"
    config = TrainConfig(minutes=args.minutes, seed=args.seed)
    checkpoint_folder = out
    if args.stage == "mesh":
        if not (weights / "config.json").exists():
            raise InvalidRequestError(f"{weights} holds no weights to start stage mesh from: train stage volumetric first.")
        config, checkpoint_folder = mesh_stage(args.minutes, args.seed), out / "mesh"
    given = {key: getattr(args, key) for key in ("objects", "rays", "jittered", "spoiled", "patch")}
    batch = {key: value for key, value in given.items() if value is not None}
    config = dataclasses.replace(
        config,
        max_steps=args.max_steps,
        learning_rate=args.learning_rate or config.learning_rate,
        ema_decay=args.ema_decay or config.ema_decay,
        warmup_steps=args.warmup_steps or config.warmup_steps,
        source_weights=dict(args.source_weight),
        bf16=not args.no_bf16,
        compile=args.compile,
        batch=dataclasses.replace(config.batch, **batch),
    )
    from_weights = args.stage == "mesh" or args.start_from
    told = {"condition_channels": CONDITION_CHANNELS}
    model = start_from_weights(weights, **told) if from_weights else Reconstructor(input_px=args.px, **told)
    trainer = Trainer(model, config, device)
    if (checkpoint_folder / "checkpoint.pt").exists():
        trainer.load(checkpoint_folder / "checkpoint.pt")
        log.info("resuming at step %d, %.0f s", trainer.step, trainer.seconds)
    validation = ViewCache(views / "validation")
    started = time.perf_counter()
    steps = train(trainer, ViewCache(views / "train"), validation if len(validation) else None, checkpoint_folder)
    try:
        with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}") as bar:
            for terms in steps:
                bar.n = min(100, round(100 * trainer.progress, 1))
                bar.set_postfix_str(f"step {trainer.step}, loss {terms['loss']:.4f}")
    finally:
        steps.close()  # type: ignore[attr-defined]
    if args.export:
        log.info("%d bytes in %s", export_weights(checkpoint_folder / "reconstructor", Path(args.export)), args.export)
    seconds = time.perf_counter() - started
    log.info("step %d after %.0f s; weights in %s", trainer.step, seconds, checkpoint_folder / "reconstructor")
    return 0


def _rendered_views(args: argparse.Namespace) -> Path:
    """The folder with the views of all objects, `train` and `validation`; what is missing is rendered.

    Raises:
        InvalidRequestError: No packs in the data folder.
    """
    from .view_cache import CacheConfig

    data = Path(args.data)
    views = Path(args.cache) if args.cache else Path(args.out) / "views"
    config = CacheConfig(px=args.px, targets=args.targets, seed=args.seed, appearances=getattr(args, "appearances", 1))
    _render_missing(sorted(data.glob("train_*.npz")), data, views / "train", config, args)
    held_out = dataclasses.replace(config, seed=args.seed + 1, appearances=1)
    _render_missing(sorted(data.glob("val_*.npz")), data, views / "validation", held_out, args)
    return views


def _render_missing(packs: list[Path], data: Path, folder: Path, config: CacheConfig, args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from .view_cache import build_view_cache

    if not packs and folder.name == "train":
        raise InvalidRequestError(f"No train_*.npz in {data}: give --data the folder of the object packs.")
    shards = build_view_cache(packs, folder, config, workers=args.workers, limit_shards=args.limit)
    for shard in tqdm(shards, f"{folder.name} views", unit="shard"):
        log.debug("rendered %s", shard)
