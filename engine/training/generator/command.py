"""`python -m tetraview train autoencoder|generator|distill`: render, encode, train in a time budget, resume, save weights.

Under `accelerate launch -m tetraview train generator ...` one process a GPU trains; the first one renders and encodes.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequestError
from ..options import add_loop_options, loop_settings, set_up, start_folder, train

if TYPE_CHECKING:
    import torch

    from .grid_cache import GridCache, GridCacheConfig
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
    add("--batch", type=int, metavar="N", help="crops (8) or grids (16) a step and process")
    add("--px", type=int, default=128, help="side of a view (%(default)s; SDXL 512)")
    add("--limit", type=int, metavar="N", help="use at most N objects of each split")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that render (%(default)s)")
    start_from = {
        "autoencoder": "autoencoder to train on (the best linear one)",
        "generator": "pipeline to train on (starter, random)",
        "distill": "pipeline to distil (OUT/generator/best)",
    }
    rate = {"autoencoder": "1e-3", "generator": "6e-4", "distill": "2e-4"}
    add_loop_options(parser, start_from=start_from[stage], rate=rate[stage])
    if stage == "autoencoder":
        return
    add("--autoencoder", metavar="DIR", help="trained autoencoder (OUT/autoencoder/vae, or --start-from's own)")
    add("--text", metavar="DIR", help="folder of tokenizer/ and text_encoder/ (OUT/text, or --start-from's own)")
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
    if not sorted(Path(args.data).glob("train_*.npz")):
        raise InvalidRequestError(f"No train_*.npz in {args.data}: give --data the folder of the object packs.")
    try:
        import accelerate  # noqa: F401

        if getattr(args, "lora", 0):
            import peft  # noqa: F401
    except ImportError as error:
        raise InvalidRequestError(f"Training needs {error.name}: pip install 'tetraview[training]'.") from error
    device = set_up(args)
    return _run_autoencoder(args, device) if args.model == "autoencoder" else _run_denoiser(args, device)


def _run_autoencoder(args: argparse.Namespace, device: torch.device) -> int:
    from ...multiview.autoencoder import PatchAutoencoder
    from ...multiview.configs import starter_autoencoder
    from ..loop import TrainingLoop
    from .autoencoder import AutoencoderConfig, AutoencoderTask, draw_patches

    weights = start_folder(args)
    grids, unseen = _grids(args, "train"), _grids(args, "val")
    assert grids is not None
    chosen = {"batch": args.batch} if args.batch is not None else {}
    config = AutoencoderConfig(**loop_settings(args), **chosen, crop_px=args.px)
    if weights is not None:
        vae = PatchAutoencoder.from_pretrained(weights)
    else:
        vae = starter_autoencoder()
        vae.begin_linear(draw_patches(grids, PATCH_CROPS, args.px, vae.patch, args.seed))
    train(TrainingLoop(AutoencoderTask(vae, config, grids, unseen, device), Path(args.out) / "autoencoder"))
    return 0


def _run_denoiser(args: argparse.Namespace, device: torch.device) -> int:
    from ..loop import TrainingLoop
    from .trainer import GeneratorTask, make_accelerator

    accelerator = make_accelerator(device.type, not args.no_bf16)
    out = Path(args.out) / args.model
    pipeline = _distill_pipeline(args) if args.model == "distill" else _generator_pipeline(args)
    if accelerator.is_main_process:
        data = _training_data(args, pipeline, accelerator.device)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        data = _training_data(args, pipeline, accelerator.device)
    shared: dict[str, Any] = {
        **loop_settings(args),
        "checkpointing": args.checkpointing,
        "lora_rank": args.lora,
        "sheet_jobs": args.sheet_jobs,
    }
    task: GeneratorTask
    if args.model == "distill":
        from .consistency import ConsistencyConfig, ConsistencyTask

        task = ConsistencyTask(pipeline, _with_batch(ConsistencyConfig(**shared), args), data, accelerator.device)
    else:
        from .denoiser import DenoiserConfig, DenoiserTask

        config = _with_batch(DenoiserConfig(**shared, highest_level=args.highest_level), args)
        task = DenoiserTask(pipeline, config, data, accelerator.device)
    train(TrainingLoop(task, out, accelerator))
    if args.export and accelerator.is_main_process:
        from .export import export_pipeline

        log.info("%d bytes in %s", export_pipeline(pipeline, out / "best", Path(args.export), bool(args.lora)), args.export)
    return 0


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

    out, start = Path(args.out), start_folder(args, "model_index.json")
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
    if start is not None:
        return FourViewPipeline.from_pretrained(start, **given)
    components = starter_components(given.pop("tokenizer"), given.pop("text_encoder"))
    return FourViewPipeline(**{**components, **given})


def _distill_pipeline(args: argparse.Namespace) -> Any:
    from ...multiview.pipeline import FourViewPipeline

    folder = Path(args.start_from) if args.start_from else Path(args.out) / "generator" / "best"
    if not (folder / "model_index.json").exists():
        raise InvalidRequestError(f"There is no trained generator in {folder}: run `train generator` first.")
    return FourViewPipeline.from_pretrained(folder)
