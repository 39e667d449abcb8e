"""Inputs and outputs of the engine: plain frozen dataclasses, standard library only.

`generate(request)` yields these events in the order of the phases in `PHASES`. On the wire between Blender and the engine
process each is one JSON object, `{"type": "<class name>", ...fields}`; arrays never travel, only the paths of files in the
job's folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, Union

from .errors import InvalidRequestError
from .request_fields import Choice, check_values, describe, request_from_dict, request_to_dict, values_that_change

if TYPE_CHECKING:
    from .cameras import Rig

VIEW_NAMES: tuple[str, ...] = ("front", "right", "back", "left")
"""The four views in the order of the grid: azimuths 0, 90, 180 and 270 degrees."""

PHASES: tuple[str, ...] = ("photos", "views", "planes", "orbit", "mesh", "simplify", "unwrap", "texture", "asset")
"""The phases of a job, in order. A job without photos has no "photos", one that paints nothing no "views", and "orbit" is
there only where it is asked for; see `GenerateRequest.phases`."""

ORBIT_FRAMES_RANGE = (2, 120)
MAX_PROMPT_CHARACTERS = 1000
SEED_LIMIT = 2**31 - 1
"""The greatest seed that Blender's integer property holds; the engine takes any."""

VIEW_CHOICES = tuple(Choice(name, name.capitalize(), f"The {name} view") for name in VIEW_NAMES)


@dataclass(frozen=True)
class GenerateRequest:
    """Everything that a run depends on; stored as JSON beside the result and on the Blender object.

    Each field says beside it what it means, which values it accepts, and whether the views change with it. Its check, the wire
    format, the command line's option, Blender's property and the key of the views follow from that: see `request_fields.py`.
    """

    photos: Mapping[str, str] = field(
        metadata=describe(
            "Path of the photo of each view, keyed by the view's name; views without a photo are painted",
        )
    )
    output_dir: str = field(
        metadata=describe("The job's folder; every stage's result is written there before the next begins", unit="folder")
    )
    prompt: str = field(
        default="",
        metadata=describe(
            "What the object is, such as: a red armchair",
            label="Prompt", longest=MAX_PROMPT_CHARACTERS, changes="painting",
        ),
    )  # fmt: skip
    negative_prompt: str = field(
        default="",
        metadata=describe(
            "What the object must not be",
            label="Avoid", longest=MAX_PROMPT_CHARACTERS, changes="painting", group="painting", option="--negative",
            section="painting",
        ),
    )  # fmt: skip
    views_dir: str | None = field(
        default=None,
        metadata=describe(
            "Folder with front.png, right.png, back.png and left.png of an earlier run (transparent, framed). They are used "
            "as they are, not cut out, framed or painted again; the folder is not changed",
            unit="folder", group="strip", option="--views",
        ),
    )  # fmt: skip
    repaint: tuple[str, ...] = field(
        default=(),
        metadata=describe(
            "Views of the earlier run to paint again from prompt and seed, such as left,back; the others are not changed",
            called="Repainting the view {}", choices=VIEW_CHOICES, group="strip",
        ),
    )  # fmt: skip
    flip: tuple[str, ...] = field(
        default=(),
        metadata=describe(
            "Views of the earlier run to mirror left to right, after any replacement",
            called="Flipping the view {}", choices=VIEW_CHOICES, group="strip",
        ),
    )  # fmt: skip
    replace: tuple[str, ...] = field(
        default=(),
        metadata=describe(
            "Views of the earlier run to take from photos instead, cut out and framed; the other photos are not read",
            called="Replacing the view {}", choices=VIEW_CHOICES,
        ),
    )  # fmt: skip
    poly_budget: int = field(
        default=10_000,
        metadata=describe(
            "The mesh never has more triangles than this",
            label="Triangles", called="A budget of {} triangles", bounds=(100, 200_000), group="result", section="mesh",
        ),
    )  # fmt: skip
    texture_px: int = field(
        default=1024,
        metadata=describe(
            "Width and height of the texture, pixels",
            label="Texture", called="A texture of {} px", unit="px", group="result", option="--texture", section="mesh",
            choices=tuple(
                Choice(size, f"{size} px", f"A texture of {size} by {size} pixels") for size in (256, 512, 1024, 2048, 4096)
            ),
        ),
    )  # fmt: skip
    elevation_deg: float = field(
        default=20.0,
        metadata=describe(
            "How far above eye level the photos were taken, degrees; 0 is level with the object",
            label="Camera Elevation", called="An elevation of {} degrees", bounds=(-60, 60), unit="deg", changes="photos",
            group="how", option="--elevation", section="mesh", property_name="elevation",
        ),
    )  # fmt: skip
    fovy_deg: float = field(
        default=30.0,
        metadata=describe(
            "Vertical angle that the photos show, degrees; 0 for pictures without perspective, as drawn turnarounds are",
            label="Field of View", called="A field of view of {} degrees", bounds=(0, 90), unit="deg", changes="photos",
            group="how", option="--lens", section="mesh", property_name="lens",
        ),
    )  # fmt: skip
    find_elevation: bool = field(
        default=False,
        metadata=describe(
            "With photos of two sides or more, estimate the elevation they were taken from, starting at the one set above. "
            "Renders with a transparent background keep the one set",
            label="Find Elevation", changes="photos", group="how", section="mesh", panel_default=True,
        ),
    )  # fmt: skip
    cutout: str = field(
        default="auto",
        metadata=describe(
            "How the object is separated from its background",
            label="Cut-out", called="The cut-out method {}", changes="photos", group="how",
            choices=(
                Choice(
                    "auto", "Automatic",
                    "Use the photo's transparency if it has any, else find the background; "
                    "a small network helps where it is busy",
                ),
                Choice("alpha", "Transparency", "Trust the transparency of the photos"),
                Choice("plain", "Plain Background", "Photos taken before a plain wall, cloth or table"),
                Choice("birefnet", "BiRefNet", "A neural cut-out for busy backgrounds; needs its weights on this computer"),
            ),
        ),
    )  # fmt: skip
    device: str = field(
        default="auto",
        metadata=describe(
            "Hardware that the engine runs on",
            called="The device {}", numbered=True, group="how", metavar="NAME",
            choices=(
                Choice("auto", "Automatic", "The graphics card if the engine can use it, else the processor"),
                Choice("cpu", "Processor", "Works everywhere"),
                Choice("cuda", "NVIDIA (CUDA)", "An NVIDIA graphics card"),
                Choice("mps", "Apple (Metal)", "The graphics of an Apple computer"),
            ),
        ),
    )  # fmt: skip
    model: str | None = field(
        default=None,
        metadata=describe("Folder of reconstructor weights; the shipped weights if empty", unit="folder", group="how"),
    )
    generator: str | None = field(
        default=None,  # of this computer, not of the scene: it is no part of the views' key
        metadata=describe("Folder of the four-view generator; the shipped generator if empty", unit="folder", group="painting"),
    )
    seed: int = field(
        default=0,
        metadata=describe(
            "The same inputs, settings and seed give the same views and mesh",
            label="Seed", usual=(0, SEED_LIMIT), changes="painting", group="painting",
        ),
    )  # fmt: skip
    steps: int = field(
        default=6,
        metadata=describe(
            "Denoising steps: more take longer and look finer, up to a point",
            label="Steps", called="{} steps", bounds=(1, 100), usual=(1, 20), changes="painting", group="painting",
            section="painting",
        ),
    )  # fmt: skip
    guidance: float = field(
        default=4.0,
        metadata=describe(
            "How closely the prompt is followed; 1 turns guidance off",
            label="Guidance", called="A guidance of {}", bounds=(0, 20), usual=(0, 10), changes="painting", group="painting",
            section="painting",
        ),
    )  # fmt: skip
    object_size: float = field(
        default=0.55,
        metadata=describe(
            "Share of the view that the object fills, if painting does not start from an example",
            label="Object Size", called="An object size of {}", bounds=(0.1, 1.0), unit="share", changes="painting",
            group="painting", section="painting",
        ),
    )  # fmt: skip
    use_examples: bool = field(
        default=True,
        metadata=describe(
            "Start from the stored example that best matches the prompt, not from grey blobs",
            label="Start from Examples", changes="painting", group="painting", option="--no-examples",
            option_help="Never start from a stored example", section="painting",
        ),
    )  # fmt: skip
    orbit_frames: int = field(
        default=0,
        metadata=describe(
            "Frames of the orbit preview, rendered before the mesh is made; 0 for none",
            called="An orbit of {} frames", bounds=ORBIT_FRAMES_RANGE, also=(0,),
        ),
    )  # fmt: skip
    orbit_px: int = field(
        default=128,
        metadata=describe(
            "Side of a frame of the orbit preview", called="An orbit of {} px", bounds=(64, 512), unit="px", group="result"
        ),
    )

    @property
    def rig(self) -> Rig:
        """The cameras that the photos, or the views of an earlier run, were seen from."""
        from .cameras import Rig

        return Rig(self.elevation_deg, self.fovy_deg)

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
        check_values(self)
        self._check_edits()

    def _check_edits(self) -> None:
        edits = {"repaint": self.repaint, "flip": self.flip, "replace": self.replace}
        for edit, names in edits.items():
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

    def views_key(self) -> str:
        """A key of all that the four views depend on: two requests with the same key start with the same views.

        Fields that concern photos are left out where there are none, and those that concern painting where nothing is painted.
        """
        cutting = values_that_change(self, "photos") if self.photos else ""
        painting = values_that_change(self, "painting") if self.painted else ""
        text = json.dumps([dict(self.photos), cutting, painting], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()  # it goes into .blend files: no path may be read from it

    def to_json(self) -> str:
        return json.dumps(request_to_dict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The request that `to_json` wrote, here or in another version; fields that are not known here are left out.

        Raises:
            InvalidRequestError: A field is missing or of another type.
            ValueError: The text is no JSON.
        """
        try:
            fields = json.loads(text)
        except RecursionError as error:
            raise ValueError("too deep") from error
        request: Self = request_from_dict(cls, fields, ignore_unknown=True)
        return request


@dataclass(frozen=True)
class Progress:
    """Progress of the job.

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
    """The orbit preview: one turn around the field, counter-clockwise from the front, before the mesh is made.

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
        warnings: Sentences for the artist if the mesh is not what the views show.
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
    warnings: tuple[str, ...] = ()


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
