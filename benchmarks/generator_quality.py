"""Quality of painted views by number of steps, with and without blobs and examples; needs no ground truth.

    .venv/bin/python benchmarks/generator_quality.py --generator engine/weights/starter/generator --prompts docs/prompts.json

Each row holds the share of samples whose four cells hold one separate object on clean ground (`clean`); how far stage two's
renders of the four views are from the views themselves, which is small only if they show one object (`stage two`, mean absolute
difference over the object); the share of colours asked for that the object shows (`colour`); the share of samples whose nearest
picture in the bank is of a like noun (`noun`: chance is a few per cent; with examples it says that the start was not lost); and
the share of samples nearer to a picture in the bank than `NEAR` (`copy`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.ndimage import label
from tetraview.engine.devices import use_all_cores
from tetraview.engine.job.views_phase import BLOB_STRENGTH
from tetraview.engine.models.registry import STARTER_GENERATOR, STARTER_MODEL
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.retrieval.colours import NAMED_COLOURS, nearest_names, split_colours
from tetraview.engine.retrieval.example_bank import ExampleBank
from tetraview.engine.training.generator.selection import Judge, load_judge

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

FEATURE_PX = 16
NEAR = 0.06
"""Mean absolute difference (premultiplied, 16 px a view, over what either covers) below which a sample counts as a copy."""
LIKE_NOUN = 0.6
SHOWN = 0.08
"""Share of an object's pixels that a colour needs to be seen."""
KIN = {
    "red": {"dark red"}, "dark red": {"red", "brown"}, "orange": {"brown"}, "brown": {"dark brown", "beige", "orange"},
    "yellow": {"beige", "orange"}, "green": {"dark green", "olive green"},
    "dark green": {"green"}, "teal": {"green", "dark green"},
    "blue": {"dark blue", "light blue"}, "light blue": {"blue"}, "dark blue": {"blue"}, "purple": {"dark blue", "pink"},
    "pink": {"purple", "red"}, "gray": {"light gray", "dark gray"}, "white": {"light gray"}, "black": {"dark gray"},
    "light gray": {"gray", "white"}, "dark gray": {"gray", "black"}, "olive green": {"green", "dark green"},
}  # fmt: skip
"""Names that light and shade make of a colour."""


@dataclass(frozen=True)
class Setting:
    """One row: how the views are painted."""

    name: str
    steps: int
    blobs: bool = True
    examples: bool = False
    guidance: float = 4.0


def is_clean(views: UInt8Array) -> bool:
    """Whether each of the views [4, S, S, 4] holds one object that touches no edge, on ground that is empty."""
    for alpha in views[..., 3]:
        solid = alpha >= 128
        regions, count = label(solid, np.ones((3, 3)))
        if count == 0 or solid[[0, -1]].any() or solid[:, [0, -1]].any():
            return False
        sizes = np.bincount(regions.ravel())[1:]
        if sizes.max() < 0.97 * solid.sum() or (alpha[~solid] > 32).mean() > 0.02:
            return False
    return True


def colours_shown(views: UInt8Array, prompt: str) -> float | None:
    """Share of the prompt's colours that the object shows; None if the prompt names none."""
    wanted, _ = split_colours(prompt)
    solid = views[..., 3] >= 128
    if not wanted:
        return None
    if not solid.any():
        return 0.0
    names = np.array(list(NAMED_COLOURS))[nearest_names(views[solid][None, :, :3])[0]]
    return float(np.mean([np.isin(names, [name, *KIN.get(name, ())]).mean() >= SHOWN for name in wanted]))


def feature(views: UInt8Array) -> FloatArray:
    """Premultiplied views from afar, float32 [4 * FEATURE_PX ** 2, 4] in 0..1."""
    small = np.stack([np.asarray(Image.fromarray(v).resize((FEATURE_PX, FEATURE_PX), Image.Resampling.BOX)) for v in views])
    rgba = small.reshape(-1, 4).astype(np.float32) / 255
    return np.concatenate([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)


def distances(one: FloatArray, others: FloatArray) -> FloatArray:
    """Mean absolute difference of a feature from others [N, ...], over what either covers, float32 [N]."""
    covered = np.maximum(one[None, :, 3], others[..., 3])
    return (np.abs(one - others).mean(-1) * covered).sum(1) / covered.sum(1).clip(1e-6)


def measure(
    setting: Setting, pipeline: FourViewPipeline, bank: ExampleBank, features: FloatArray, judge: Judge, prompts: Sequence[str],
    size: float,
) -> dict[str, float]:  # fmt: skip
    """The numbers of one row."""
    rows: dict[str, list[float]] = {"clean": [], "stage two": [], "colour": [], "noun": [], "copy": [], "seconds": []}
    for seed, prompt in enumerate(prompts):
        example = bank.pick(prompt) if setting.examples else None
        start = {"strength": BLOB_STRENGTH if setting.blobs else 1.0, "object_size": size}
        if example is not None:
            start = {"start_views": example.views, "strength": example.strength, "keep_start_detail": True}
        began = time.perf_counter()
        views = pipeline(
            prompt, num_inference_steps=setting.steps, guidance_scale=setting.guidance,
            generator=torch.Generator().manual_seed(seed), **start,
        ).rgba  # fmt: skip
        rows["seconds"].append(time.perf_counter() - began)
        rows["clean"].append(is_clean(views))
        rows["stage two"].append(judge.stage_two_error(views))
        colour = colours_shown(views, prompt)
        if colour is not None:
            rows["colour"].append(colour)
        away = distances(feature(views), features)
        rows["noun"].append(float(bank.similarities(prompt)[int(away.argmin())]) >= LIKE_NOUN)
        rows["copy"].append(float(away.min()) < NEAR)
    return {name: float(np.mean(values)) for name, values in rows.items()}


def settings_of(pipeline: FourViewPipeline, steps: Sequence[int]) -> list[Setting]:
    """The rows: each number of steps with examples, then what the start image does at the largest."""
    rows = [Setting(f"{n} steps, examples", n, examples=True) for n in steps]
    last = Setting(f"{steps[-1]} steps, blobs", steps[-1])
    return [*rows, last, replace(last, name=f"{steps[-1]} steps, noise alone", blobs=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=STARTER_GENERATOR, metavar="DIR")
    parser.add_argument("--examples", type=Path, metavar="DIR", help="generator whose bank is used (the same)")
    parser.add_argument("--prompts", type=Path, default=Path("docs/prompts.json"), metavar="FILE", help="JSON: lists of prompts")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4, 6, 8])
    parser.add_argument("--object-size", type=float, default=0.55)
    parser.add_argument("--limit", type=int, metavar="N", help="every so many prompts that N are left")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    args = parser.parse_args()
    use_all_cores()
    pipeline = FourViewPipeline.from_pretrained(args.generator)
    pipeline.set_progress_bar_config(disable=True)
    bank = ExampleBank.from_pretrained(args.examples or args.generator)
    features = np.stack([feature(bank.views(index)) for index in range(len(bank))])
    judge = load_judge(STARTER_MODEL, None, torch.device("cpu"))
    prompts = [prompt for group in json.loads(args.prompts.read_text()).values() for prompt in group]
    if args.limit:
        prompts = [prompts[i] for i in np.linspace(0, len(prompts) - 1, min(args.limit, len(prompts))).astype(int)]
    table = {}
    print(f"{len(prompts)} prompts\n{'':28} clean  stage two  colour   noun   copy  seconds")
    for setting in settings_of(pipeline, args.steps):
        row = table[setting.name] = measure(setting, pipeline, bank, features, judge, prompts, args.object_size)
        print(f"{setting.name:28} {row['clean']:5.0%}  {row['stage two']:9.4f}  {row['colour']:6.0%}  {row['noun']:5.0%}  "
              f"{row['copy']:5.0%}  {row['seconds']:7.2f}", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
