"""Places where the photos of the hard inputs are taken: paper, coloured walls, gradients, table-tops and clutter.

They are made from formulas and random numbers alone. The four photos of one object show different parts of one place.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...cameras import FloatArray
from ...imaging.colour import linear_to_srgb

FAMILIES = ("wall", "gradient", "table", "clutter")
"""The kinds of random background, see `Place`."""

PAPER_GREYS = (0.24, 0.55, 0.86)
"""sRGB levels of the sheets of paper that a careful photographer has at hand."""


@dataclass(frozen=True)
class Place:
    """The place in which an object is photographed.

    Attributes:
        family: "paper" (an even sheet, the advice of the panel), "wall" (one random colour), "gradient" (two colours, and a
            vignette), "table" (grained wood before a wall, with a contact shadow) or "clutter" (texture, stripes and other
            things behind the object).
        colours: float32 [8, 3], sRGB 0..1, what it is painted with.
    """

    family: str
    colours: FloatArray

    @classmethod
    def paper(cls, subject_level: float, rng: np.random.Generator) -> Place:
        """A nearly neutral sheet, of the grey that differs most from the subject's own level (sRGB, 0..1)."""
        grey = max(PAPER_GREYS, key=lambda level: abs(level - subject_level))
        return cls("paper", np.tile(grey + rng.normal(0, 0.006, 3), (8, 1)).astype(np.float32))

    @classmethod
    def draw(cls, family: str, rng: np.random.Generator) -> Place:
        """A place with random colours, bright and dark, dull and saturated."""
        hue, value = rng.uniform(0, 360, 8), rng.uniform(0.2, 0.95, 8)
        saturation = rng.beta(1.2, 2.0, 8)
        hsv = np.stack([hue, saturation, value], -1)[None].astype(np.float32)
        colours = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0], np.float32)
        if family == "table":  # wood, and a wall in a quiet colour
            colours[0] = np.array((0.62, 0.44, 0.28)) * rng.uniform(0.5, 1.3) + rng.normal(0, 0.03, 3)
            colours[1] = 0.7 * colours[1].mean() + 0.3 * colours[1]
        return cls(family, colours.clip(0.02, 0.98))

    def behind(self, alpha: FloatArray, rng: np.random.Generator) -> FloatArray:
        """The background of a photo.

        Args:
            alpha: float32 [H, W], the subject's coverage, 0..1: the table's edge and the shadow depend on it.
            rng: Source of randomness for this photo.

        Returns:
            float32 [H, W, 3], sRGB 0..1.
        """
        painters = {
            "paper": self._paper, "wall": self._paper, "gradient": self._gradient, "table": self._table, "clutter": self._clutter
        }  # fmt: skip
        return np.asarray(painters[self.family](alpha, rng).clip(0, 1), np.float32)

    def _paper(self, alpha: FloatArray, rng: np.random.Generator) -> FloatArray:
        y, x = _axes(alpha.shape)
        slope = rng.normal(0, 0.015, 2)
        shade = 1 + slope[0] * x + slope[1] * y - 0.02 * (x * x + y * y)
        return self.colours[0] * shade[..., None] + rng.normal(0, 0.004, (*alpha.shape, 1)).astype(np.float32)

    def _gradient(self, alpha: FloatArray, rng: np.random.Generator) -> FloatArray:
        y, x = _axes(alpha.shape)
        angle = rng.uniform(0, 2 * np.pi)
        share = 0.5 + 0.4 * (np.cos(angle) * x + np.sin(angle) * y)
        mixed = share[..., None] * self.colours[0] + (1 - share[..., None]) * (0.5 * self.colours[0] + 0.5 * self.colours[1])
        return np.asarray(mixed * (1 - 0.22 * (x * x + y * y))[..., None])

    def _table(self, alpha: FloatArray, rng: np.random.Generator) -> FloatArray:
        height, width = alpha.shape
        rows = np.flatnonzero((alpha > 0.5).any(1))
        top, foot = (int(rows[0]), int(rows[-1])) if len(rows) else (height // 3, 2 * height // 3)
        horizon = int(top + rng.uniform(0.05, 0.6) * (foot - top))
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        depth = height / np.maximum(y - horizon + 0.15 * height, 1)  # planks run away from the viewer
        across, along = (x - width / 2) / width * depth, depth * 3
        warp = _noise((height, width), 5, rng)
        grain = 0.5 + 0.5 * np.sin(90 * across + 4 * warp + 0.7 * along) * (0.6 + 0.4 * _noise((height, width), 40, rng))
        seams = np.abs(np.mod(across * 3.2 + 0.5, 1) - 0.5) < 0.008 * depth
        wood = self.colours[0] * (0.82 + 0.26 * grain[..., None]) * np.where(seams, 0.6, 1.0)[..., None]
        wall = self.colours[1] * (1 + 0.05 * _noise((height, width), 8, rng))[..., None]
        scene = np.where((y > horizon)[..., None], wood, wall)
        return np.asarray(scene * _contact_shadow(alpha, rng)[..., None])

    def _clutter(self, alpha: FloatArray, rng: np.random.Generator) -> FloatArray:
        height, width = alpha.shape
        cloud = 0.6 * _noise((height, width), 6, rng) + 0.4 * _noise((height, width), 30, rng)
        scene = self.colours[0] + (self.colours[1] - self.colours[0]) * (0.5 + 0.5 * cloud)[..., None]
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.04, 0.12) * height
        stripes = np.mod((np.cos(angle) * x + np.sin(angle) * y) / period, 1) < 0.5
        patch = (x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2 < (rng.uniform(0.3, 0.7) * height) ** 2
        scene = np.where((stripes & patch)[..., None], self.colours[2], scene).astype(np.float32)
        for colour in self.colours[3:]:  # things that stand about, each with a lit and a shaded side
            thing = np.zeros((height, width), np.float32)
            centre = (int(rng.uniform(0, width)), int(rng.uniform(0.1, 1.0) * height))
            size = (int(rng.uniform(0.05, 0.2) * height), int(rng.uniform(0.05, 0.25) * height))
            if rng.random() < 0.5:
                cv2.ellipse(thing, centre, size, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
            else:
                corners = cv2.boxPoints((centre, (2 * size[0], 2 * size[1]), float(rng.normal(0, 8))))
                cv2.fillConvexPoly(thing, corners.astype(np.int32), 1.0, cv2.LINE_AA)
            lit = 0.75 + 0.5 * (x - centre[0] + size[0]) / (2 * size[0])
            share = cv2.GaussianBlur(thing, (0, 0), 1.2)[..., None]
            scene = scene * (1 - share) + colour * lit.clip(0.6, 1.25)[..., None] * share
        return np.asarray(scene * _contact_shadow(alpha, rng)[..., None])


def blackbody_gains(kelvin: float) -> FloatArray:
    """Linear RGB [3] of white paper in the light of a black body, photographed as if it were lit by one of 6,500 K.

    They leave the paper's luminance as it is. Chromaticity by the cubic fit of Kim et al. 2002, Design of
    advanced color temperature control system, valid from 1,667 to 25,000 K.
    """
    white, daylight = (_blackbody_rgb(k) for k in (kelvin, 6500.0))
    gains = white / daylight
    return (gains / (gains @ (0.2126, 0.7152, 0.0722))).astype(np.float32)


def _blackbody_rgb(kelvin: float) -> npt.NDArray[np.float64]:
    t = 1000 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    xyz = np.array([x / y, 1.0, (1 - x - y) / y])
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.maximum(to_rgb @ xyz, 0.01)


def sensor_noise(linear: FloatArray, rng: np.random.Generator, *, shot: float = 0.0012, read: float = 0.006) -> FloatArray:
    """Linear light [H, W, 3] as a small sensor at about ISO 3200 reads it: variance `shot` times the light plus `read` squared.

    Demosaicing smooths the noise over neighbours; the variance stated is that of the result.
    """
    grain = rng.standard_normal(linear.shape).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.6)
    grain /= grain.std()
    return np.asarray(linear + grain * np.sqrt(shot * np.maximum(linear, 0) + read**2), np.float32)


def to_bytes(linear: FloatArray) -> npt.NDArray[np.uint8]:
    """Linear light as 8-bit sRGB."""
    return (linear_to_srgb(linear) * 255 + 0.5).astype(np.uint8)


def _axes(shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return y.astype(np.float32), x.astype(np.float32)


def _noise(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> FloatArray:
    """Smooth noise [H, W] of about -1..1 with so many cells over the height."""
    height, width = shape
    grid = rng.uniform(-1, 1, (cells + 1, max(2, cells * width // height + 1))).astype(np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _contact_shadow(alpha: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Factors [H, W]: dark where the subject stands, fading to the side that the lamp is not on."""
    rows, columns = np.nonzero(alpha > 0.5)
    shade = np.zeros(alpha.shape, np.float32)
    if len(rows) == 0:
        return np.ones(alpha.shape, np.float32)
    extent_y, extent_x = int(np.ptp(rows)), int(np.ptp(columns))
    foot = int(rows.max() - 0.08 * extent_y)
    middle = int((columns.min() + columns.max()) / 2 + rng.normal(0, 0.12) * extent_x)
    cv2.ellipse(shade, (middle, foot), (int(0.55 * extent_x) + 2, int(0.16 * extent_y) + 2), 0, 0, 360, 1.0, -1)
    near, far = (cv2.GaussianBlur(shade, (0, 0), share * max(extent_x, extent_y)) for share in (0.02, 0.08))
    return np.asarray(1 - 0.3 * near - 0.25 * far, np.float32)
