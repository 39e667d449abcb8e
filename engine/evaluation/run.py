"""Measures one object: shows it to the engine, takes what the engine exports, compares."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..cameras import CANONICAL_RIG, FloatArray, Rig
from ..dataset.textured_mesh import TexturedMesh
from ..errors import EngineError
from ..imaging.colour import on_white
from ..imaging.compare import psnr
from ..job.run import Run
from ..job.workplace import workplace
from ..models.loading import ModelCache
from ..types import VIEW_NAMES, GenerateRequest
from .gallery import gallery_tile
from .lpips import Lpips
from .objects import ObjectRef
from .report import ROWS
from .scoring import field_images, input_views, mesh_images, no_surface, read_asset, score_images, score_surface
from .sheet import object_strip

logger = logging.getLogger(__name__)

KEPT_META = ("id", "name", "caption", "source", "scan", "licence", "author")
"""Fields of an object's metadata that a record repeats."""


@dataclass(frozen=True)
class Evaluation:
    """Settings shared by all objects of a run.

    Attributes:
        models: Keeps the models in memory.
        model_folder: The reconstructor's weights.
        generator_folder: The four-view generator's, where not all views are shown.
        device: Torch device.
        resolutions: Sides of the novel views, pixels.
        input_px: Side of the input views, pixels.
        poly_budget, texture_px, seed, steps: As in `GenerateRequest`.
        rig: The cameras of the views that the engine is shown.
        known: Names of the views that the engine is shown; it works out the others.
        metric: LPIPS; None without its weights.
        pictures: Folder for each object's strip and gallery tile.
        assets: Folder that keeps the jobs; None to throw them away.
    """

    models: ModelCache
    model_folder: Path
    generator_folder: Path
    device: str
    resolutions: tuple[int, ...]
    input_px: int
    poly_budget: int
    texture_px: int
    seed: int
    metric: Lpips | None
    pictures: Path
    steps: int
    rig: Rig = CANONICAL_RIG
    known: tuple[str, ...] = VIEW_NAMES
    assets: Path | None = None


@dataclass
class Stopwatch:
    """Seconds of each named part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)


def file_stem(key: str) -> str:
    """A file name for an object's key; different keys have different ones."""
    return "".join(c if c.isalnum() or c in "-." else f"_{ord(c):02x}_" for c in key)


def strip_path(setup: Evaluation, key: str) -> Path:
    return setup.pictures / f"{file_stem(key)}.strip.png"


def tile_path(setup: Evaluation, key: str) -> Path:
    return setup.pictures / f"{file_stem(key)}.gallery.png"


def reconstruct(
    setup: Evaluation, views: dict[str, npt.NDArray[np.uint8]], folder: Path, clock: Stopwatch
) -> tuple[Mapping[str, npt.NDArray[np.uint8]], Any, TexturedMesh | EngineError]:
    """Run the engine's own steps from framed views, as `job.generate` does.

    Returns:
        views: The four views it went on from, those that were not shown painted.
        field: The object's field.
        mesh: Read back from the exported GLB; the error if a step after the field failed, so that one bad object is
            counted and does not end the run.
    """
    views_dir = folder / "inputs"
    views_dir.mkdir(parents=True, exist_ok=True)
    for name in setup.known:
        Image.fromarray(views[name]).save(views_dir / f"{name}.png", compress_level=1)
    request = GenerateRequest(
        photos={}, output_dir=str(folder), views_dir=str(views_dir), poly_budget=setup.poly_budget, texture_px=setup.texture_px,
        elevation_deg=setup.rig.elevation_deg, fovy_deg=setup.rig.fovy_deg, device=setup.device,
        model=str(setup.model_folder), seed=setup.seed, steps=setup.steps,
        generator=str(setup.generator_folder),
        repaint=tuple(name for name in VIEW_NAMES if name not in setup.known),
    )  # fmt: skip
    return run_steps(setup, request, clock)


def run_steps(
    setup: Evaluation, request: GenerateRequest, clock: Stopwatch
) -> tuple[Mapping[str, npt.NDArray[np.uint8]], Any, TexturedMesh | EngineError]:
    """Run the steps of a request; see `reconstruct` for what is returned.

    Raises:
        EngineError: The views cannot be had, so that there is no field either.
    """
    with workplace(request) as place:
        run = Run(request, setup.models, setup.device, place.job)
        for phase in request.phases[: request.phases.index("planes") + 1]:
            with clock.part(phase):
                run.step(phase)(_ignore)
        try:
            for phase in request.phases[request.phases.index("planes") + 1 :]:
                with clock.part(phase):
                    run.step(phase)(_ignore)
            place.exchange()
            return run.views, run.field, read_asset(place.job.glb)
        except EngineError as error:
            return run.views, run.field, error
        except Exception as error:
            logger.exception("a step failed")
            return run.views, run.field, EngineError(f"{type(error).__name__}: {error}")


def measure(setup: Evaluation, ref: ObjectRef, truth: TexturedMesh) -> dict[str, Any]:
    """The record of one object; its pictures are written beside the report.

    Returns:
        JSON-ready: `key`, `meta`, `rows[resolution][row]`, `painted` (PSNR of each painted view at the first resolution),
        `surface`, `mesh` (counts), `seconds`, `failure`.
    """
    clock = Stopwatch()
    with clock.part("inputs"):
        views = input_views(truth, setup.input_px, setup.rig)
    with _job_folder(setup, ref) as folder:
        shown, field_of_object, mesh = reconstruct(setup, views, folder, clock)
    made = None if isinstance(mesh, EngineError) else mesh
    rows: dict[str, dict[str, Any]] = {}
    pictured: dict[str, FloatArray] = {}
    for px in setup.resolutions:
        with clock.part("truth images"):
            images = {"truth": mesh_images(truth, px)}
        with clock.part("volumetric images"):
            images["volumetric"] = field_images(field_of_object, px)
        with clock.part("mesh images"):
            images["mesh"] = np.ones_like(images["truth"]) if made is None else mesh_images(made, px)
        with clock.part("image metrics"):
            rows[str(px)] = {row: asdict(score_images(images[row], images["truth"], setup.metric)) for row in ROWS}
        pictured = pictured or images
    with clock.part("surface metrics"):
        surface = no_surface() if made is None else score_surface(made, truth, setup.seed)
    _save_pictures(setup, ref, truth, made, shown, pictured, rows[str(setup.resolutions[0])])
    return {
        "key": ref.key,
        "meta": {name: truth.meta[name] for name in KEPT_META if name in truth.meta},
        "rows": rows,
        "painted": painted_psnr(shown, views, setup.resolutions[0], setup.known),
        "surface": dict(surface),
        "mesh": {"n_verts": 0 if made is None else len(made.verts), "n_faces": 0 if made is None else len(made.faces)},
        "seconds": clock.seconds,
        "failure": str(mesh) if made is None else None,
    }


def painted_psnr(
    shown: Mapping[str, npt.NDArray[np.uint8]], truth: Mapping[str, npt.NDArray[np.uint8]], px: int, known: Sequence[str]
) -> dict[str, float]:
    """PSNR on white, dB, of each view that was painted; views uint8 [S, S, 4] keyed by name, compared at `px`."""

    def small(view: npt.NDArray[np.uint8]) -> FloatArray:
        return on_white(np.asarray(Image.fromarray(view).resize((px, px), Image.Resampling.BOX)))

    return {name: psnr(small(shown[name]), small(truth[name])) for name in VIEW_NAMES if name not in known}


def _save_pictures(
    setup: Evaluation, ref: ObjectRef, truth: TexturedMesh, made: TexturedMesh | None, views: Mapping[str, npt.NDArray[np.uint8]],
    images: dict[str, FloatArray], scores: dict[str, Any],
) -> None:  # fmt: skip
    """The object's strip of the contact sheet and its tile of the gallery."""
    caption = f"{ref.key}    volumetric {scores['volumetric']['psnr']:.2f} dB, mesh {scores['mesh']['psnr']:.2f} dB"
    psnr_by_view = {row: scores[row]["psnr_by_view"] for row in ROWS}
    inputs = [on_white(views[name]) for name in VIEW_NAMES]
    object_strip(caption, inputs, images, psnr_by_view).save(strip_path(setup, ref.key))
    label = str(truth.meta.get("caption") or truth.meta.get("name") or truth.id)
    gallery_tile(label, views, made).save(tile_path(setup, ref.key))


def _ignore(share: float, message: str = "", event: object = None) -> None:
    """Ignore the progress of a step."""


@contextmanager
def _job_folder(setup: Evaluation, ref: ObjectRef) -> Iterator[Path]:
    if setup.assets is not None:
        yield setup.assets / file_stem(ref.key)
        return
    with tempfile.TemporaryDirectory(prefix="tetraview-evaluate-") as folder:
        yield Path(folder)
