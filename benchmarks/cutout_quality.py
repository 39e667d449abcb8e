"""Quality of each cut-out method on backgrounds that training never showed.

    .venv/bin/python benchmarks/cutout_quality.py val_00.npz --sheet cutouts.png

Objects of a pack are rendered in a random light from one side of the rig and photographed before each kind of busy background
(`engine/evaluation/busy_backgrounds.py`) and before plain ones. Of each way: mean overlap with the truth (intersection over
union) and the share of photos above 0.9. `--weights DIR` measures other weights than those that ship.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from tetraview.engine.cameras import RIG_FOVY_DEG, rig_c2w
from tetraview.engine.dataset.lighting import Light
from tetraview.engine.dataset.packs import load_objects
from tetraview.engine.dataset.render import render_views
from tetraview.engine.evaluation.busy_backgrounds import CROWD, KINDS, PLAIN, busy_photo
from tetraview.engine.photos.cutout import cut_out_with_facts
from tetraview.engine.photos.plain import from_centre, segment_plain, work_size
from tetraview.engine.photos.starter_cutout import (
    STARTER_CUTOUT,
    load_starter_cutout,
    main_parts,
    segment_starter,
    subject_probability,
)

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

RENDER_PX = 320
GOOD = 0.9


@dataclass(frozen=True)
class Photo:
    """One photo of the benchmark: uint8 [H, W, 3], where its subject is, and what it shows."""

    rgb: UInt8Array
    truth: BoolArray
    kind: str
    scan: bool


def draw_photos(pack: Path, every: slice, per_kind: int, seed: int) -> Iterator[Photo]:
    """Photos of the pack's objects `every`, `per_kind` of each kind of background, spread over the objects."""
    meshes = list(load_objects(pack))[every]
    rng = np.random.default_rng(seed)
    views = []
    for mesh in meshes:
        strength = float(rng.uniform(0.1, 0.7))
        light = Light(rng.normal(size=3) + np.array((0, -0.3, 0.8)), 1.05 - 0.6 * strength, strength)
        views.append(render_views(mesh, rig_c2w()[[rng.integers(4)]], RIG_FOVY_DEG, RENDER_PX, shading=light).rgba[0])
    for kind in (*KINDS, CROWD, PLAIN):
        for index in rng.permutation(len(meshes))[:per_kind]:
            others = [views[other] for other in rng.choice([i for i in range(len(meshes)) if i != index], 6, replace=False)]
            size = ((480, 640), (480, 480), (640, 480))[int(rng.integers(3))]
            rgb, truth = busy_photo(views[index], kind, rng, size=size, others=others)
            yield Photo(rgb, truth, kind, bool(meshes[index].meta.get("scan")))


def ways(weights: Path) -> dict[str, Callable[[UInt8Array], BoolArray]]:
    """The ways of cutting out, from uint8 [H, W, 3] to a mask of any size."""
    network = load_starter_cutout(weights)
    return {
        "centre": lambda rgb: from_centre(work_size(rgb)),
        "plain": lambda rgb: segment_plain(rgb).mask,
        "network": lambda rgb: main_parts(subject_probability(work_size(rgb), network)),
        "refined": lambda rgb: segment_starter(rgb, weights).mask,
        "auto": lambda rgb: (
            cut_out_with_facts(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]), "auto").rgba[..., 3] > 127
        ),
    }


def overlap(mask: BoolArray, truth: BoolArray) -> float:
    """Intersection over union of a mask of any size with the truth."""
    full = cv2.resize(mask.astype(np.float32), truth.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    return float((full & truth).sum() / max(1, (full | truth).sum()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path, help="object pack, of objects that training never saw")
    parser.add_argument("--weights", type=Path, default=STARTER_CUTOUT, help="folder of the network's weights (the starter's)")
    parser.add_argument("--per-kind", type=int, default=24, help="photos of each kind of background (%(default)s)")
    parser.add_argument("--start", type=int, default=0, help="first object of the pack (%(default)s)")
    parser.add_argument("--stride", type=int, default=1, help="take every so many objects (%(default)s)")
    parser.add_argument("--ways", nargs="+", help="which of: centre, plain, network, refined, auto")
    parser.add_argument("--sheet", type=Path, help="write the photos and cut-outs of the last way as a PNG")
    parser.add_argument("--json", type=Path, help="write every photo's figures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chosen = {name: way for name, way in ways(args.weights).items() if args.ways is None or name in args.ways}
    rows, tiles = [], []
    for photo in draw_photos(args.pack, slice(args.start, None, args.stride), args.per_kind, args.seed):
        row: dict[str, object] = {"kind": photo.kind, "scan": photo.scan}
        for name, way in chosen.items():
            started = time.perf_counter()
            mask = way(photo.rgb)
            row[name], row[f"{name}_s"] = overlap(mask, photo.truth), time.perf_counter() - started
        found = segment_starter(photo.rgb, args.weights)
        row |= {"confidence": found.confidence, "spread": segment_plain(photo.rgb, guess=False).border_spread}
        rows.append(row)
        if args.sheet:
            tiles.append(_tile(photo, mask))
    for kind in (*dict.fromkeys(str(row["kind"]) for row in rows), "busy", "busy scans"):
        part = [
            r
            for r in rows
            if r["kind"] == kind or (r["kind"] != PLAIN and (kind == "busy" or (kind == "busy scans" and r["scan"])))
        ]
        cells = [np.array([row[name] for row in part], float) for name in chosen]
        figures = "  ".join(f"{n} {c.mean():.3f} ({(c > GOOD).mean():4.0%})" for n, c in zip(chosen, cells, strict=True))
        print(f"{kind:16s} n {len(part):4d}  {figures}")
    seconds = "  ".join(f"{name} {np.median([row[f'{name}_s'] for row in rows]):.2f} s" for name in chosen)
    print(f"median time a photo: {seconds}")
    if args.json:
        args.json.write_text(json.dumps(rows))
    if args.sheet:
        lines = [np.concatenate(tiles[start : start + 12], 1) for start in range(0, len(tiles) - len(tiles) % 12, 12)]
        Image.fromarray(np.concatenate(lines)).save(args.sheet)
    return 0


def _tile(photo: Photo, mask: BoolArray) -> UInt8Array:
    """The photo above its cut-out on magenta, uint8 [256, 128, 3]."""
    full = cv2.resize(mask.astype(np.uint8), photo.truth.shape[::-1], interpolation=cv2.INTER_NEAREST)[..., None] > 0
    pair = np.concatenate([photo.rgb, np.where(full, photo.rgb, np.array([255, 0, 255], np.uint8))])
    return np.asarray(cv2.resize(pair, (128, 256), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
