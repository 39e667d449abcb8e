"""`python -m tetraview train MODEL`: render the views once, train in a time budget, resume, save weights."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequestError
from .cutout import command as cutout
from .generator import command as generator
from .options import add_loop_options, loop_settings, set_up, start_folder, train
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
    add("--export", metavar="DIR", help="at the end write the weights there as float16, as the package ships them")
    add("--objects", type=int, metavar="N", help="objects a step (6; stage mesh 3)")
    add("--rays", type=int, metavar="N", help="target rays an object (640; stage mesh 192)")
    add("--patch", type=int, metavar="PX", help="draw rays in squares of this side, for SSIM and gradient losses (8)")
    add("--appearances", type=int, default=2, metavar="N",
        help="renders of each object: as it is, then with random solid textures over its own (%(default)s)")  # fmt: skip
    add("--jittered", type=float, metavar="SHARE", help="share of objects seen by jittered cameras, half of those lit")
    add("--spoiled", type=float, metavar="SHARE", help="share of objects whose inputs get the defects of photos")
    add("--source-weight", type=source_weight, action="append", default=[], metavar="SOURCE=WEIGHT",
        help="draw the objects of a source so many times as often; may be given several times")  # fmt: skip
    add("--targets", type=int, default=12, metavar="N", help="target views rendered an object (%(default)s)")
    add("--px", type=int, default=128, help="side of inputs and targets (%(default)s)")
    add("--limit", type=int, metavar="N", help="render and use at most the first N shards of 64 objects")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that render (%(default)s)")
    add_loop_options(
        parser, start_from="weights to start from; stage mesh needs them (OUT/reconstructor)", rate="1e-3; stage mesh 2e-4",
        sheets="every 7 minutes",
    )  # fmt: skip


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
    from ..reconstructor import Reconstructor
    from .export import export_weights
    from .loop import TrainingLoop
    from .reconstructor import CONDITION_CHANNELS, ReconstructorTask, TrainConfig, mesh_stage, start_from_weights
    from .view_cache import ViewCache

    out, views, device = Path(args.out), _rendered_views(args), set_up(args)
    weights = start_folder(args)
    config = TrainConfig()
    if args.stage == "mesh":
        weights = weights or out / "reconstructor"
        if not (weights / "config.json").exists():
            raise InvalidRequestError(f"{weights} holds no weights to start stage mesh from: train stage volumetric first.")
        config, out = mesh_stage(), out / "mesh"
    given = {key: getattr(args, key) for key in ("objects", "rays", "jittered", "spoiled", "patch")}
    batch = {key: value for key, value in given.items() if value is not None}
    settings = {**loop_settings(args), "source_weights": dict(args.source_weight)}
    if args.sheet_every is not None:
        settings["sheet_every_s"] = None
    config = dataclasses.replace(config, **settings, batch=dataclasses.replace(config.batch, **batch))
    told = {"condition_channels": CONDITION_CHANNELS}
    model = Reconstructor(input_px=args.px, **told) if weights is None else start_from_weights(weights, **told)
    validation = ViewCache(views / "validation")
    task = ReconstructorTask(model, config, ViewCache(views / "train"), validation if len(validation) else None, device)
    train(TrainingLoop(task, out))
    if args.export:
        log.info("%d bytes in %s", export_weights(out / "reconstructor", Path(args.export)), args.export)
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
