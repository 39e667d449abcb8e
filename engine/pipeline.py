"""The one path from a request to an asset; the command line, Blender and the tests all drive this iterator."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import EngineError, InvalidRequestError, PhotoError, WeightsError
from .library import JobFolder, TimingHistory, default_home, write_json, write_text, written_whole
from .steps import JobClock, OnProgress, StepRunner
from .types import PHASES, VIEW_NAMES, Asset, Event, GenerateRequest, Planes, Progress, Views
from .version import __version__

if TYPE_CHECKING:
    from .reconstructor import Field, Reconstructor

logger = logging.getLogger(__name__)

STARTER_MODEL = Path(__file__).resolve().parent / "weights" / "starter" / "reconstructor"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
VIEW_PX = 512
LATTICE_RESOLUTION = 256
ROUGHNESS, METALLIC = 0.7, 0.0

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LoadedModel:
    """A reconstructor on its device, with the hash of its weights."""

    reconstructor: Reconstructor
    device: str
    sha256: Mapping[str, str]


class ModelCache:
    """Keeps the model of the last job in memory for the next one."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int] | None = None
        self._loaded: LoadedModel | None = None

    def get(self, folder: Path, device: str) -> LoadedModel:
        """The reconstructor of a folder on a device, loaded only if it, the file or the device changed.

        Raises:
            WeightsError: No weights there, or they cannot be read.
        """
        weights = folder / WEIGHTS_FILE
        if not weights.is_file() or not (folder / "config.json").is_file():
            raise WeightsError(f"There are no reconstructor weights in {folder}: it needs config.json and {WEIGHTS_FILE}.")
        key = (str(folder.resolve()), device, weights.stat().st_mtime_ns)
        if self._loaded is None or self._key != key:
            self._loaded, self._key = None, None  # free the old one first
            self._loaded, self._key = _load_model(folder, device), key
        return self._loaded

    def has(self, folder: Path, device: str) -> bool:
        """Whether `get` would find it in memory."""
        return self._key is not None and self._key[:2] == (str(folder.resolve()), device)


def generate(
    request: GenerateRequest,
    *,
    stop_after: str | None = None,
    models: ModelCache | None = None,
    history: TimingHistory | None = None,
) -> Generator[Event, None, None]:
    """Make an asset from four photos, or from the framed views of an earlier run.

    Each stage's result is on disk in `request.output_dir` before the next begins. Closing the iterator cancels the job.

    Args:
        request: What to make.
        stop_after: Name of the last phase to run; None for all of them.
        models: Where loaded models are kept between jobs; a new, empty one if None.
        history: Timings of earlier jobs, for the ETA; those in the engine's home if None.

    Yields:
        `Progress` all along, `Views` after the photos, `Planes` after the planes, `Asset` at the end.

    Raises:
        EngineError: The job cannot be done; one sentence says why.
    """
    request.check()
    if stop_after is not None and stop_after not in PHASES:
        raise InvalidRequestError(f"Unknown phase {stop_after!r}: use one of {', '.join(PHASES)}.")
    from .devices import choose_device, use_all_cores

    models = ModelCache() if models is None else models
    history = TimingHistory(default_home()) if history is None else history
    last = len(PHASES) if stop_after is None else PHASES.index(stop_after) + 1
    phases = tuple(phase for phase in request.phases if phase in PHASES[:last])
    model_folder = Path(request.model) if request.model else STARTER_MODEL
    device = choose_device(request.device)
    job = begin_job(request)
    setting = {
        "device": device.name,
        "warm": models.has(model_folder, device.name),
        "from_views": request.views_dir is not None,
        "texture_px": request.texture_px,
        "poly_budget": request.poly_budget,
    }
    clock = JobClock(phases, history.expected_s(setting, phases))
    if device.note:
        yield Progress(phases[0], 0.0, None, device.note)

    with job_log(job), StepRunner(clock, use_all_cores) as steps:
        # 1 Photos: cut out and framed, or the views that an earlier run left
        views, warnings = yield from steps.run("photos", "Reading the photos", lambda report: frame_views(request, job, report))
        yield Views({name: str(path) for name, path in job.view_paths.items()}, warnings)
        if stop_after == "photos":
            return
        # 2 Reserved: denoise the views that no photo shows
        # 3 Planes
        field, model = yield from steps.run(
            "planes", "Understanding the views",
            lambda report: encode_views(request, job, views, models, model_folder, device.name, report),
        )  # fmt: skip
        yield Planes(str(job.planes))
        if stop_after == "planes":
            return
        # 4 Signed distance field -> mesh
        verts, faces = yield from steps.run("mesh", "Finding the surface", lambda report: extract(job, field, report))
        if stop_after == "mesh":
            return
        # 5 Simplify
        verts, faces = yield from steps.run("simplify", "Reducing triangles", lambda _: reduce(verts, faces, request.poly_budget))
        if stop_after == "simplify":
            return
        # 6 UV atlas
        atlas = yield from steps.run("unwrap", "Unwrapping", lambda _: unwrap_mesh(job, verts, faces, request.texture_px))
        if stop_after == "unwrap":
            return
        # 7 Texture
        albedo = yield from steps.run("texture", "Painting", lambda report: paint(request, job, field, atlas, views, report))
        if stop_after == "texture":
            return
        # 8 Asset
        yield from steps.run("asset", "Writing the asset", lambda _: write_asset(job, atlas, albedo))
        timings = {**{phase: round(seconds, 4) for phase, seconds in clock.seconds.items()}, "total": round(clock.total_s, 4)}
        write_json(job.timings, timings)
        history.record(setting, clock.seconds)
        logger.info("done in %.2f s", clock.total_s)
        yield Asset(
            str(job.glb), str(job.asset), str(job.albedo), ROUGHNESS, METALLIC,
            len(atlas.verts), len(atlas.faces), timings, __version__, model.sha256,
        )  # fmt: skip


def begin_job(request: GenerateRequest) -> JobFolder:
    """Make the job's folder and write its request.

    Raises:
        EngineError: The folder cannot be written.
    """
    job = JobFolder(Path(request.output_dir))
    try:
        job.begin()
        write_text(job.request, request.to_json() + "\n")
    except OSError as error:
        raise EngineError(f"The folder {job.path} cannot be written ({error.strerror}): choose another one.") from error
    return job


def frame_views(request: GenerateRequest, job: JobFolder, report: OnProgress) -> tuple[dict[str, UInt8Array], tuple[str, ...]]:
    """Step 1: the four framed views, written to the job's folder.

    Returns:
        views: uint8 [S, S, 4] RGBA, straight alpha, keyed by name.
        warnings: Sentences for the artist.
    """
    from PIL import Image

    if request.views_dir is not None:
        views, warnings = read_views(Path(request.views_dir)), ()
        same_place = Path(request.views_dir).resolve() == job.views.resolve()
    else:
        from .photos.intake import prepare_views

        prepared = prepare_views(
            request.photos, cutout=request.cutout, view_px=VIEW_PX, elevation_deg=request.elevation_deg, on_progress=report
        )
        views, warnings, same_place = {name: prepared.images[name] for name in VIEW_NAMES}, tuple(prepared.warnings), False
    for name, image in views.items():
        if same_place:
            break
        with written_whole(job.view(name)) as path:
            Image.fromarray(image).save(path, compress_level=1)
    return views, warnings


def read_views(folder: Path) -> dict[str, UInt8Array]:
    """The framed views of an earlier run, perhaps edited since.

    Raises:
        PhotoError: One is missing, no image, not square, without alpha, or not of the size of the others.
    """
    from PIL import Image, UnidentifiedImageError

    views: dict[str, UInt8Array] = {}
    for name in VIEW_NAMES:
        path = folder / f"{name}.png"
        try:
            with Image.open(path) as image:
                has_alpha = image.has_transparency_data
                views[name] = np.asarray(image.convert("RGBA"), np.uint8)
        except FileNotFoundError as error:
            raise PhotoError(f"There is no {name}.png among the views in {folder}: start from the photos instead.") from error
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PhotoError(f"The view {path} cannot be read: start from the photos instead.") from error
        height, width = views[name].shape[:2]
        if height != width or not has_alpha:
            raise PhotoError(f"The view {path} must be a square PNG with an alpha channel; it is {width} x {height} px.")
        if not views[name][..., 3].any():
            raise PhotoError(f"The view {path} is fully transparent: nothing of the object is left in it.")
    sizes = {image.shape for image in views.values()}
    if len(sizes) > 1:
        raise PhotoError(f"The views in {folder} differ in size: make all four as large as the largest.")
    return views


def encode_views(
    request: GenerateRequest, job: JobFolder, views: Mapping[str, UInt8Array], models: ModelCache, folder: Path, device: str,
    report: OnProgress,
) -> tuple[Field, LoadedModel]:  # fmt: skip
    """Step 3: the field of the object, its planes written to the job's folder; on the CPU if the GPU's memory is short."""
    import torch
    from safetensors.torch import save

    torch.manual_seed(request.seed)
    np.random.seed(request.seed % 2**32)
    model = models.get(folder, device)
    report(0.5)
    try:
        field = field_of_views(model, views, request.elevation_deg)
    except torch.OutOfMemoryError:
        logger.warning("out of memory on %s, going on with the CPU", device)
        report(0.5, "The GPU's memory is short: going on with the CPU")
        model = models.get(folder, "cpu")
        field = field_of_views(model, views, request.elevation_deg)
    report(0.9)
    planes = field.encoded.planes[0].permute(0, 3, 1, 2)  # [3, C, R, R]
    with written_whole(job.planes) as path:
        path.write_bytes(save({"planes": planes.to("cpu", torch.float16).contiguous()}))
    return field, model


def field_of_views(model: LoadedModel, views: Mapping[str, UInt8Array], elevation_deg: float) -> Field:
    """The field that the model sees in framed views, uint8 [S, S, 4] RGBA keyed by name."""
    import torch

    stacked = np.stack([views[name] for name in VIEW_NAMES]).transpose(0, 3, 1, 2)  # [4, 4, S, S]
    images = torch.from_numpy(stacked.astype(np.float32) / 255).to(model.device)
    return model.reconstructor.encode(images, elevation_deg)


def extract(job: JobFolder, field: Field, report: OnProgress) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Step 4: the surface of the field without specks, verts float32 [V, 3] and faces int32 [F, 3], written to `mesh.npz`.

    Raises:
        EngineError: There is no surface.
    """
    from .geometry.cleanup import remove_specks
    from .geometry.extract import extract_mesh

    verts, faces = extract_mesh(field, LATTICE_RESOLUTION, on_progress=report)
    if len(faces):
        verts, faces = remove_specks(verts, faces)
    if len(faces) == 0:
        raise EngineError("No solid object was found in these views: check that the cut-outs show it from all four sides.")
    with written_whole(job.mesh) as path:
        np.savez(path, verts=verts, faces=faces)
    return verts, faces


def reduce(
    verts: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], budget: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Step 5: at most `budget` triangles."""
    from .geometry.simplify import simplify

    return simplify(verts, faces, budget)


def unwrap_mesh(job: JobFolder, verts: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], texture_px: int) -> Any:
    """Step 6: the UV atlas, written to `asset.npz`."""
    from .texturing.atlas import unwrap

    atlas = unwrap(verts, faces, texture_px)
    with written_whole(job.asset) as path:
        np.savez(path, verts=atlas.verts, faces=atlas.faces, uvs=atlas.uvs, uv_faces=atlas.uv_faces)
    return atlas


def paint(
    request: GenerateRequest, job: JobFolder, field: Field, atlas: Any, views: Mapping[str, UInt8Array], report: OnProgress
) -> UInt8Array:
    """Step 7: the albedo, uint8 [T, T, 3] sRGB, written to `albedo.png`."""
    from PIL import Image

    from .texturing.texture import paint_texture

    albedo = paint_texture(field, atlas, views, request.elevation_deg, request.texture_px, on_progress=report)
    with written_whole(job.albedo) as path:
        Image.fromarray(albedo).save(path, compress_level=3)
    return albedo


def write_asset(job: JobFolder, atlas: Any, albedo: UInt8Array) -> None:
    """Step 8: `asset.glb`."""
    from .texturing.glb import write_glb

    with written_whole(job.glb) as path:
        write_glb(path, atlas, albedo, ROUGHNESS, METALLIC)


@contextlib.contextmanager
def job_log(job: JobFolder) -> Iterator[None]:
    """Everything the engine logs in the block also goes to the job's `log.txt`."""
    engine_logger = logging.getLogger(__package__)
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


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_model(folder: Path, device: str) -> LoadedModel:
    import torch

    from .reconstructor import Reconstructor

    try:
        reconstructor = Reconstructor.from_pretrained(str(folder), torch_dtype=torch.float32, local_files_only=True)
    except Exception as error:  # diffusers, safetensors and json each have their own
        logger.exception("cannot load %s", folder)
        raise WeightsError(f"The reconstructor weights in {folder} cannot be read: get them again.") from error
    reconstructor = reconstructor.to(device).eval().requires_grad_(False)
    return LoadedModel(reconstructor, device, {f"{folder.name}/{WEIGHTS_FILE}": sha256_of(folder / WEIGHTS_FILE)})
