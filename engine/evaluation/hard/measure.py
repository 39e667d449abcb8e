"""Measures one object's photos of one kind: files on disk, the engine's own path, the result aligned and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ...cameras import RIG_ELEVATION_DEG, FloatArray
from ...dataset.textured_mesh import TexturedMesh
from ...errors import EngineError
from ...imaging.compare import psnr
from ...types import VIEW_NAMES, GenerateRequest
from ..objects import ObjectRef
from ..report import ROWS
from ..run import KEPT_META, Evaluation, Stopwatch, file_stem, run_steps
from ..scoring import field_images, mesh_images, no_surface, score_images, score_surface
from ..sheet import fit_text, to_image
from .alignment import Alignment, align
from .photos import Kind, PhotoSet, take_photos

TILE_PX = 96
SHOWN_VIEWS = (1, 13)
"""Indices of the novel views shown on the sheet."""

_UNALIGNED = Alignment(1.0, (0.0, 0.0, 0.0), 0.0, 0.0)
_LABEL_PX = 15
_UNDER = (255, 0, 255)  # what cut-outs are laid on: no object has this colour


def record_key(ref: ObjectRef, kind: Kind) -> str:
    """The key of an object's record of one kind."""
    return f"{ref.key}:{kind.name}"


def row_path(setup: Evaluation, ref: ObjectRef, kind: Kind) -> Path:
    """The picture of one object's photos of one kind and what became of them."""
    return setup.pictures / f"{file_stem(record_key(ref, kind))}.row.png"


def measure_kind(setup: Evaluation, ref: ObjectRef, truth: TexturedMesh, kind: Kind, number: int) -> dict[str, Any]:
    """The record of one object and kind; its picture is written beside the report.

    Returns:
        JSON-ready: `key`, `object`, `kind`, `meta`, `drawn` (see `PhotoSet`), `rows[resolution][row]` aligned, `unaligned` (PSNR
        of the mesh at the first resolution), `alignment`, `surface` (aligned), `seconds`, `failure`.
    """
    clock = Stopwatch()
    with clock.part("photos taken"):
        taken = take_photos(truth, kind, seed=setup.seed, number=number)
    shown: Mapping[str, npt.NDArray[np.uint8]] = {}
    field: Any = None
    mesh: TexturedMesh | EngineError
    with tempfile.TemporaryDirectory(prefix="tetraview-evaluate-") as folder:
        try:
            shown, field, mesh = run_steps(setup, _request(setup, taken, Path(folder)), clock)
        except EngineError as error:
            mesh = error
    made = None if isinstance(mesh, EngineError) else mesh
    with clock.part("alignment"):
        alignment = _UNALIGNED if made is None else align(made, truth, setup.seed)
    rows: dict[str, dict[str, Any]] = {}
    pictured: dict[str, FloatArray] = {}
    with clock.part("images"):
        for px in setup.resolutions:
            images = {"truth": mesh_images(truth, px), **_images(field, made, alignment, px)}
            rows[str(px)] = {row: asdict(score_images(images[row], images["truth"], setup.metric)) for row in ROWS}
            pictured = pictured or images
        own = _mesh_images(made, _UNALIGNED, setup.resolutions[0])
    unaligned = float(np.mean([psnr(image, target) for image, target in zip(own, pictured["truth"], strict=True)]))
    surface = no_surface() if made is None else score_surface(alignment.mesh(made), truth, setup.seed)
    scores = {row: rows[str(setup.resolutions[0])][row]["psnr"] for row in ROWS}
    _row_picture(kind, taken, shown, pictured, scores).save(row_path(setup, ref, kind))
    return {
        "key": record_key(ref, kind),
        "object": ref.key,
        "kind": kind.name,
        "meta": {name: truth.meta[name] for name in KEPT_META if name in truth.meta},
        "drawn": taken.drawn,
        "rows": rows,
        "unaligned": unaligned,
        "alignment": asdict(alignment),
        "surface": dict(surface),
        "seconds": clock.seconds,
        "failure": str(mesh) if made is None else None,
    }


def _request(setup: Evaluation, taken: PhotoSet, folder: Path) -> GenerateRequest:
    """The request of an artist who does not know the elevation; writes the photos to the folder."""
    photos = {}
    for name in VIEW_NAMES:
        path = folder / f"{name}.jpg"
        taken.photos[name].save(path)
        photos[name] = str(path)
    return GenerateRequest(
        photos=photos, output_dir=str(folder / "job"), poly_budget=setup.poly_budget, texture_px=setup.texture_px,
        elevation_deg=RIG_ELEVATION_DEG, find_elevation=True, device=setup.device, model=str(setup.model_folder), seed=setup.seed,
    )  # fmt: skip


def _images(field: Any, made: TexturedMesh | None, alignment: Alignment, px: int) -> dict[str, FloatArray]:
    """The novel views of a result, each float32 [16, px, px, 3]; white where there is none."""
    volumetric = np.ones((16, px, px, 3), np.float32) if field is None else field_images(alignment.field(field), px)
    return {"volumetric": volumetric, "mesh": _mesh_images(made, alignment, px)}


def _mesh_images(made: TexturedMesh | None, alignment: Alignment, px: int) -> FloatArray:
    return np.ones((16, px, px, 3), np.float32) if made is None else mesh_images(alignment.mesh(made), px)


def _row_picture(
    kind: Kind, taken: PhotoSet, shown: Mapping[str, npt.NDArray[np.uint8]], images: Mapping[str, FloatArray],
    scores: Mapping[str, float],
) -> Image.Image:  # fmt: skip
    """Four photos, four framed cut-outs, then truth, volumetric render and mesh from two new sides."""
    tiles = [_photo_tile(taken.photos[name].rgb) for name in VIEW_NAMES]
    for name in VIEW_NAMES:
        view = shown.get(name)
        tiles.append(Image.new("RGB", (TILE_PX, TILE_PX), _UNDER) if view is None else _on_colour(view))
    tiles += [to_image(images[row][view], TILE_PX) for view in SHOWN_VIEWS for row in ("truth", *ROWS)]
    picture = Image.new("RGB", (len(tiles) * TILE_PX, TILE_PX + _LABEL_PX), (255, 255, 255))
    for index, tile in enumerate(tiles):
        picture.paste(tile, (index * TILE_PX, _LABEL_PX))
    facts = ", ".join(f"{name} {value}" for name, value in taken.drawn.items())
    text = f"{kind.name}: volumetric {scores['volumetric']:.2f} dB, mesh {scores['mesh']:.2f} dB    ({facts})"
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    draw.text((3, 0), fit_text(draw, text, picture.width - 6, font), (40, 40, 40), font=font)
    return picture


def _photo_tile(rgb: npt.NDArray[np.uint8]) -> Image.Image:
    tile = Image.new("RGB", (TILE_PX, TILE_PX), (255, 255, 255))
    photo = Image.fromarray(rgb)
    photo.thumbnail((TILE_PX, TILE_PX), Image.Resampling.BOX)
    tile.paste(photo, ((TILE_PX - photo.width) // 2, (TILE_PX - photo.height) // 2))
    return tile


def _on_colour(rgba: npt.NDArray[np.uint8]) -> Image.Image:
    small = Image.fromarray(rgba).resize((TILE_PX, TILE_PX), Image.Resampling.BOX)
    tile = Image.new("RGB", small.size, _UNDER)
    tile.paste(small, mask=small.getchannel("A"))
    return tile
