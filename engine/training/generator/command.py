"""`python -m tetraview train autoencoder|generator|distill`: render, encode, train in a time budget, resume, save weights.

Under `accelerate launch -m tetraview train generator ...` one process a GPU trains; the first one renders and encodes.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequestError

if TYPE_CHECKING:
    import torch

    from ..curves import CurveLog
    from .grid_cache import GridCache, GridCacheConfig
    from .run import Trainer
    from .trainer import TrainingData

log = logging.getLogger(__name__)

PATCH_CROPS = 400
"""Crops of whose patches the autoencoder's linear part is made."""

STAGES = {
    "autoencoder": "the starter's autoencoder: views to latents and back",
    "generator": "the four-view denoiser, on the latents of a trained autoencoder",
    "distill": "few-step distillation of a trained generator",
}


def add_arguments(parser: argparse.ArgumentParser, stage: str) -> None:
    """Add a stage's arguments to its parser."""
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder of object packs: train_*.npz, and val_*.npz for the sample sheets")
    add("--out", default="out/generator", metavar="DIR", help="all stages' results, each in a folder of its own (%(default)s)")
    add("--cache", metavar="DIR", help="rendered grids and their latents (OUT/cache)")
    add("--minutes", type=float, default=60.0, help="time budget of the stage over all resumptions (%(default)s)")
    add("--max-steps", type=int, metavar="N", help="stop after N steps")
    add("--batch", type=int, metavar="N", help="crops (8) or grids (16) a step and process")
    add("--learning-rate", type=float, metavar="RATE", help="peak of the schedule")
    add("--sheet-every", type=int, default=1000, metavar="N", help="steps between sample sheets (%(default)s)")
    add("--px", type=int, default=128, help="side of a view (%(default)s; SDXL 512)")
    add("--limit", type=int, metavar="N", help="use at most N objects of each split")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that render (%(default)s)")
    add("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="threads of a CPU that train (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (%(default)s)")
    add("--no-bf16", action="store_true", help="keep everything in float32")
    add("--compile", action="store_true", help="fuse the network: slow to start, then faster (needs a C++ compiler)")
    add("--seed", type=int, default=0)
    if stage == "autoencoder":
        return
    add("--start-from", metavar="DIR", help="pipeline to train on (starter, random) or to distil (OUT/generator/best)")
    add("--autoencoder", metavar="DIR", help="trained autoencoder (OUT/autoencoder/vae, or --start-from's own)")
    add("--text", metavar="DIR", help="folder of tokenizer/ and text_encoder/ (OUT/text, or --start-from's own)")
    add("--accumulate", type=int, default=1, metavar="N", help="batches a step, one after another (%(default)s)")
    add("--checkpointing", action="store_true", help="gradient checkpointing: less memory, slower")
    add(
        "--lora",
        type=int,
        default=0,
        metavar="RANK",
        help="train low-rank additions to attention (needs peft); 0: everything",
    )
    if stage == "generator":
        add(
            "--highest-level",
            type=float,
            default=1.0,
            metavar="SHARE",
            help="train on this share of noise levels only (%(default)s)",
        )
    add("--sheet-jobs", type=int, default=16, metavar="N", help="rows of a sample sheet (%(default)s)")
    add("--reconstructor", metavar="DIR", help="stage two, which judges the checkpoints (the package's weights)")
    add("--no-judge", action="store_true", help="choose checkpoints by PSNR of repainted views only")
    add("--clip", metavar="DIR", help="CLIP weights, to report the CLIP score as well")
    add("--export", metavar="DIR", help="at the end write the best pipeline there as float16, as the package ships it")


def run(args: argparse.Namespace) -> int:
    """Run a stage; returns the exit status.

    Raises:
        InvalidRequestError: Packs, weights or packages are missing, or a cache is of other settings.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    if not sorted(Path(args.data).glob("train_*.npz")):
        raise InvalidRequestError(f"No train_*.npz in {args.data}: give --data the folder of the object packs.")
    try:
        import accelerate  # noqa: F401

        if getattr(args, "lora", 0):
            import peft  # noqa: F401
    except ImportError as error:
        raise InvalidRequestError(f"Training needs {error.name}: pip install 'tetraview[training]'.") from error
    import torch

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    return _run_autoencoder(args) if args.model == "autoencoder" else _run_denoiser(args)


def _run_autoencoder(args: argparse.Namespace) -> int:
    import torch

    from ...devices import choose_device
    from ...multiview.configs import starter_autoencoder
    from ..curves import CurveLog
    from .autoencoder import AutoencoderConfig, AutoencoderTrainer, draw_patches

    grids, unseen = _grids(args, "train"), _grids(args, "val")
    assert grids is not None
    device, out = torch.device(choose_device(args.device).name), Path(args.out) / "autoencoder"
    config = dataclasses.replace(AutoencoderConfig(), crop_px=args.px, **_settings(args, batch=True))
    vae = starter_autoencoder()
    vae.begin_linear(draw_patches(grids, PATCH_CROPS, args.px, vae.patch, args.seed))
    trainer = AutoencoderTrainer(vae, config, grids, unseen, out, device)
    return _train(trainer, out, CurveLog(out, losses=("colour", "gradient", "alpha", "moments")), device)


def _run_denoiser(args: argparse.Namespace) -> int:
    from ...devices import choose_device
    from ..curves import CurveLog
    from .trainer import make_accelerator

    accelerator = make_accelerator(choose_device(args.device).name, not args.no_bf16)
    out = Path(args.out) / args.model
    pipeline = _distill_pipeline(args) if args.model == "distill" else _generator_pipeline(args)
    if accelerator.is_main_process:
        data = _training_data(args, pipeline, accelerator.device)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        data = _training_data(args, pipeline, accelerator.device)
    shared: dict[str, Any] = {
        "accumulate": args.accumulate,
        "checkpointing": args.checkpointing,
        "lora_rank": args.lora,
        "sheet_jobs": args.sheet_jobs,
        **_settings(args, batch=False),
    }
    trainer: Trainer
    if args.model == "distill":
        from .consistency import ConsistencyConfig, ConsistencyTrainer

        distil_config = _with_batch(ConsistencyConfig(**shared), args)
        trainer = ConsistencyTrainer(pipeline, distil_config, data, out, accelerator)
    else:
        from .denoiser import DenoiserConfig, DenoiserTrainer

        trainer = DenoiserTrainer(
            pipeline, _with_batch(DenoiserConfig(**shared, highest_level=args.highest_level), args), data, out, accelerator
        )
    curves = CurveLog(out, losses=("loss", "error"), score="known_psnr" if args.no_judge else "stage_two")
    status = _train(trainer, out, curves, accelerator.device)
    if args.export and accelerator.is_main_process:
        from .export import export_pipeline

        log.info("%d bytes in %s", export_pipeline(pipeline, out / "best", Path(args.export), bool(args.lora)), args.export)
    return status


def _train(trainer: Trainer, out: Path, curves: CurveLog, device: torch.device) -> int:
    from tqdm import tqdm

    from .run import resume, train

    if resume(trainer, out, device):
        log.info("resuming at step %d, %.0f s", trainer.clock.step, trainer.clock.seconds)
    started, steps = time.perf_counter(), train(trainer, out, curves)
    try:
        with tqdm(
            total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}", disable=not trainer.is_main
        ) as bar:
            for terms in steps:
                bar.n = min(100, round(100 * trainer.clock.progress, 1))
                bar.set_postfix_str(f"step {trainer.clock.step}, loss {terms['loss']:.4f}")
    finally:
        steps.close()  # type: ignore[attr-defined]
    log.info("step %d after %.0f s; weights in %s", trainer.clock.step, time.perf_counter() - started, out)
    return 0


def _settings(args: argparse.Namespace, *, batch: bool) -> dict[str, Any]:
    """The settings of `RunConfig` that were given."""
    settings = {
        "minutes": args.minutes,
        "max_steps": args.max_steps,
        "bf16": not args.no_bf16,
        "compile": args.compile,
        "sheet_every": args.sheet_every,
        "seed": args.seed,
    }
    if args.learning_rate is not None:
        settings["learning_rate"] = args.learning_rate
    if batch and args.batch is not None:
        settings["batch"] = args.batch
    return settings


def _with_batch(config: Any, args: argparse.Namespace) -> Any:
    return config if args.batch is None else dataclasses.replace(config, batch=dataclasses.replace(config.batch, size=args.batch))


def _grids(args: argparse.Namespace, split: str) -> GridCache | None:
    """Grids of a split, rendered now where missing; None if there are no packs of it."""
    from tqdm import tqdm

    from .grid_cache import UNLIT, GridCache, GridCacheConfig, build_grid_cache

    packs = sorted(Path(args.data).glob(f"{split}_*.npz"))
    if not packs:
        return None
    folder = _cache(args) / f"grids_{split}"
    config: GridCacheConfig = GridCacheConfig(px=args.px, limit=args.limit, seed=args.seed)
    if split == "val":
        config = dataclasses.replace(config, kinds=(UNLIT,), seed=args.seed + 1)
    try:
        for _ in tqdm(build_grid_cache(packs, folder, config, workers=args.workers), f"{split} grids", unit="shard"):
            pass
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error
    return GridCache(folder)


def _cache(args: argparse.Namespace) -> Path:
    return Path(args.cache) if args.cache else Path(args.out) / "cache"


def _training_data(args: argparse.Namespace, pipeline: Any, device: torch.device) -> TrainingData:
    from tqdm import tqdm

    from ...models.registry import STARTER_MODEL
    from .latents import LatentCache, build_latents
    from .selection import load_judge
    from .trainer import TrainingData

    if pipeline.view_px != args.px:
        raise InvalidRequestError(f"This generator's views have {pipeline.view_px} px: give --px {pipeline.view_px}.")
    grids, unseen = _grids(args, "train"), _grids(args, "val")
    assert grids is not None
    folder = _cache(args) / "latents"
    for _ in tqdm(build_latents(pipeline.vae, grids, folder, device, bf16=not args.no_bf16), "latents", unit="shard"):
        pass
    reconstructor = None if args.no_judge else Path(args.reconstructor or STARTER_MODEL)
    judge = load_judge(reconstructor, Path(args.clip) if args.clip else None, device)
    return TrainingData(LatentCache(folder, grids), unseen, judge)


def _generator_pipeline(args: argparse.Namespace) -> Any:
    """The pipeline given, or the starter with trained autoencoder and text table and a fresh denoiser."""
    from ...multiview.autoencoder import PatchAutoencoder
    from ...multiview.configs import starter_components
    from ...multiview.pipeline import FourViewPipeline
    from ...multiview.text.encoder import StarterTextEncoder
    from ...multiview.text.tokenizer import StarterTokenizer

    out = Path(args.out)
    given: dict[str, Any] = {}
    autoencoder = Path(args.autoencoder) if args.autoencoder else None if args.start_from else out / "autoencoder" / "vae"
    if autoencoder is not None:
        if not (autoencoder / "config.json").exists():
            raise InvalidRequestError(f"There is no trained autoencoder in {autoencoder}: run `train autoencoder` first.")
        given["vae"] = PatchAutoencoder.from_pretrained(autoencoder)
    text = Path(args.text) if args.text else None if args.start_from else out / "text"
    if text is not None:
        if not (text / "text_encoder").exists():
            raise InvalidRequestError(f"There is no text encoder in {text}: run `train text` first.")
        given["tokenizer"] = StarterTokenizer.from_pretrained(text / "tokenizer")
        given["text_encoder"] = StarterTextEncoder.from_pretrained(text / "text_encoder")
    if args.start_from:
        return FourViewPipeline.from_pretrained(args.start_from, **given)
    components = starter_components(given.pop("tokenizer"), given.pop("text_encoder"))
    return FourViewPipeline(**{**components, **given})


def _distill_pipeline(args: argparse.Namespace) -> Any:
    from ...multiview.pipeline import FourViewPipeline

    folder = Path(args.start_from) if args.start_from else Path(args.out) / "generator" / "best"
    if not (folder / "model_index.json").exists():
        raise InvalidRequestError(f"There is no trained generator in {folder}: run `train generator` first.")
    return FourViewPipeline.from_pretrained(folder)
