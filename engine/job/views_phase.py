"""The views phase: the views that no photo shows are rendered from the reconstruction of the others, or painted.

With a prompt, or with a reconstructor that needs all four views, the four-view generator paints them, with previews.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..cameras import RIG_ELEVATION_DEG, RIG_FOVY_DEG
from ..errors import EngineError, InvalidRequestError
from ..imaging.views import FourViews
from ..models.loading import LoadedGenerator, LoadedModel, ModelCache, field_of_views
from ..types import VIEW_NAMES, GenerateRequest, Preview
from .folder import JobFolder
from .photos_phase import empty_views
from .progress import OnProgress
from .view_files import write_view

if TYPE_CHECKING:
    from ..multiview.pipeline import FourViewPipeline

logger = logging.getLogger(__name__)

UInt8Array = npt.NDArray[np.uint8]

BLOB_STRENGTH = 0.9
"""Strength of painting from blobs. At 1 it begins from noise alone, and the blobs have no effect."""

LOADING_SHARE = 0.4
"""Share of the phase that loading the generator takes if it is not in memory yet."""


COMPLETED_PX, COMPLETED_SAMPLES = 128, 64
"""Largest side of the views rendered from the reconstruction, and samples a ray."""


def complete_views(
    request: GenerateRequest, job: JobFolder, framed: FourViews, model: LoadedModel, report: OnProgress
) -> FourViews:
    """Step 2 without a generator: `request.painted` rendered from the reconstruction of the others, written to the job's folder.

    Args:
        request: The request.
        job: Receives the views.
        framed: The known views, which are not written again.
        model: A reconstructor that takes fewer than four views.
        report: Is told each view; what it raises ends the phase.

    Returns:
        All four views, those that were rendered marked as such.
    """
    from ..photos.framing import resized
    from ..rendering.volumetric import render_field

    field = field_of_views(model, framed.to_reconstruct)
    cameras = dict(zip(VIEW_NAMES, request.rig.c2w(), strict=True))
    px = min(framed.px, COMPLETED_PX)
    rendered = {}
    for done, name in enumerate(request.painted):
        report(done / len(request.painted), f"Working out the {name} view")
        rgba = render_field(field, cameras[name], request.rig.fovy_deg, px, samples=COMPLETED_SAMPLES)
        rendered[name] = resized((np.clip(rgba, 0, 1) * 255 + 0.5).astype(np.uint8), framed.px)
        write_view(job.view(name), rendered[name], is_rendered=True)
    return framed.with_views(rendered, are_rendered=True)


@dataclass(frozen=True)
class Start:
    """The start of painting: views uint8 [4, S, S, 4], or None for blobs; the strength, how far painting may depart;
    and a sentence for the artist if the example is not quite what was asked for."""

    views: UInt8Array | None = None
    strength: float = BLOB_STRENGTH
    note: str = ""


def paint_views(
    request: GenerateRequest, job: JobFolder, framed: FourViews, models: ModelCache, folder: Path, device: str,
    report: OnProgress,
) -> tuple[FourViews, LoadedGenerator]:  # fmt: skip
    """Step 2: the views of `request.painted`, written to the job's folder; on the CPU if the GPU's memory is short.

    Args:
        request: The request.
        job: Receives the previews and the views.
        framed: The known views, which are not written again.
        models: Cache that keeps the generator.
        folder: The generator's.
        device: Device to paint on.
        report: Is told each step, with its `Preview`; what it raises ends the painting.

    Returns:
        All four views, and the generator that painted some of them.

    Raises:
        WeightsError: The generator cannot be read.
        EngineError: Not one of the four views shows anything.
    """
    import torch

    try:
        generator, notes, painted = _paint_on(device, request, job, framed, models, folder, report)
    except torch.OutOfMemoryError:
        logger.warning("out of memory on %s, going on with the CPU", device)
        report(0.0, "The GPU is out of memory: continuing on the CPU")
        generator, notes, painted = _paint_on("cpu", request, job, framed, models, folder, report)
    views = framed.with_views(painted)
    if len(empty_views(views)) == len(VIEW_NAMES):
        raise EngineError("The painted views are empty: describe the object in other words, or try another seed.")
    for name, image in painted.items():
        write_view(job.view(name), image)
    return views.with_warnings(*_warnings(request, generator), *notes), generator


def _paint_on(
    device: str, request: GenerateRequest, job: JobFolder, framed: FourViews, models: ModelCache, folder: Path,
    report: OnProgress,
) -> tuple[LoadedGenerator, list[str], dict[str, UInt8Array]]:  # fmt: skip
    """Paint on one device; returns the generator, sentences for the artist, and the painted views, as large as the known ones."""
    import torch

    from ..photos.framing import resized

    ready = 0.0 if models.has_generator(folder, device) else LOADING_SHARE
    if ready:
        report(0.0, "Loading the generator")
    generator = models.get_generator(folder, device)
    pipeline = generator.pipeline
    known = {name: resized(image, pipeline.view_px) for name, image in framed.to_reconstruct.items()}
    request = understood(request, generator, bool(known))
    start = choose_start(request, generator, known)

    def after_step(_: Any, step: int, timestep: Any, tensors: Mapping[str, Any]) -> None:
        share = ready + (1 - ready) * (step + 1) / (request.steps + 1)
        preview = write_preview(request, job, pipeline, step + 1, tensors["predicted_latents"])
        report(share, f"Painting: step {step + 1} of {request.steps}", preview)

    report(ready, "Painting")
    output = pipeline(
        request.prompt,
        request.negative_prompt,
        known_views=known,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        generator=torch.Generator().manual_seed(request.seed % 2**63),
        object_size=request.object_size,
        strength=start.strength,
        start_views=start.views,
        keep_start_detail=True,
        callback_on_step_end=after_step,
    )
    notes = [start.note] if start.note else []
    return generator, notes, {name: resized(output[name], framed.px) for name in request.painted}


def understood(request: GenerateRequest, generator: LoadedGenerator, knows_views: bool) -> GenerateRequest:
    """The request with its prompt in English, as the generator reads it.

    Raises:
        InvalidRequestError: The prompt is all there is to go by, and names no thing that is known.
    """
    if not request.prompt.strip() or generator.examples is None:
        return request
    reading = generator.examples.reader.read(request.prompt)
    if request.use_examples and not knows_views:
        reading.require_thing(request.prompt)
    logger.info("the prompt is understood as %r, without %s", reading.text, reading.unknown)
    return replace(request, prompt=reading.text)


def choose_start(request: GenerateRequest, generator: LoadedGenerator, known: Mapping[str, UInt8Array]) -> Start:
    """What the known views and, if one truly looks alike, a stored example say of the others; for a prompt alone, the example
    whose caption is nearest to it; the blobs if examples are not wanted.

    Args:
        request: Says whether examples may be used at all.
        generator: Whose examples.
        known: uint8 [S, S, 4] each, as large as the generator paints; none for a prompt alone.
    """
    if not request.use_examples or generator.examples is None:
        return Start()
    if known:
        example = generator.examples.like(known, request.prompt, request.seed, request.rig)
    else:
        example = generator.examples.pick(request.prompt, request.seed)
    if example is None and not known:
        raise InvalidRequestError(
            f'Nothing like "{request.prompt}" is among the examples: ask for another thing, or switch Start from Examples off.'
        )
    if example is None:
        return Start()
    from ..photos.framing import resized
    from ..retrieval.example_bank import FAR_SIMILARITY

    note = ""
    if not known and example.similarity < FAR_SIMILARITY:
        note = f'The nearest thing known to "{request.prompt}" is {example.caption}: ask for another thing if that is not it.'
    logger.info("starting from %s", repr(example.caption) if example.caption else "the photos alone")
    return Start(np.stack([resized(view, generator.pipeline.view_px) for view in example.views]), example.strength, note)


def write_preview(request: GenerateRequest, job: JobFolder, pipeline: FourViewPipeline, step: int, latents: Any) -> Preview:
    """The painted views as they are after a step, as small PNGs in the job's folder.

    Args:
        request: Says which views are painted.
        job: Its folder `preview` receives them.
        pipeline: Decodes the latents.
        step: Steps that are done.
        latents: float32 [1, C, h, h], clean as far as the denoiser can tell.
    """
    job.preview.mkdir(exist_ok=True)
    views = pipeline.decode_views(latents)
    paths = {name: job.preview / f"{name}_{step:03d}.png" for name in request.painted}
    for name, path in paths.items():
        write_view(path, views[VIEW_NAMES.index(name)])
    return Preview({name: str(path) for name, path in paths.items()}, step, request.steps)


def _warnings(request: GenerateRequest, generator: LoadedGenerator) -> list[str]:
    """Sentences for the artist about settings that have no effect, or a bad one, and about words that were not understood."""
    found = []
    if request.prompt.strip() and generator.examples is not None:
        note = generator.examples.reader.read(request.prompt).note
        found += [note] if note else []
    if request.negative_prompt.strip() and generator.pipeline.guidance_is_folded:
        found.append("This generator has no negative prompt, so yours had no effect.")
    if request.elevation_deg != RIG_ELEVATION_DEG:
        found.append(
            f"Views are painted as seen from {RIG_ELEVATION_DEG:g} degrees above, and yours from {request.elevation_deg:g}: "
            "they will fit together badly."
        )
    if request.fovy_deg != RIG_FOVY_DEG:
        found.append(
            f"Views are painted with a field of view of {RIG_FOVY_DEG:g} degrees, and yours have {request.fovy_deg:g}: "
            "they will fit together badly."
        )
    return found
