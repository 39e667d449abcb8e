"""Hard inputs: photos of an object with known truth, degraded as by careless people and cheap cameras.

Every kind of photo starts from the same lit renders of the object. A kind degrades them in one way, "all" in every way at once;
"clean" is the control: even paper behind the object, the rig's cameras, and a file without transparency like all the others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...cameras import RIG_AZIMUTH_DEG, RIG_DISTANCE, RIG_ELEVATION_DEG, RIG_FOVY_DEG, FloatArray, orbit_c2w
from ...dataset.lighting import Light
from ...dataset.render import render_views
from ...dataset.textured_mesh import TexturedMesh
from ...imaging.colour import srgb_to_linear
from ...types import VIEW_NAMES
from .backgrounds import FAMILIES, Place, blackbody_gains, sensor_noise, to_bytes

PHOTO_PX = 768
"""Height of a photo; hand-held ones are 4:3."""

ELEVATION_RANGE_DEG = (8.0, 32.0)
KELVIN_RANGE = (2700.0, 9000.0)
JPEG_RANGE = (15, 30)
FOVY_RANGE_DEG = (24.0, 60.0)

STATEMENT = (
    "Four photos an object, 768 px high, lit by one soft lamp fixed to the world, saved as JPEG (95, full chroma, where not said "
    "otherwise). clean: paper of one of three greys, the rig's cameras. background: a random wall, gradient, wooden table with "
    "a contact shadow, or clutter, in turn. noise: shot and read noise as of ISO 3200. jpeg: quality 15 to 30, chroma at half "
    "size. cast_same, cast_each: the light of a black body of 2,700 to 9,000 K (even in reciprocal kelvin) taken for 6,500 K, "
    "one for all four photos or one for each, exposed for the lights. elevation: taken from 8 to 32 degrees, the request says "
    "20. hand_held: azimuth sd 4, elevation sd 3, roll sd 2 degrees, distance sd 15 %, aim off by sd 3 % of the frame, field of "
    "view 24 to 60 degrees. all: everything."
)


@dataclass(frozen=True)
class Kind:
    """One way to degrade photos; the defaults change nothing. `cast` is "", "same" or "each"."""

    name: str
    background: bool = False
    noise: bool = False
    jpeg: bool = False
    cast: str = ""
    elevation: bool = False
    hand_held: bool = False


CLEAN = Kind("clean")
KINDS: tuple[Kind, ...] = (
    CLEAN,
    Kind("background", background=True),
    Kind("noise", noise=True),
    Kind("jpeg", jpeg=True),
    Kind("cast_same", cast="same"),
    Kind("cast_each", cast="each"),
    Kind("elevation", elevation=True),
    Kind("hand_held", hand_held=True),
    Kind("all", background=True, noise=True, jpeg=True, cast="each", elevation=True, hand_held=True),
)


@dataclass(frozen=True)
class Photo:
    """A photo before it is written: uint8 [H, W, 3] sRGB, and its JPEG quality (below 50 with chroma at half size)."""

    rgb: npt.NDArray[np.uint8]
    quality: int = 95

    def save(self, path: Path) -> None:
        """Write the JPEG file."""
        Image.fromarray(self.rgb).save(path, quality=self.quality, subsampling=2 if self.quality < 50 else 0)


@dataclass(frozen=True)
class PhotoSet:
    """The photos of one object, keyed by view, and what was drawn for them (JSON-ready)."""

    photos: dict[str, Photo]
    drawn: dict[str, object]


def take_photos(mesh: TexturedMesh, kind: Kind, *, seed: int, number: int = 0, px: int = PHOTO_PX) -> PhotoSet:
    """Photograph an object of the unit sphere in one way.

    Args:
        mesh: The object.
        kind: The kind of degradation. Conditions that two kinds share (lamp, background, cast ...) are equal in both.
        seed: Seed of every random choice, combined with the object's id.
        number: The object's place in the run: families of backgrounds take turns.
        px: Height of the photos.
    """

    def stream(purpose: str) -> np.random.Generator:
        return np.random.default_rng((seed, zlib.crc32(f"{mesh.id} {purpose}".encode())))

    lamp_rng = stream("lamp")
    lamp = Light(lamp_rng.normal(0, 0.6, 3) + np.array((0, -0.4, 1.0)), ambient=0.75, diffuse=0.35)
    cameras, fovy_deg, elevation_deg = _cameras(kind, stream("cameras"), stream("elevation"))
    rgba = render_views(mesh, cameras, fovy_deg, px, 2, lamp).rgba.astype(np.float32) / 255
    covered = rgba[..., 3] > 0.5
    level = float(np.median(rgba[..., :3][covered])) if covered.any() else 0.5
    family = FAMILIES[number % len(FAMILIES)] if kind.background else "paper"
    place_rng, photo_rng, cast_rng = stream(f"place {family}"), stream("photo"), stream("cast")
    place = Place.draw(family, place_rng) if kind.background else Place.paper(level, place_rng)
    kelvins = [_kelvin(cast_rng) for _ in VIEW_NAMES]
    if kind.cast != "each":
        kelvins = [kelvins[0] if kind.cast else 6500.0] * len(VIEW_NAMES)
    quality = int(stream("jpeg").integers(JPEG_RANGE[0], JPEG_RANGE[1] + 1)) if kind.jpeg else 95
    width = px * 4 // 3 if kind.hand_held else px
    photos = {}
    for name, view, kelvin in zip(VIEW_NAMES, rgba, kelvins, strict=True):
        wide = np.zeros((px, width, 4), np.float32)
        left = (width - px) // 2
        wide[:, left : left + px] = view
        alpha = wide[..., 3:]
        scene = place.behind(wide[..., 3], photo_rng)
        linear = srgb_to_linear(wide[..., :3] * alpha + scene * (1 - alpha)) * blackbody_gains(kelvin)
        linear /= max(1.0, float(np.percentile(linear, 99.5)))  # cameras expose for the lights
        if kind.noise:
            linear = sensor_noise(linear, photo_rng)
        photos[name] = Photo(to_bytes(linear), quality)
    drawn = {
        "family": family, "kelvin": [round(k) for k in kelvins], "quality": quality, "fovy_deg": round(fovy_deg, 2),
        "elevation_deg": round(elevation_deg, 2),
    }  # fmt: skip
    return PhotoSet(photos, drawn)


def _kelvin(rng: np.random.Generator) -> float:
    low, high = KELVIN_RANGE
    return float(1 / rng.uniform(1 / high, 1 / low))


def _cameras(kind: Kind, rng: np.random.Generator, elevation_rng: np.random.Generator) -> tuple[FloatArray, float, float]:
    """c2w [4, 4, 4], the vertical field of view, and the elevation that was aimed at; degrees."""
    elevation_deg = float(elevation_rng.uniform(*ELEVATION_RANGE_DEG)) if kind.elevation else RIG_ELEVATION_DEG
    azimuth_deg = np.array(RIG_AZIMUTH_DEG)
    if not kind.hand_held:
        return orbit_c2w(azimuth_deg, elevation_deg, RIG_DISTANCE), RIG_FOVY_DEG, elevation_deg
    fovy_deg = float(rng.uniform(*FOVY_RANGE_DEG))
    # From here a sphere somewhat larger than the object's fills the frame, so that it stays in the picture.
    distance = 1.4 / np.sin(np.deg2rad(fovy_deg) / 2) * np.exp(rng.normal(0, 0.15, 4).clip(-0.25, 0.35))
    elevations = elevation_deg + rng.normal(0, 3, 4)
    c2w = orbit_c2w(azimuth_deg + rng.normal(0, 4, 4), elevations, distance)
    off = rng.normal(0, 0.03, (4, 2)).clip(-0.06, 0.06) * 2 * np.tan(np.deg2rad(fovy_deg) / 2) * distance[:, None]
    c2w[:, :3, 3] += np.einsum("vij,vj->vi", c2w[:, :3, :2], off).astype(np.float32)
    for camera, roll in zip(c2w, np.deg2rad(rng.normal(0, 2, 4)), strict=True):
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        camera[:3, :2] = camera[:3, :2] @ turn
    return c2w, fovy_deg, elevation_deg
