"""Ablate the reconstructor's training: short runs that differ in one setting each, measured alike.

    .venv/bin/python scripts/ablate_reconstructor.py --cache OUT/views --out out/ablations [--steps 300] [--only NAME ...]

The cache is the one that `train reconstructor` renders (folders `train` and `validation`). Runs of the first group start from
nothing, those of the second go on from the shipped weights: more data and other weights only show where each object has been
seen before. Each run's figures are kept in `OUT/NAME.json`, so an interrupted set goes on; the table is `OUT/table.md`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tetraview.engine.cameras import RIG_FOVY_DEG
from tetraview.engine.imaging.colour import on_white
from tetraview.engine.imaging.compare import psnr
from tetraview.engine.job.folder import write_json
from tetraview.engine.models.registry import STARTER_MODEL
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.reconstructor.encoded import PointSamples
from tetraview.engine.rendering.volumetric import render_field
from tetraview.engine.training.batches import BatchConfig
from tetraview.engine.training.loop import TrainingLoop
from tetraview.engine.training.losses import LossConfig
from tetraview.engine.training.reconstructor import ReconstructorTask, TrainConfig
from tetraview.engine.training.view_cache import ViewCache
from tqdm import tqdm

BATCH = BatchConfig(objects=3, rays=320, jittered=0.15, mirror=0.5, turn=0.1)
LOSS = LossConfig()
PALETTE_SOURCES = ("quaternius", "kenney", "kaykit")
"""The flat-coloured low-poly packs, four fifths of the objects."""
CLEAN, JITTERED = 0, 1
VIEWS = 2
SCANS_AT_MOST, OTHERS = 8, 20


@dataclass(frozen=True)
class Variant:
    """One run: how it differs, in words, and in settings.

    Attributes:
        group: "from nothing" or "from the shipped weights".
        difference: For the table.
        model: Keyword arguments of `Reconstructor`.
        batch, loss: Settings of the training.
        source_weights: As in `TrainConfig`.
        seed: Seed of weights, batches and rays.
        no_view_features: Points read the planes alone.
    """

    group: str
    difference: str
    model: dict[str, Any] = field(default_factory=dict)
    batch: BatchConfig = BATCH
    loss: LossConfig = LOSS
    source_weights: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    no_view_features: bool = False


NEW, MORE = "from nothing", "from the shipped weights"
PATCHES = replace(BATCH, patch=8)

VARIANTS: dict[str, Variant] = {
    "base": Variant(NEW, "as shipped (128 px, 2 blocks a level, 320 rays)"),
    "seed": Variant(NEW, "the same, another seed", seed=1),
    "px64": Variant(NEW, "inputs of 64 px", {"input_px": 64, "patch_px": 2}),
    "planes_only": Variant(NEW, "no pixel-aligned features", no_view_features=True),
    "no_learned_views": Variant(NEW, "of the views only colour and silhouette, no learned features", {"shallow_channels": 1}),
    "blocks1": Variant(NEW, "U-Net: 1 block a level", {"blocks_per_level": 1}),
    "blocks3": Variant(NEW, "U-Net: 3 blocks a level", {"blocks_per_level": 3}),
    "rays80": Variant(NEW, "80 rays an object", batch=replace(BATCH, rays=80)),
    "rays1280": Variant(NEW, "1,280 rays an object", batch=replace(BATCH, rays=1280)),
    "no_opacity": Variant(NEW, "no opacity loss", loss=replace(LOSS, opacity=0.0)),
    "no_termination": Variant(NEW, "no likelihood of where rays end", loss=replace(LOSS, termination=0.0)),
    "no_occupancy": Variant(NEW, "no likelihood of occupancy", loss=replace(LOSS, occupancy=0.0)),
    "no_surface": Variant(NEW, "no albedo loss at the surface", loss=replace(LOSS, surface=0.0)),
    "patches": Variant(NEW, "rays in squares of 8 x 8", batch=PATCHES),
    "gradient": Variant(NEW, "the same, gradient loss 0.1", batch=PATCHES, loss=replace(LOSS, gradient=0.1)),
    "ssim": Variant(NEW, "the same, SSIM loss 0.02", batch=PATCHES, loss=replace(LOSS, ssim=0.02)),
    "more": Variant(MORE, "as trained"),
    "more_seed": Variant(MORE, "the same, another seed", seed=1),
    "no_jitter": Variant(MORE, "no jittered, lit inputs", batch=replace(BATCH, jittered=0.0)),
    "jitter_half": Variant(MORE, "half of the inputs jittered, half of those lit", batch=replace(BATCH, jittered=0.5)),
    "no_mirror": Variant(MORE, "no mirroring, no quarter turns", batch=replace(BATCH, mirror=0.0, turn=0.0)),
    "no_recolour": Variant(MORE, "no colour variants", batch=replace(BATCH, recolour=0.0)),
    "recolour_half": Variant(MORE, "half of the objects in other colours", batch=replace(BATCH, recolour=0.5)),
    "scans": Variant(MORE, "scans six times as often", source_weights={"ycb": 6.0}),
    "less_low_poly": Variant(
        MORE, "low-poly packs half as often", source_weights=dict.fromkeys(PALETTE_SOURCES, 0.5)
    ),
}  # fmt: skip


def without_view_features(model: Reconstructor) -> None:
    """Let points read nothing of the views but the hull."""
    sample: Callable[..., PointSamples] = model.sample

    def planes_alone(*arguments: Any) -> PointSamples:
        found = sample(*arguments)
        return replace(found, views=torch.zeros_like(found.views))

    model.__dict__["sample"] = planes_alone  # hides the method, of this model only


def train(variant: Variant, cache: ViewCache, steps: int, out: Path) -> tuple[Reconstructor, float]:
    """The averaged model after `steps` steps, and seconds a step."""
    torch.manual_seed(variant.seed)
    fresh = variant.group == NEW
    model = Reconstructor(**variant.model) if fresh else Reconstructor.from_pretrained(STARTER_MODEL)
    if variant.no_view_features:
        without_view_features(model)
    config = TrainConfig(
        minutes=1e6, max_steps=steps, learning_rate=1e-3 if fresh else 3e-4, warmup_steps=max(1, steps // 10), ema_decay=0.98,
        source_weights=variant.source_weights, seed=variant.seed, batch=variant.batch, loss=variant.loss,
    )  # fmt: skip
    loop = TrainingLoop(ReconstructorTask(model, config, cache, None, torch.device("cpu")), out)
    for _ in tqdm(range(steps), variant.difference, mininterval=10):
        loop.step()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), loop.average.values, strict=True):
            parameter.copy_(value)
    return model.eval(), loop.clock.seconds / steps


def measured_objects(validation: ViewCache) -> list[int]:
    """Scans first, then others evenly spread."""
    scans = [i for i, meta in enumerate(validation.meta) if meta["scan"]]
    others = [i for i, meta in enumerate(validation.meta) if not meta["scan"]]
    return [*scans[:SCANS_AT_MOST], *(others[int(i)] for i in np.linspace(0, len(others) - 1, OTHERS))]


def measure(model: Reconstructor, validation: ViewCache) -> dict[str, float]:
    """Mean PSNR, dB, of volumetric renders of unseen views, by input and kind of object."""
    scores: dict[str, list[float]] = {}
    for index in measured_objects(validation):
        item = validation[index]
        kind = "scans" if validation.meta[index]["scan"] else "others"
        for inputs, label in ((CLEAN, "clean"), (JITTERED, "jittered")):
            model_field = model.encode(item["inputs"][inputs])
            for view in range(VIEWS):
                truth = on_white(np.asarray(item["targets"][view]))
                camera = np.asarray(item["c2w"][view])
                image = on_white(render_field(model_field, camera, RIG_FOVY_DEG, truth.shape[0], samples=48))
                value = psnr(image, truth)
                scores.setdefault(label, []).append(value)
                if inputs == CLEAN:
                    scores.setdefault(kind, []).append(value)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def table(results: dict[str, dict[str, Any]], steps: int) -> str:
    """Markdown, in the order of `VARIANTS`; differences from the first run of each group."""
    lines = [
        f"{steps} steps of {BATCH.objects} objects each; volumetric PSNR, dB.", "",
        "| run | clean | against base | scans | others | jittered inputs | s a step |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    group, base = "", 0.0
    for name, variant in VARIANTS.items():
        if name not in results:
            continue
        figures = results[name]
        if variant.group != group:
            group, base = variant.group, figures["clean"]
            lines.append(f"| **{group}** | | | | | | |")
        columns = [f"{figures['clean']:.2f}", f"{figures['clean'] - base:+.2f}"]
        columns += [f"{figures[key]:.2f}" for key in ("scans", "others", "jittered", "seconds_a_step")]
        lines.append(f"| {variant.difference} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True, type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1, help="runs side by side, of one thread each, are the faster way")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cache, validation = ViewCache(args.cache / "train"), ViewCache(args.cache / "validation")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        kept = args.out / f"{name}.json"
        if kept.exists():
            continue
        started = time.perf_counter()
        model, seconds = train(VARIANTS[name], cache, args.steps, args.out / name)
        figures = measure(model, validation) | {"seconds_a_step": seconds, "seconds": time.perf_counter() - started}
        write_json(kept, figures)
        print(name, figures, flush=True)
    found = {name: json.loads(path.read_text()) for name in VARIANTS if (path := args.out / f"{name}.json").exists()}
    text = table(found, args.steps)
    (args.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
