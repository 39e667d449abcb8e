"""The one path from a request to an asset; the command line, Blender and the tests all drive this iterator."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..cameras import Rig
from ..errors import EngineError, InvalidRequestError
from ..models.loading import LoadedModel, ModelCache, field_of_views, require_generator, require_reconstructor
from ..models.registry import STARTER_GENERATOR, STARTER_MODEL
from ..types import PHASES, VIEW_NAMES, Asset, Event, GenerateRequest, Orbit, Planes, Progress, Views
from ..version import __version__
from .folder import JobFolder, default_home, write_json, write_text, written_whole
from .history import TimingHistory
from .photos_phase import Explain, FramedViews, frame_views, is_same_place, require_no_empty_view, warnings_of_empty
from .progress import JobClock, OnProgress, StepRunner
from .views_phase import paint_views

if TYPE_CHECKING:
    from PIL import Image

    from ..reconstructor import Field

logger = logging.getLogger(__name__)

LATTICE_RESOLUTION = 256
ORBIT_SAMPLES, ORBIT_SLABS = 28, 7
"""Samples a ray of the orbit preview, and parts they are decoded in."""
ROUGHNESS, METALLIC = 0.7, 0.0

UInt8Array = npt.NDArray[np.uint8]


def generate(
    request: GenerateRequest,
    *,
    stop_after: str | None = None,
    models: ModelCache | None = None,
    history: TimingHistory | None = None,
) -> Generator[Event, None, None]:
    """Make an asset from a prompt, from one to four photos, or from the framed views of an earlier run.

    Each stage's result is on disk in `request.output_dir` before the next begins. Closing the iterator cancels the job.

    Args:
        request: The request.
        stop_after: Name of the last phase to run, or the last before it if this job does not have it; None for all of them.
        models: Cache of loaded models between jobs; a new one if None.
        history: Timings of earlier jobs, for the ETA; those in the engine's home if None.

    Yields:
        `Progress` all along, a `Preview` at each step of the painting, `Views` once all four are there, `Planes` after the
        planes, `Orbit` if it is asked for, `Asset` at the end.

    Raises:
        EngineError: The job cannot be done; one sentence says why.
    """
    request.check()
    phases = phases_to_run(request, stop_after)
    from ..devices import choose_device, use_all_cores

    models = ModelCache() if models is None else models
    history = TimingHistory(default_home()) if history is None else history
    model_folder = Path(request.model) if request.model else STARTER_MODEL
    generator_folder = Path(request.generator) if request.generator else STARTER_GENERATOR
    if "views" in phases:
        require_generator(generator_folder)
    if "planes" in phases:
        require_reconstructor(model_folder)
    device = choose_device(request.device)
    job = begin_job(request)
    setting = {
        "device": device.name,
        "warm": ("planes" not in phases or models.has(model_folder, device.name))
        and ("views" not in phases or models.has_generator(generator_folder, device.name)),
        "from_views": request.views_dir is not None,
        "painted": len(request.painted),
        "steps": request.steps if request.painted else 0,
        "orbit_px": request.orbit_frames * request.orbit_px**2,
        "texture_px": request.texture_px,
        "poly_budget": request.poly_budget,
    }
    clock = JobClock(phases, history.expected_s(setting, phases))
    if device.note:
        yield Progress(phases[0], 0.0, None, device.note)

    with job_log(job), remembered(clock, history, setting), StepRunner(clock, use_all_cores) as steps:
        framed = FramedViews({})
        hashes: dict[str, str] = {}
        # 1 Photos: cut out and framed, or the views that an earlier run left
        if "photos" in phases:
            framed = yield from steps.run(
                "photos", "Reading the photos",
                lambda report: frame_views(request, job, report, explainer(models, model_folder, device.name)),
            )  # fmt: skip
            request = at_found_elevation(request, job, framed)
        # 2 Views: those that no photo shows are painted
        if "views" in phases:
            painted = yield from steps.run(
                "views", "Painting",
                lambda report: paint_views(request, job, framed, models, generator_folder, device.name, report),
            )  # fmt: skip
            framed = painted.views
            hashes |= painted.generator.sha256
        views = framed.images
        if len(views) == len(VIEW_NAMES):
            paths = {name: str(path) for name, path in job.view_paths.items()}
            yield Views(paths, (*framed.warnings, *warnings_of_empty(views)), request.painted)
        if "planes" not in phases:
            return
        require_no_empty_view(views)
        # 3 Planes
        field, model = yield from steps.run(
            "planes", "Understanding the views",
            lambda report: encode_views(request, job, views, models, model_folder, device.name, report),
        )  # fmt: skip
        hashes |= model.sha256
        yield Planes(str(job.planes))
        # 4 Orbit preview
        if "orbit" in phases:
            yield (yield from steps.run("orbit", "Turning it around", lambda report: render_orbit(request, job, field, report)))
        if "mesh" not in phases:
            return
        # 5 Signed distance field -> mesh
        verts, faces = yield from steps.run("mesh", "Finding the surface", lambda report: extract(job, field, report))
        if "simplify" not in phases:
            return
        # 6 Simplify
        verts, faces = yield from steps.run(
            "simplify", "Reducing triangles", lambda _: simplify_mesh(verts, faces, request.poly_budget)
        )
        if "unwrap" not in phases:
            return
        # 7 UV atlas
        atlas = yield from steps.run("unwrap", "Unwrapping", lambda _: unwrap_mesh(job, verts, faces, request.texture_px))
        if "texture" not in phases:
            return
        # 8 Texture
        albedo = yield from steps.run(
            "texture", "Painting the texture", lambda report: bake_texture(request, job, field, atlas, views, report)
        )
        if "asset" not in phases:
            return
        # 9 Asset
        yield from steps.run("asset", "Writing the asset", lambda _: write_asset(job, atlas, albedo))
        timings = {**{phase: round(seconds, 4) for phase, seconds in clock.seconds.items()}, "total": round(clock.total_s, 4)}
        write_json(job.timings, timings)
        logger.info("done in %.2f s", clock.total_s)
        yield Asset(
            str(job.glb), str(job.asset), str(job.albedo), ROUGHNESS, METALLIC,
            len(atlas.verts), len(atlas.faces), timings, __version__, hashes,
        )  # fmt: skip


def phases_to_run(request: GenerateRequest, stop_after: str | None) -> tuple[str, ...]:
    """The phases of a request up to `stop_after`.

    Raises:
        InvalidRequestError: There is no such phase, or nothing comes before its end.
    """
    if stop_after is not None and stop_after not in PHASES:
        raise InvalidRequestError(f"Unknown phase {stop_after!r}: use one of {', '.join(PHASES)}.")
    last = len(PHASES) if stop_after is None else PHASES.index(stop_after) + 1
    phases = tuple(phase for phase in request.phases if phase in PHASES[:last])
    if not phases:
        raise InvalidRequestError(f"This job begins after {stop_after}: stop it after {request.phases[0]} or later.")
    return phases


def begin_job(request: GenerateRequest) -> JobFolder:
    """Make the job's folder and write its request.

    Raises:
        InvalidRequestError: The edited views would lie over those they come from.
        EngineError: The folder cannot be written.
    """
    job = JobFolder(Path(request.output_dir))
    in_place = is_same_place(request, job)
    if in_place and (request.repaint or request.flip or request.replace):
        raise InvalidRequestError("Edited views must not overwrite the old ones: choose another output folder.")
    among_results = any(Path(photo).resolve().parent == job.views.resolve() for photo in request.photos.values())
    try:
        job.begin(keep_views=in_place or among_results)
        write_text(job.request, request.to_json() + "\n")
    except OSError as error:
        raise EngineError(f"The folder {job.path} cannot be written ({error.strerror}): choose another one.") from error
    return job


def explainer(models: ModelCache, folder: Path, device: str) -> Explain:
    """The function that scores an elevation; it loads the reconstructor on its first call."""

    def explain(views: Mapping[str, UInt8Array], rig: Rig) -> float:
        from .elevation_score import rerender_psnr

        return rerender_psnr(models.get(folder, device), views, rig)

    return explain


def at_found_elevation(request: GenerateRequest, job: JobFolder, framed: FramedViews) -> GenerateRequest:
    """The request for the rest of the job, with the elevation that was found for its views; also on disk."""
    if framed.elevation_deg is None:
        return request
    request = replace(request, elevation_deg=framed.elevation_deg)
    write_text(job.request, request.to_json() + "\n")
    return request


def encode_views(
    request: GenerateRequest, job: JobFolder, views: Mapping[str, UInt8Array], models: ModelCache, folder: Path, device: str,
    report: OnProgress,
) -> tuple[Field, LoadedModel]:  # fmt: skip
    """Step 3: the field of the object, its planes written to the job's folder; on the CPU if the GPU's memory is short."""
    import torch
    from safetensors.torch import save

    torch.manual_seed(request.seed % 2**63)
    np.random.seed(request.seed % 2**32)
    model = models.get(folder, device)
    report(0.5)
    try:
        field = field_of_views(model, views, request.rig)
    except torch.OutOfMemoryError:
        logger.warning("out of memory on %s, going on with the CPU", device)
        report(0.5, "The GPU is out of memory: continuing on the CPU")
        model = models.get(folder, "cpu")
        field = field_of_views(model, views, request.rig)
    report(0.9)
    planes = field.encoded.planes[0].permute(0, 3, 1, 2)  # [3, C, R, R]
    with written_whole(job.planes) as path:
        path.write_bytes(save({"planes": planes.to("cpu", torch.float16).contiguous()}))
    return field, model


def render_orbit(request: GenerateRequest, job: JobFolder, field: Field, report: OnProgress) -> Orbit:
    """Step 4: one turn around the field, as PNGs, GIF and WebP in the job's folder."""
    from ..cameras import RIG_FOVY_DEG
    from ..rendering.turntable import compose, turn_c2w, write_turntable
    from ..rendering.volumetric import render_field

    count = request.orbit_frames
    images: list[Image.Image] = []
    for camera in turn_c2w(count, request.elevation_deg):
        report(len(images) / (count + 1), f"Frame {len(images) + 1} of {count}")
        frame = render_field(field, camera, RIG_FOVY_DEG, request.orbit_px, samples=ORBIT_SAMPLES, slabs=ORBIT_SLABS)
        images.append(compose((frame * 255 + 0.5).astype(np.uint8), None))
    frames = write_turntable(images, job.orbit)
    write_turntable([compose(np.asarray(image), (255, 255, 255)) for image in images], job.orbit_gif)
    write_turntable(images, job.orbit_webp)
    return Orbit(tuple(str(path) for path in frames), str(job.orbit_gif), str(job.orbit_webp))


def extract(job: JobFolder, field: Field, report: OnProgress) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Step 5: the surface of the field without specks, verts float32 [V, 3] and faces int32 [F, 3], written to `mesh.npz`.

    Raises:
        EngineError: There is no surface.
    """
    from ..geometry.cleanup import remove_specks
    from ..geometry.extract import extract_mesh

    verts, faces = extract_mesh(field, LATTICE_RESOLUTION, on_progress=report)
    if len(faces):
        verts, faces = remove_specks(verts, faces)
    if len(faces) == 0:
        raise EngineError("No solid object was found in these views: check that all four show it, each from its own side.")
    with written_whole(job.mesh) as path:
        np.savez(path, verts=verts, faces=faces)
    return verts, faces


def simplify_mesh(
    verts: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Step 6: at most `budget` triangles."""
    from ..geometry.simplify import simplify

    return simplify(verts, faces, budget)


def unwrap_mesh(job: JobFolder, verts: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], texture_px: int) -> Any:
    """Step 7: the UV atlas, written to `asset.npz`."""
    from ..texturing.atlas import unwrap

    atlas = unwrap(verts, faces, texture_px)
    with written_whole(job.asset) as path:
        np.savez(path, verts=atlas.verts, faces=atlas.faces, uvs=atlas.uvs, uv_faces=atlas.uv_faces)
    return atlas


def bake_texture(
    request: GenerateRequest, job: JobFolder, field: Field, atlas: Any, views: Mapping[str, UInt8Array], report: OnProgress
) -> UInt8Array:
    """Step 8: the albedo, uint8 [T, T, 3] sRGB, written to `albedo.png`."""
    from PIL import Image

    from ..texturing.texture import paint_texture

    albedo = paint_texture(field, atlas, views, request.rig, request.texture_px, on_progress=report)
    with written_whole(job.albedo) as path:
        Image.fromarray(albedo).save(path, compress_level=3)
    return albedo


def write_asset(job: JobFolder, atlas: Any, albedo: UInt8Array) -> None:
    """Step 9: `asset.glb`."""
    from ..texturing.glb import write_glb

    with written_whole(job.glb) as path:
        write_glb(path, atlas, albedo, ROUGHNESS, METALLIC)


@contextlib.contextmanager
def remembered(clock: JobClock, history: TimingHistory, setting: Mapping[str, Any]) -> Iterator[None]:
    """However the block ends, the phases that were finished in it go into the history."""
    try:
        yield
    finally:
        if clock.seconds:
            history.record(setting, clock.seconds)


@contextlib.contextmanager
def job_log(job: JobFolder) -> Iterator[None]:
    """Everything the engine logs in the block also goes to the job's `log.txt`."""
    engine_logger = logging.getLogger((__package__ or "").rpartition(".")[0])
    handler = logging.FileHandler(job.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    engine_logger.addHandler(handler)
    if engine_logger.getEffectiveLevel() > logging.INFO:
        engine_logger.setLevel(logging.INFO)
    logger.info("engine %s", __version__)
    try:
        yield
    except Exception as error:
        logger.info("the job failed: %s", error, exc_info=not isinstance(error, EngineError))
        raise
    finally:
        engine_logger.removeHandler(handler)
        handler.close()
