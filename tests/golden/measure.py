"""Measures the product on fixed inputs: the demo van, ten prompts, three busy photos and the extension's zip."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tetraview.engine.cameras import RIG_ELEVATION_DEG, RIG_FOVY_DEG, rig_c2w
from tetraview.engine.dataset.render import render_views
from tetraview.engine.evaluation.busy_backgrounds import busy_photo
from tetraview.engine.evaluation.scoring import read_asset
from tetraview.engine.imaging.colour import on_white
from tetraview.engine.imaging.compare import psnr
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.models.registry import STARTER_WEIGHTS
from tetraview.engine.photos.starter_cutout import find_starter_cutout, segment_starter
from tetraview.engine.retrieval.example_bank import ExampleBank
from tetraview.engine.types import VIEW_NAMES, Asset, GenerateRequest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = Path(__file__).with_name("figures.json")
RENDER_PX = 256
PROMPTS = (
    "a red armchair", "a wooden barrel", "a green cactus in a pot", "an apple", "a stone well", "a yellow school bus",
    "a low-poly tree", "a toadstool", "a golden crown", "a blue and white teapot",
)  # fmt: skip
BACKGROUNDS = ("bricks", "grass", "bookshelf")
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Tolerance:
    """How far a figure may move before the product counts as changed.

    Attributes:
        allowed: Largest accepted difference.
        reason: Why that much is no change of the product, and why more is.
    """

    allowed: float
    reason: str


TOLERANCES = {
    "van re-render, dB": Tolerance(0.1, "one thread or two move it by 0.03 dB (measured); a tenth is below what the eye sees"),
    "van triangles": Tolerance(20, "edges of nearly equal cost may collapse in another order elsewhere; an artist sees no 0.2 %"),
    "van albedo": Tolerance(1.0, "one step of 255; below that the mean colour is rounding"),
    "cut-out overlap": Tolerance(
        0.005, "some pixels on the outline depend on the order of sums; half a percent is a visible bite"
    ),
    "extension, MB": Tolerance(0.5, "source files come and go; a set of weights, a picture or a stray folder is larger"),
}


def measure_all() -> dict[str, Any]:
    """All figures, as `figures.json` holds them."""
    return {
        "van": measure_van(),
        "examples": chosen_examples(),
        "cutouts": cutout_overlaps(),
        "extension": {"extension, MB": extension_megabytes()},
    }


def measure_van() -> dict[str, float]:
    """The demo's four photos through the product with default settings, and the asset rendered from their cameras."""
    photos = {name: str(ROOT / "docs" / "demo" / "photos" / f"{name}.png") for name in VIEW_NAMES}
    with tempfile.TemporaryDirectory(prefix="tetraview-golden-") as folder:
        (asset,) = [event for event in generate(GenerateRequest(photos=photos, output_dir=folder)) if isinstance(event, Asset)]
        job = JobFolder(Path(folder))
        mesh = read_asset(job.glb)
        views = np.stack([_small(job.view(name)) for name in VIEW_NAMES])  # [4, S, S, 4]
    again = render_views(mesh, rig_c2w(RIG_ELEVATION_DEG), RIG_FOVY_DEG, RENDER_PX).rgba
    opaque = again[..., 3] == 255  # what an artist sees of the texture, and none of the atlas' empty texels
    means = again[opaque][:, :3].mean(0)
    return {
        "van re-render, dB": round(psnr(on_white(again), on_white(views)), 3),
        "van triangles": asset.n_faces,
        **{f"van albedo, {channel}": round(float(mean), 2) for channel, mean in zip(CHANNELS, means, strict=True)},
    }


def chosen_examples() -> dict[str, str | None]:
    """The caption of the stored example that each prompt begins from."""
    bank = ExampleBank.from_pretrained(STARTER_WEIGHTS / "generator")
    chosen = {prompt: bank.pick(prompt) for prompt in PROMPTS}
    return {prompt: example.caption if example else None for prompt, example in chosen.items()}


def cutout_overlaps() -> dict[str, float]:
    """Intersection over union of the cut-out network's mask with the truth: the van before three backgrounds."""
    with Image.open(ROOT / "docs" / "demo" / "photos" / "front.png") as picture:
        van = np.asarray(picture.convert("RGBA"), np.uint8)
    folder = find_starter_cutout()
    assert folder is not None, "the cut-out network is missing from engine/weights"
    overlaps = {}
    for seed, kind in enumerate(BACKGROUNDS):
        photo, truth = busy_photo(_cropped(van), kind, np.random.default_rng(seed))
        mask = segment_starter(photo, folder).mask.astype(np.uint8)
        full = cv2.resize(mask, truth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        overlaps[f"cut-out overlap, {kind}"] = round(float((full & truth).sum() / (full | truth).sum()), 4)
    return overlaps


def extension_megabytes() -> float:
    """Size of the zip that Blender's own builder makes of this tree, millions of bytes."""
    spec = importlib.util.spec_from_file_location("build_extension", ROOT / "scripts" / "build_extension.py")
    assert spec is not None and spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    with tempfile.TemporaryDirectory(prefix="tetraview-golden-") as folder:
        return round(builder.build_extension(Path(folder)).stat().st_size / 1e6, 2)


def changes(measured: dict[str, Any], golden: dict[str, Any]) -> list[str]:
    """A sentence for each figure of one group that left its tolerance; empty if the product is as it was."""
    found = [f"{name}: only in one of both" for name in sorted(measured.keys() ^ golden.keys())]
    for name in measured.keys() & golden.keys():
        was, now = golden[name], measured[name]
        if not isinstance(was, int | float):
            if was != now:
                found.append(f"{name}: was {was!r}, is {now!r}")
            continue
        tolerance = next(tolerance for start, tolerance in TOLERANCES.items() if name.startswith(start))
        if abs(now - was) > tolerance.allowed:
            found.append(
                f"{name}: was {was:g}, is {now:g}; allowed is a difference of {tolerance.allowed:g} ({tolerance.reason})"
            )
    return found


def _small(path: Path) -> np.ndarray:
    """A framed view at `RENDER_PX`, premultiplied while it is reduced."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBa").resize((RENDER_PX, RENDER_PX), Image.Resampling.BOX).convert("RGBA"))


def _cropped(rgba: np.ndarray) -> np.ndarray:
    """The part of a picture [H, W, 4] that is not transparent."""
    rows, columns = (np.flatnonzero((rgba[..., 3] > 0).any(axis)) for axis in (1, 0))
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
