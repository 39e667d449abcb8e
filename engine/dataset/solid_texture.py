"""Solid textures: colour variation as a function of position, so that it is the same in every view.

Game assets have flat colours; real things have grain, stains, stripes and faded places. Painting these over the training objects
makes them look more like scans. Perlin 1985, An Image Synthesizer: texture as a function of space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from ..cameras import FloatArray

_GRID = 24  # cells a side of the noise, which repeats beyond


@dataclass(frozen=True)
class SolidTexture:
    """A random solid texture; call it with points and their albedo (see `render.Paint`).

    Attributes:
        noise: float32 [G, G, G, 4], values around 0: brightness, and three channels of colour.
        octaves: Each octave's frequency (noise cells per world unit) and amplitude (sRGB, 0..255).
        tint: Strength of the colour channels beside the brightness.
        stripes: Direction times frequency of sine bands, [3], and their amplitude; amplitude 0 for none.
        levels: Number of steps that the noise is cut into (patches with edges, as labels and stains have); 0 leaves it smooth.
    """

    noise: FloatArray
    octaves: tuple[tuple[float, float], ...]
    tint: float
    stripes: tuple[FloatArray, float]
    levels: int

    @classmethod
    def random(cls, rng: np.random.Generator) -> SolidTexture:
        """Draw one: coarse stains, finer grain, sometimes bands, sometimes patches with sharp edges."""
        strength = float(rng.uniform(8, 40))
        base = float(rng.uniform(1.5, 4))
        octaves = tuple((base * 2.2**k, strength * 0.62**k) for k in range(4))
        direction = rng.normal(size=3)
        bands = float(rng.uniform(4, 30)) if rng.random() < 0.35 else 0.0
        stripes = (direction / np.linalg.norm(direction) * rng.uniform(8, 40)).astype(np.float32)
        noise = rng.normal(0, 0.7, (_GRID, _GRID, _GRID, 4)).astype(np.float32)
        return cls(noise, octaves, float(rng.uniform(0, 0.9)), (stripes, bands), int(rng.choice([0, 0, 2, 3])))

    def __call__(self, points: FloatArray, colour: FloatArray) -> FloatArray:
        """Albedo float32 [N, 3], sRGB 0..255, of points [N, 3] whose plain albedo is `colour`."""
        total = np.zeros((len(points), 4), np.float32)
        for frequency, amplitude in self.octaves:
            total += amplitude * self._value_noise(points * frequency)
        if self.levels:  # equal steps between the extremes of two standard deviations
            spread = 2 * float(np.sqrt(sum(a * a for _, a in self.octaves))) * 0.4
            total = np.round(total / spread * self.levels) * np.float32(spread / self.levels)
        change = total[:, :1] + self.tint * total[:, 1:]
        direction, amplitude = self.stripes
        if amplitude:
            change = change + amplitude * np.sign(np.sin(points @ direction + 0.02 * total[:, :1].T[0]))[:, None]
        return np.clip(colour + change, 0, 255).astype(np.float32)

    def _value_noise(self, places: npt.NDArray[np.floating]) -> FloatArray:
        """Trilinear value noise [N, 4] at places [N, 3] in cells."""
        at = np.ascontiguousarray(places.T, np.float32)
        values = [map_coordinates(self.noise[..., k], at, order=1, mode="grid-wrap") for k in range(4)]
        return np.stack(values, -1).astype(np.float32)
