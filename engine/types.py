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

PHASES: tuple[str, ...] = ("photos", "planes", "mesh", "simplify", "unwrap", "texture", "asset")
"""The phases of a job from photos, in order."""

POLY_BUDGET_RANGE = (100, 200_000)
TEXTURE_SIZES_PX = (256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class GenerateRequest:
    """Everything a run depends on; stored as JSON beside the result and on the Blender object.

    Attributes:
        photos: Path of the photo of each view, keyed by a name of `VIEW_NAMES`. All four, unless `views_dir` is given.
        output_dir: The job's folder; every stage's result is written there before the next begins.
        views_dir: Folder with `front.png`, `right.png`, `back.png`, `left.png` of an earlier run (RGBA, framed): start from
            these, without cutting out or framing again.
        poly_budget: Never more triangles than this.
        texture_px: Side of the square albedo texture, pixels.
        elevation_deg: Elevation of the four cameras, degrees, positive up.
        cutout: "auto", "alpha", "plain" (plain background) or "birefnet" (when its weights are present).
        device: "auto", "cpu", "cuda" or "mps".
        model: Folder of reconstructor weights; None for the starter weights of the package.
        seed: Seed of every random choice.
    """

    photos: Mapping[str, str]
    output_dir: str
    views_dir: str | None = None
    poly_budget: int = 10_000
    texture_px: int = 1024
    elevation_deg: float = 20.0
    cutout: str = "auto"
    device: str = "auto"
    model: str | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise `InvalidRequestError`, in one sentence, if this request cannot be run."""
        unknown = sorted(set(self.photos) - set(VIEW_NAMES))
        if unknown:
            raise InvalidRequestError(f"Unknown view {unknown[0]!r}: use front, right, back and left.")
        missing = [name for name in VIEW_NAMES if name not in self.photos]
        if self.views_dir is None and missing:
            raise InvalidRequestError(f"No photo for the {' and '.join(missing)} view: choose one for each of the four sides.")
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

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> GenerateRequest:
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in json.loads(text).items() if key in known})


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
class Views:
    """The four framed views, shown before any reconstruction.

    Attributes:
        paths: PNG (RGBA, straight alpha) of each view, keyed by name.
        warnings: Sentences for the artist ("The front photo touches the frame: step back a little.").
    """

    paths: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planes:
    """The triplanes are on disk: `path` is a safetensors file with `planes` [3, C, R, R]."""

    path: str


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


Event = Union[Progress, Views, Planes, Asset]

_EVENT_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in (Progress, Views, Planes, Asset)}


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
    if name == "Views":
        fields["warnings"] = tuple(fields.get("warnings", ()))
    event: Event = _EVENT_TYPES[name](**fields)
    return event
