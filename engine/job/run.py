"""One request on its way from photos or a prompt to an asset: nine steps, and what they hand on to one another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import EngineError
from ..imaging.views import FourViews
from ..models.loading import ModelCache, field_of_views, require_generator, require_reconstructor, takes_fewer_views
from ..models.registry import STARTER_GENERATOR, STARTER_MODEL
from ..types import VIEW_NAMES, Asset, Event, GenerateRequest, Orbit, Planes, Views
from ..version import __version__
from .folder import JobFolder, write_text, written_whole
from .photos_phase import VIEW_PX, frame_views, require_no_empty_view, warnings_of_empty
from .progress import OnProgress
from .result_check import measure_result, warnings_of_result
from .views_phase import complete_views, paint_views

if TYPE_CHECKING:
    from PIL import Image

    from ..reconstructor import Field
    from ..texturing.back_projection import BackProjector

logger = logging.getLogger(__name__)

LATTICE_RESOLUTION = 256
ORBIT_SAMPLES, ORBIT_SLABS = 28, 7
"""Samples a ray of the orbit preview, and parts they are decoded in."""
ROUGHNESS, METALLIC = 0.7, 0.0
LEAST_KNOWN = 3
"""Known views from which on the others are rendered from the reconstruction."""

FloatArray = npt.NDArray[np.float32]
FaceArray = npt.NDArray[np.int32]

MESSAGES: dict[str, str] = {
    "photos": "Reading the photos",
    "views": "Painting",
    "planes": "Understanding the views",
    "orbit": "Turning it around",
    "mesh": "Finding the surface",
    "simplify": "Reducing triangles",
    "unwrap": "Unwrapping",
    "texture": "Painting the texture",
    "asset": "Writing the asset",
}
"""What each phase does, for a person."""


class Run:
    """One request, step by step. Each step writes its result to the job's folder before the next begins.

    Call the steps of `step` in the order of `types.PHASES`; those that a request does not need may be left out.

    Args:
        request: What to make.
        models: Where loaded models are kept.
        device: Torch device of the models.
        job: Where its files are written.

    Attributes:
        request: What to make; with the elevation that the photos' step found.
        job: Where its files are.
        views: Those that are known, after the photos; all four, after the others are rendered or painted.
        field: The object's field, after the planes.
        verts, faces: The surface, float32 [V, 3] and int32 [F, 3], after the mesh; within the budget, after simplification.
        atlas: The mesh with its UV atlas, after unwrapping.
        projector: The views, ready to colour the mesh, after unwrapping; None without views.
        hashes: SHA-256 of the weights that were used, by file.
        warnings: Sentences about a mesh that is not what the views show, after simplification.

    Raises:
        OSError: The request cannot be written.
    """

    def __init__(self, request: GenerateRequest, models: ModelCache, device: str, job: JobFolder) -> None:
        self.request, self.models, self.device, self.job = request, models, device, job
        self.views = FourViews.none(VIEW_PX, request.rig)
        self.field: Field | None = None
        self.verts: FloatArray = np.zeros((0, 3), np.float32)
        self.faces: FaceArray = np.zeros((0, 3), np.int32)
        self.atlas: Any = None
        self.projector: BackProjector | None = None
        self.hashes: dict[str, str] = {}
        self.warnings: tuple[str, ...] = ()
        write_text(job.request, request.to_json() + "\n")

    def step(self, phase: str) -> Callable[[OnProgress], None]:
        """The step of a phase, to be called with what it reports its progress to.

        Raises:
            PhotoError: The planes are next, and a view is empty.
        """
        if phase == "planes":
            require_no_empty_view(self.views)
        steps: dict[str, Callable[[OnProgress], None]] = {
            "photos": self.frame_photos, "views": self.paint_missing_views, "planes": self.encode_planes,
            "orbit": self.render_orbit, "mesh": self.extract_surface, "simplify": self.simplify, "unwrap": self.unwrap,
            "texture": self.bake_texture, "asset": self.write_asset,
        }  # fmt: skip
        return steps[phase]

    def results(self, phase: str) -> Iterator[Event]:
        """What the phases up to this one made, to be told when it is over."""
        if phase == ("views" if self.request.painted else "photos") and len(self.views) == len(VIEW_NAMES):
            paths = {name: str(path) for name, path in self.job.view_paths.items()}
            yield Views(paths, (*self.views.warnings, *warnings_of_empty(self.views)), self.request.painted)
        elif phase == "planes":
            yield Planes(str(self.job.planes))
        elif phase == "orbit":
            frames = sorted(str(path) for path in self.job.orbit.glob("frame_*.png"))
            yield Orbit(tuple(frames), str(self.job.orbit_gif), str(self.job.orbit_webp))

    def frame_photos(self, report: OnProgress) -> None:
        """Step 1: photos are cut out and framed, or the views that an earlier run left are taken over."""
        self.views = frame_views(self.request, self.job, report, self._rerender_psnr)
        if self.views.rig != self.request.rig:  # its elevation was found, for the rest of the job
            self.request = replace(self.request, elevation_deg=self.views.rig.elevation_deg)
            write_text(self.job.request, self.request.to_json() + "\n")

    def paint_missing_views(self, report: OnProgress) -> None:
        """Step 2: the views that no photo shows are rendered from the reconstruction of the others, or painted."""
        if completes_views(self.request):
            model = self.models.get(model_folder(self.request), self.device)
            self.views = complete_views(self.request, self.job, self.views, model, report)
            return
        folder = generator_folder(self.request)
        self.views, generator = paint_views(self.request, self.job, self.views, self.models, folder, self.device, report)
        self.hashes |= generator.sha256

    def encode_planes(self, report: OnProgress) -> None:
        """Step 3: the object's field, its planes in `planes.safetensors`; on the CPU if the GPU's memory is short."""
        import torch
        from safetensors.torch import save

        torch.manual_seed(self.request.seed % 2**63)
        np.random.seed(self.request.seed % 2**32)
        folder = model_folder(self.request)
        model = self.models.get(folder, self.device)
        report(0.5)
        try:
            field = field_of_views(model, self.views.to_reconstruct)
        except torch.OutOfMemoryError:
            logger.warning("out of memory on %s, going on with the CPU", self.device)
            report(0.5, "The GPU is out of memory: continuing on the CPU")
            model = self.models.get(folder, "cpu")
            field = field_of_views(model, self.views.to_reconstruct)
        report(0.9)
        planes = field.encoded.planes[0].permute(0, 3, 1, 2)  # [3, C, R, R]
        with written_whole(self.job.planes) as path:
            path.write_bytes(save({"planes": planes.to("cpu", torch.float16).contiguous()}))
        self.field = field
        self.hashes |= model.sha256

    def render_orbit(self, report: OnProgress) -> None:
        """Step 4: one turn around the field, as PNGs, GIF and WebP."""
        from ..cameras import RIG_FOVY_DEG
        from ..rendering.turntable import compose, turn_c2w, write_turntable
        from ..rendering.volumetric import render_field

        request, job, field = self.request, self.job, self._known_field
        count = request.orbit_frames
        images: list[Image.Image] = []
        for camera in turn_c2w(count, request.elevation_deg):
            report(len(images) / (count + 1), f"Frame {len(images) + 1} of {count}")
            frame = render_field(field, camera, RIG_FOVY_DEG, request.orbit_px, samples=ORBIT_SAMPLES, slabs=ORBIT_SLABS)
            images.append(compose((frame * 255 + 0.5).astype(np.uint8), None))
        job.orbit.mkdir(exist_ok=True)  # fails if the job's folder is gone, which is not to be made anew
        write_turntable(images, job.orbit)
        write_turntable([compose(np.asarray(image), (255, 255, 255)) for image in images], job.orbit_gif)
        write_turntable(images, job.orbit_webp)

    def extract_surface(self, report: OnProgress) -> None:
        """Step 5: the surface of the field without specks, in `mesh.npz`.

        Raises:
            EngineError: There is no surface.
        """
        from ..geometry.cleanup import remove_specks
        from ..geometry.extract import extract_mesh

        verts, faces = extract_mesh(self._known_field, LATTICE_RESOLUTION, on_progress=report)
        if len(faces):
            verts, faces = remove_specks(verts, faces)
        if len(faces) == 0:
            raise EngineError("No solid object was found in these views: check that all four show it, each from its own side.")
        with written_whole(self.job.mesh) as path:
            np.savez(path, verts=verts, faces=faces)
        self.verts, self.faces = verts, faces

    def simplify(self, report: OnProgress) -> None:
        """Step 6: no more triangles than the budget; the mesh is then compared with the views."""
        from ..geometry.simplify import simplify

        self.verts, self.faces = simplify(self.verts, self.faces, self.request.poly_budget)
        known = self.views.to_reconstruct
        facts = measure_result(self.verts, self.faces, known)
        self.warnings = warnings_of_result(facts, known)
        logger.info("the mesh: %s", facts)

    def unwrap(self, report: OnProgress) -> None:
        """Step 7: the UV atlas, in `asset.npz`; beside it, the views are made ready for the texture on another core."""
        from ..texturing.atlas import unwrap
        from ..texturing.texture import projector_of

        request = self.request
        with ThreadPoolExecutor(1, "tetraview-projector") as pool:
            views = self.views.to_reconstruct
            projector = pool.submit(projector_of, self.verts, self.faces, views, request.rig, self._known_field)
            self.atlas = atlas = unwrap(self.verts, self.faces, request.texture_px)
        self.projector = projector.result()
        with written_whole(self.job.asset) as path:
            np.savez(path, verts=atlas.verts, faces=atlas.faces, uvs=atlas.uvs, uv_faces=atlas.uv_faces)

    def bake_texture(self, report: OnProgress) -> None:
        """Step 8: the albedo, in `albedo.png`."""
        from PIL import Image

        from ..texturing.texture import paint_texture

        request = self.request
        painted = paint_texture(
            self._known_field, self.atlas, self.views.to_reconstruct, request.rig, request.texture_px, report, self.projector
        )
        with written_whole(self.job.albedo) as path:
            Image.fromarray(painted).save(path, compress_level=3)

    def write_asset(self, report: OnProgress) -> None:
        """Step 9: `asset.glb`."""
        from ..texturing.glb import write_glb

        with written_whole(self.job.glb) as path:
            write_glb(path, self.atlas, self.job.albedo.read_bytes(), ROUGHNESS, METALLIC)

    def asset(self, timings: Mapping[str, float]) -> Asset:
        """The finished asset; `timings` are the seconds of each phase."""
        job, atlas = self.job, self.atlas
        return Asset(
            str(job.glb), str(job.asset), str(job.albedo), ROUGHNESS, METALLIC, len(atlas.verts), len(atlas.faces),
            dict(timings), __version__, self.hashes, self.warnings,
        )  # fmt: skip

    @property
    def _known_field(self) -> Field:
        if self.field is None:
            raise RuntimeError("the planes come first")
        return self.field

    def _rerender_psnr(self, views: FourViews) -> float:
        """How well a reconstruction shows the views again, dB; the reconstructor is loaded when this is first asked."""
        from .elevation_score import rerender_psnr

        return rerender_psnr(self.models.get(model_folder(self.request), self.device), views)


def model_folder(request: GenerateRequest) -> Path:
    """Folder of the reconstructor's weights."""
    return Path(request.model) if request.model else STARTER_MODEL


def generator_folder(request: GenerateRequest) -> Path:
    """Folder of the four-view generator's weights."""
    return Path(request.generator) if request.generator else STARTER_GENERATOR


def completes_views(request: GenerateRequest) -> bool:
    """Whether the views that no photo shows are rendered from the reconstruction of the others; else they are painted.

    A prompt says what they show, so they are then painted from it. One or two photos say too little so far: what the
    starter's reconstructor makes of them is blurred from the side.
    """
    missing = len(request.painted)
    enough = 0 < missing <= len(VIEW_NAMES) - LEAST_KNOWN
    return enough and not request.prompt.strip() and takes_fewer_views(model_folder(request))


def _is_painting(request: GenerateRequest, phases: tuple[str, ...]) -> bool:
    return "views" in phases and not completes_views(request)


def require_weights(request: GenerateRequest, phases: tuple[str, ...]) -> None:
    """Raise `WeightsError` if the weights that these phases need are missing."""
    if _is_painting(request, phases):
        require_generator(generator_folder(request))
    if "planes" in phases or completes_views(request):
        require_reconstructor(model_folder(request))


def is_warm(request: GenerateRequest, phases: tuple[str, ...], models: ModelCache, device: str) -> bool:
    """Whether all models that these phases need are loaded already."""
    reconstructs = "planes" in phases or completes_views(request)
    return (not reconstructs or models.has(model_folder(request), device)) and (
        not _is_painting(request, phases) or models.has_generator(generator_folder(request), device)
    )
