"""What goes into the engine and what comes out: plain frozen dataclasses, standard library only.

`generate(request)` yields these events in the order of the phases in `PHASES`. On the wire between Blender and the engine
process each is one JSON object, `{"type": "<class name>", ...fields}`; arrays never travel, only the paths of files in the
job's folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from .errors import InvalidRequestError

VIEW_NAMES: tuple[str, ...] = ("front", "right", "back", "left")
"""The four views in the order of the grid: azimuths 0, 90, 180 and 270 degrees."""

PHASES: tuple[str, ...] = ("photos", "views", "planes", "orbit", "mesh", "simplify", "unwrap", "texture", "asset")
"""The phases of a job, in order. A job without photos has no "photos", one that paints nothing no "views", and "orbit" is
there only where it is asked for; see `GenerateRequest.phases`."""

POLY_BUDGET_RANGE = (100, 200_000)
TEXTURE_SIZES_PX = (256, 512, 1024, 2048, 4096)
STEPS_RANGE = (1, 100)
GUIDANCE_RANGE = (0.0, 20.0)
OBJECT_SIZE_RANGE = (0.1, 1.0)
ORBIT_FRAMES_RANGE = (2, 120)
ORBIT_SIZES_PX = (64, 512)
MAX_PROMPT_LETTERS = 1000


@dataclass(frozen=True)
class GenerateRequest:
    """Everything a run depends on; stored as JSON beside the result and on the Blender object.

    Attributes:
        photos: Path of the photo of each view, keyed by a name of `VIEW_NAMES`. The views that none shows are painted.
        output_dir: The job's folder; every stage's result is written there before the next begins.
        prompt: What the object is; may be empty where there are photos.
        negative_prompt: What it must not be.
        views_dir: Folder with `front.png`, `right.png`, `back.png`, `left.png` of an earlier run (RGBA, framed): start from
            these, without cutting out, framing or painting again, but for the edits below. The folder itself is not changed.
        repaint: With `views_dir`: views to paint once more from `prompt` and `seed`; all others stay byte for byte.
        flip: With `views_dir`: views to mirror left to right; a view that is also replaced, after that.
        replace: With `views_dir`: views to take from `photos` instead, cut out and framed; the other photos are not read.
        poly_budget: Never more triangles than this.
        texture_px: Side of the square albedo texture, pixels.
        elevation_deg: Elevation of the four cameras, degrees, positive up.
        find_elevation: With photos of all four sides: look for the elevation they were taken at, `elevation_deg` being the first
            guess. With `views_dir`: that of the earlier run, if that run looked for it.
        cutout: "auto", "alpha", "plain" (plain background) or "birefnet" (when its weights are present).
        device: "auto", "cpu", "cuda" or "mps".
        model: Folder of reconstructor weights; None for the starter weights of the package.
        generator: Folder of the four-view generator; None for the starter's.
        seed: Seed of every random choice.
        steps: Runs of the denoiser.
        guidance: How strongly the prompt is followed; 1 = not beyond what the denoiser learned.
        object_size: Width of the blobs in the start image, as a share of a view's side.
        use_examples: Start from the stored example whose caption is nearest to the prompt, instead of from the blobs alone,
            where the generator has a bank of them.
        orbit_frames: Frames of the orbit preview, which is rendered from the planes before there is a mesh; 0 for none.
        orbit_px: Side of a frame of it.
    """

    photos: Mapping[str, str]
    output_dir: str
    prompt: str = ""
    negative_prompt: str = ""
    views_dir: str | None = None
    repaint: tuple[str, ...] = ()
    flip: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    poly_budget: int = 10_000
    texture_px: int = 1024
    elevation_deg: float = 20.0
    find_elevation: bool = False
    cutout: str = "auto"
    device: str = "auto"
    model: str | None = None
    generator: str | None = None
    seed: int = 0
    steps: int = 6
    guidance: float = 4.0
    object_size: float = 0.55
    use_examples: bool = True
    orbit_frames: int = 0
    orbit_px: int = 128

    @property
    def painted(self) -> tuple[str, ...]:
        """Names of the views that this job paints, in the order of `VIEW_NAMES`."""
        if self.views_dir is not None:
            return tuple(name for name in VIEW_NAMES if name in self.repaint)
        return tuple(name for name in VIEW_NAMES if name not in self.photos)

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that this job runs, in order."""
        skipped = set()
        if not self.photos and self.views_dir is None:
            skipped.add("photos")
        if not self.painted:
            skipped.add("views")
        if not self.orbit_frames:
            skipped.add("orbit")
        return tuple(phase for phase in PHASES if phase not in skipped)

    def check(self) -> None:
        """Raise `InvalidRequestError`, in one sentence, if this request cannot be run."""
        unknown = sorted(set(self.photos) - set(VIEW_NAMES))
        if unknown:
            raise InvalidRequestError(f"Unknown view {unknown[0]!r}: use front, right, back and left.")
        if len(self.painted) == len(VIEW_NAMES) and not self.prompt.strip():
            raise InvalidRequestError("There is nothing to start from: write a prompt, or choose at least one photo.")
        self._check_edits()
        if len(self.prompt) > MAX_PROMPT_LETTERS or len(self.negative_prompt) > MAX_PROMPT_LETTERS:
            raise InvalidRequestError(f"The prompt is too long: use at most {MAX_PROMPT_LETTERS} letters.")
        _check_range("{:g} steps", self.steps, STEPS_RANGE)
        _check_range("A guidance of {:g}", self.guidance, GUIDANCE_RANGE)
        _check_range("An object size of {:g}", self.object_size, OBJECT_SIZE_RANGE)
        if self.orbit_frames:
            _check_range("An orbit of {:g} frames", self.orbit_frames, ORBIT_FRAMES_RANGE)
            _check_range("An orbit of {:g} px", self.orbit_px, ORBIT_SIZES_PX)
        low, high = POLY_BUDGET_RANGE
        if not low <= self.poly_budget <= high:
            raise InvalidRequestError(f"A budget of {self.poly_budget} triangles is out of range: use {low} to {high}.")
        if self.texture_px not in TEXTURE_SIZES_PX:
            raise InvalidRequestError(f"A texture of {self.texture_px} px is not offered: use one of {TEXTURE_SIZES_PX}.")
        if not -60.0 <= self.elevation_deg <= 60.0:
            raise InvalidRequestError(f"An elevation of {self.elevation_deg:g} degrees is out of range: use -60 to 60.")
        if self.cutout not in ("auto", "alpha", "plain", "birefnet"):
            raise InvalidRequestError(f"Unknown cut-out method {self.cutout!r}: use auto, alpha, plain or birefnet.")
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda", "mps"):
            raise InvalidRequestError(f"Unknown device {self.device!r}: use auto, cpu, cuda or mps.")

    def _check_edits(self) -> None:
        edits = {"repaint": self.repaint, "flip": self.flip, "replace": self.replace}
        for edit, names in edits.items():
            for name in names:
                if name not in VIEW_NAMES:
                    raise InvalidRequestError(f"Unknown view {name!r} to {edit}: use front, right, back and left.")
            if names and self.views_dir is None:
                raise InvalidRequestError(f"There are no views to {edit}: give the folder of an earlier run's views.")
        for name in self.flip:
            if name in self.repaint:
                raise InvalidRequestError(f"The {name} view can be mirrored or painted again, not both.")
        for name in self.replace:
            if name not in self.photos:
                raise InvalidRequestError(f"No photo to replace the {name} view: choose one.")
            if name in self.repaint:
                raise InvalidRequestError(f"The {name} view can be replaced by a photo or painted again, not both.")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> GenerateRequest:
        known = {f.name for f in dataclasses.fields(cls)}
        fields: dict[str, Any] = {key: value for key, value in json.loads(text).items() if key in known}
        return cls(**dict(fields, **{key: tuple(value) for key, value in fields.items() if isinstance(value, list)}))


def _check_range(text: str, value: float, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise InvalidRequestError(f"{text.format(value)} is out of range: use {low:g} to {high:g}.")


@dataclass(frozen=True)
class Progress:
    """How far the job is.

    Attributes:
        phase: A name of `PHASES`.
        fraction: Share of the whole job that is done, 0..1, never falling.
        eta_s: Expected seconds to the end, from this machine's own history; None until there is one.
        message: A few words for a person ("Cutting out the right view").
    """

    phase: str
    fraction: float
    eta_s: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Preview:
    """The views as they are so far, while they are painted.

    Attributes:
        paths: PNG (RGBA, straight alpha, as small as the generator paints) of each view that is painted, keyed by name; a new
            file each time.
        step, steps: Runs of the denoiser that are done, and all of them.
    """

    paths: Mapping[str, str]
    step: int
    steps: int


@dataclass(frozen=True)
class Views:
    """The four framed views, shown before any reconstruction.

    Attributes:
        paths: PNG (RGBA, straight alpha) of each view, keyed by name.
        warnings: Sentences for the artist ("The front photo touches the frame: step back a little.").
        painted: Names of those that this job painted.
    """

    paths: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    painted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planes:
    """The triplanes are on disk: `path` is a safetensors file with `planes` [3, C, R, R]."""

    path: str


@dataclass(frozen=True)
class Orbit:
    """The orbit preview: one turn around the field, counter-clockwise from the front, before there is a mesh.

    Attributes:
        frames: PNGs (RGBA, straight alpha) in order; the turn loops exactly.
        gif, webp: The same as one animation each.
    """

    frames: tuple[str, ...]
    gif: str
    webp: str


@dataclass(frozen=True)
class Asset:
    """The finished asset.

    Attributes:
        glb: Path of `asset.glb`.
        mesh: Path of `asset.npz`: verts float32 [V, 3], faces int32 [F, 3], uvs float32 [U, 2], uv_faces int32 [F, 3];
            Blender axes, object inside the unit sphere.
        albedo: Path of `albedo.png`, sRGB.
        roughness, metallic: Constants, linear.
        n_verts, n_faces: Counts of the final mesh.
        timings: Seconds of each phase, and "total".
        engine_version: Version of the engine that made it.
        weights_sha256: Hash of each weight file used, keyed by its name.
    """

    glb: str
    mesh: str
    albedo: str
    roughness: float
    metallic: float
    n_verts: int
    n_faces: int
    timings: Mapping[str, float] = field(default_factory=dict)
    engine_version: str = ""
    weights_sha256: Mapping[str, str] = field(default_factory=dict)


Event = Union[Progress, Preview, Views, Planes, Orbit, Asset]

_EVENT_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in (Progress, Preview, Views, Planes, Orbit, Asset)}


def event_to_dict(event: Event) -> dict[str, Any]:
    """The event as a JSON-ready dict with its class name under "type"."""
    return {"type": type(event).__name__, **dataclasses.asdict(event)}


def event_from_dict(message: Mapping[str, Any]) -> Event:
    """The event that `event_to_dict` was given.

    Raises:
        ValueError: "type" names no event.
    """
    fields = dict(message)
    name = fields.pop("type", None)
    if name not in _EVENT_TYPES:
        raise ValueError(f"unknown event type {name!r}")
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    event: Event = _EVENT_TYPES[name](**fields)
    return event
