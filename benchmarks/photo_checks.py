"""How often photos that cannot be right are warned of, and good ones are: sets of photos composed from the data's objects.

    python benchmarks/photo_checks.py DATA [--good 300] [--each 40] [--numbers numbers.json]

Every other set is cut out already (transparent); the others are photos on paper, with noise, saved as JPEG. Prints, for each
kind, how many sets `check_plausibility` (or an error) tells, and how many have any warning.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from tetraview.engine.cameras import rig_c2w
from tetraview.engine.dataset.render import Light, render_views
from tetraview.engine.dataset.textured_mesh import TexturedMesh
from tetraview.engine.errors import EngineError
from tetraview.engine.evaluation.objects import ObjectRef, choose_objects, find_objects, load_all, normalised
from tetraview.engine.photos.checks import check_photo, check_repeats, check_views
from tetraview.engine.photos.cutout import cut_out_with_facts
from tetraview.engine.photos.framing import frame_views, without_specks
from tetraview.engine.photos.load import load_photo
from tetraview.engine.photos.orientation import check_orientation
from tetraview.engine.photos.plausibility import check_plausibility, photo_numbers, set_numbers
from tetraview.engine.types import VIEW_NAMES

UInt8Array = npt.NDArray[np.uint8]
PX = 256
PAPER = (214, 210, 204)
MIXED_DEG = (5.0, 20.0, 45.0, 30.0)


def photograph(mesh: TexturedMesh, rng: np.random.Generator, elevations: tuple[float, ...] = (20.0,) * 4) -> list[UInt8Array]:
    """Four views of an object in one lamp's light, uint8 [PX, PX, 4] each."""
    lamp = Light(rng.normal(0, 0.6, 3) + np.array((0, -0.4, 1.0)), ambient=0.75, diffuse=0.35)
    cameras = np.stack([rig_c2w(degrees)[side] for side, degrees in enumerate(elevations)])
    return list(render_views(mesh, cameras, 30.0, PX, 2, lamp).rgba)


def on_ground(view: UInt8Array, ground: tuple[int, ...], rng: np.random.Generator) -> UInt8Array:
    """A view on a ground with a gradient and noise, opaque."""
    height, width = view.shape[:2]
    alpha = view[..., 3:].astype(np.float32) / 255
    field = np.array(ground) * np.linspace(1.03, 0.94, height)[:, None, None] + np.zeros((height, width, 1))
    photo = view[..., :3] * alpha + field * (1 - alpha) + rng.normal(0, 1.5, view[..., :3].shape)
    return np.dstack([photo.clip(0, 255).astype(np.uint8), np.full((height, width), 255, np.uint8)])


def saved_again(view: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """The same picture at another size and quality."""
    px = int(rng.integers(170, 240))
    small = Image.fromarray(view).resize((px, px), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=70)
    return np.asarray(Image.open(stream).convert("RGBA"), np.uint8)


def beside(one: UInt8Array, other: UInt8Array) -> UInt8Array:
    """Two views side by side."""
    return np.concatenate([one, other], 1)


def with_holes(view: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A view of whose subject a fifth is transparent, in spots."""
    noise = cv2.GaussianBlur(rng.normal(size=view.shape[:2]).astype(np.float32), (0, 0), float(rng.uniform(1, 3)))
    inside = view[..., 3] >= 128
    worn = view.copy()
    worn[noise < np.quantile(noise[inside], 0.2), 3] = 0
    return worn


def enlarged(view: UInt8Array) -> UInt8Array:
    """The middle of a view, so that the frame cuts the object on all sides."""
    rows, columns = np.nonzero(view[..., 3] >= 128)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    y, x = round(0.12 * (bottom - top)), round(0.12 * (right - left))
    return np.ascontiguousarray(view[top + y : bottom - y, left + x : right - x])


def recoloured(view: UInt8Array, colour: tuple[int, int, int], lower: float = 0.0) -> UInt8Array:
    """A view in nearly one colour; `lower`: only that share of its height, from below."""
    rows = np.flatnonzero((view[..., 3] >= 128).any(1))
    begin = round(rows[-1] - (rows[-1] - rows[0]) * lower) if lower else 0
    result = view.copy()
    shade = view[begin:, :, :3].mean(-1, keepdims=True) / 255 - 0.5
    result[begin:, :, :3] = (np.array(colour) + 8 * shade).clip(0, 255).astype(np.uint8)
    return result


def transparent_pixels(view: UInt8Array, share: float) -> UInt8Array:
    """A view whose alpha is multiplied by `share`."""
    return np.dstack([view[..., :3], (view[..., 3] * share).astype(np.uint8)])


Composed = tuple[list[UInt8Array], tuple[int, ...] | None]
Compose = Callable[[TexturedMesh, list[TexturedMesh], np.random.Generator], Composed]
"""Views of an object (and of three others) with one fault, and the ground they are laid on; None to let turns decide."""


def _sheet(mesh: TexturedMesh, rng: np.random.Generator) -> list[UInt8Array]:
    views = photograph(mesh, rng)
    return [np.concatenate([beside(*views[:2]), beside(*views[2:])], 0), *views[1:]]


def _reordered(order: tuple[int, ...]) -> Compose:
    def compose(mesh: TexturedMesh, others: list[TexturedMesh], rng: np.random.Generator) -> Composed:
        views = photograph(mesh, rng)
        return [views[side] for side in order], None

    return compose


def _each(change: Callable[[UInt8Array, np.random.Generator], UInt8Array], ground: tuple[int, ...] | None = None) -> Compose:
    return lambda mesh, others, rng: ([change(view, rng) for view in photograph(mesh, rng)], ground)


ALPHA: tuple[int, ...] = ()
"""In place of a ground: the views stay transparent."""
KINDS: dict[str, Compose] = {
    "good": lambda mesh, others, rng: (photograph(mesh, rng), None),
    "good, cropped": _each(lambda view, rng: _cropped(view), ALPHA),
    "inverted mask": _each(lambda view, rng: np.dstack([view[..., :3], 255 - view[..., 3]]), ALPHA),
    "two objects": lambda mesh, others, rng: (
        [beside(*pair) for pair in zip(photograph(mesh, rng), photograph(others[0], rng), strict=True)], None
    ),
    "same picture again": lambda mesh, others, rng: ([*(v := photograph(mesh, rng))[:2], saved_again(v[0], rng), v[3]], ALPHA),
    "left and right swapped": _reordered((0, 3, 2, 1)),
    "front and back swapped": _reordered((2, 1, 0, 3)),
    "slots rotated": _reordered((1, 2, 3, 0)),
    "order front, back, left, right": _reordered((0, 2, 3, 1)),
    "elevations 5, 20, 45, 30": lambda mesh, others, rng: (photograph(mesh, rng, MIXED_DEG), None),
    "sheet as the front": lambda mesh, others, rng: (_sheet(mesh, rng), None),
    "four objects": lambda mesh, others, rng: ([photograph(m, rng)[i] for i, m in enumerate([mesh, *others])], None),
    "alpha of 40 %": _each(lambda view, rng: transparent_pixels(view, 0.4), ALPHA),
    "a fifth of holes": _each(with_holes, ALPHA),
    "cut by the frame": lambda mesh, others, rng: ([enlarged(view) for view in photograph(mesh, rng)], None),
    "white on white": _each(lambda view, rng: recoloured(view, (244, 244, 242)), (250, 250, 249)),
    "dark below on dark": _each(lambda view, rng: recoloured(view, (30, 30, 32), 0.3), (34, 33, 33)),
    "glass": _each(lambda view, rng: transparent_pixels(view, 0.3), PAPER),
}  # fmt: skip


def _cropped(view: UInt8Array) -> UInt8Array:
    rows, columns = np.nonzero(view[..., 3] >= 8)
    return np.ascontiguousarray(view[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


def write_set(
    folder: Path, views: list[UInt8Array], ground: tuple[int, ...] | None, number: int, rng: np.random.Generator
) -> dict[str, Path]:
    """Write the photos of one set; sets with an even number, and those with no ground, are PNGs with transparency."""
    paths = {}
    for name, view in zip(VIEW_NAMES, views, strict=True):
        if ground == ALPHA or (ground is None and number % 2 == 0):
            paths[name] = folder / f"{name}.png"
            Image.fromarray(view).save(paths[name], compress_level=1)
        else:
            paths[name] = folder / f"{name}.jpg"
            Image.fromarray(on_ground(view, ground or PAPER, rng)[..., :3]).save(paths[name], quality=92)
    return paths


def measured(paths: dict[str, Path]) -> dict[str, object]:
    """The numbers of a set and its warnings, or the error that refuses it."""
    try:
        photos = {name: load_photo(path) for name, path in paths.items()}
        cuts = {name: cut_out_with_facts(photo) for name, photo in photos.items()}
        framed = frame_views({n: c.rgba if c.method == "alpha" else without_specks(c.rgba) for n, c in cuts.items()}, PX)
        cutouts = {name: cut.rgba for name, cut in cuts.items()}
        warnings = [sentence for name in photos for sentence in check_photo(name, photos[name], cuts[name])]
        warnings += check_views(framed) + check_repeats(photos)
        implausible = check_plausibility(photos, cutouts, framed)
        each = [photo_numbers(photos[name], cutouts[name]) for name in photos]
        numbers = {key: max(one[key] for one in each) for key in each[0]} | set_numbers(framed)
    except EngineError as error:
        return {"numbers": {}, "implausible": [str(error)], "warnings": [str(error)]}
    return {"numbers": numbers, "implausible": implausible, "warnings": warnings + (implausible or check_orientation(framed))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="packs (.npz) or folders of models")
    parser.add_argument("--good", type=int, default=300, help="good sets")
    parser.add_argument("--each", type=int, default=40, help="sets of each fault")
    parser.add_argument("--kinds", default="", help="only these, separated by semicolons")
    parser.add_argument("--numbers", type=Path, help="receives every set's numbers and warnings")
    options = parser.parse_args()
    refs: list[ObjectRef] = choose_objects(find_objects(options.data), limit=options.good + 3)
    meshes = [normalised(item) for _, item in load_all(refs) if isinstance(item, TexturedMesh)]
    records = []
    kinds = [kind for kind in KINDS if not options.kinds or kind in options.kinds.split(";")]
    for kind in kinds:
        count = options.good if kind == "good" else options.each
        begun = time.perf_counter()
        for number, mesh in enumerate(meshes[:count]):
            rng = np.random.default_rng((number, len(kind)))
            others = [meshes[(number + step) % len(meshes)] for step in (1, 2, 3)]
            views, ground = KINDS[kind](mesh, others, rng)
            with tempfile.TemporaryDirectory() as folder:
                found = measured(write_set(Path(folder), views, ground, number, rng))
            records.append({"kind": kind, "number": number, **found})
        mine = [record for record in records if record["kind"] == kind]
        told, warned = (sum(bool(record[key]) for record in mine) for key in ("implausible", "warnings"))
        seconds = (time.perf_counter() - begun) / len(mine)
        print(f"{kind}: {told} of {len(mine)} implausible, {warned} warned of, {seconds:.2f} s a set", flush=True)
        if options.numbers:
            options.numbers.write_text(json.dumps(records))


if __name__ == "__main__":
    main()
