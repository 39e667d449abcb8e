"""Scales and places of silhouettes from the planes that touch the object in two photos at once.

A plane through two cameras that grazes the object grazes its silhouette in both photos. Each pair of cameras has two such planes,
so four photos give twelve conditions, more than there are unknown scales and shifts. The errors of hand-held cameras against the
rig are only statistically known; they are solved for together with the rest, and each unknown has a Gaussian prior.

Wong and Cipolla 2001, Structure and Motion from Silhouettes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from ..cameras import RIG_AZIMUTH_DEG, Rig, orbit_c2w
from ..types import VIEW_NAMES

Float64Array = npt.NDArray[np.float64]

_TOUCH_SD = 0.006  # standard deviation of a tangent, in half sides of the frame: a pixel or two of a cut-out
# Prior standard deviations of the first guess (log scale, shifts in half sides) and of hands (roll in radians, azimuth and
# elevation in degrees).
_PRIOR_SD = np.array([0.15, 0.08, 0.08, 0.03, 3.0, 2.0])


@dataclass(frozen=True)
class Move:
    """Scale about the middle of an outline's box, then shift right and down."""

    scale: float
    right: float
    down: float


_LONGEST_LENS_DEG = 2.0
"""Field of view that stands for an orthographic lens here: parallel to 2 % of the object's size."""


def align_by_tangents(outlines: Mapping[str, Float64Array], rig: Rig) -> dict[str, Move]:
    """The moves that make all outlines touch common planes.

    Args:
        outlines: float [N, 2] of each of two or more views: points of the convex hull where a first guess has them, in a frame
            that spans -1..1, x right, y down.
        rig: The cameras.
    """
    names = list(outlines)
    azimuth_deg = np.array([RIG_AZIMUTH_DEG[VIEW_NAMES.index(name)] for name in names])
    # The planes meet in the cameras, so none may be at infinity; how far they are does not matter, as only directions count.
    tan = np.tan(np.deg2rad(max(rig.fovy_deg, _LONGEST_LENS_DEG)) / 2)
    middles = [(outlines[name].min(0) + outlines[name].max(0)) / 2 for name in names]

    def residuals(parameters: Float64Array) -> Float64Array:
        unknown = parameters.reshape(len(names), -1)
        moves = unknown * _PRIOR_SD
        cameras = orbit_c2w(azimuth_deg + moves[:, 4], rig.elevation_deg + moves[:, 5]).astype(np.float64)
        rays = []
        for name, middle, move, camera in zip(names, middles, moves, cameras, strict=True):
            points = middle + (outlines[name] - middle) @ _turn(move[3]).T * np.exp(move[0]) + move[1:3]
            local = np.column_stack([points[:, 0] * tan, -points[:, 1] * tan, -np.ones(len(points))])
            rays.append(local @ camera[:3, :3].T)
        touch = []
        for one, other in combinations(range(len(names)), 2):
            towards, side = _axes_about(cameras[one, :3, 3], cameras[other, :3, 3])
            first, second = (np.arctan2(rays[view] @ side, rays[view] @ towards) for view in (one, other))
            touch += [first.max() - second.max(), first.min() - second.min()]
        return np.concatenate([np.array(touch) / tan / _TOUCH_SD, unknown.ravel()])

    solved = least_squares(residuals, np.zeros(len(names) * len(_PRIOR_SD)), loss="soft_l1", max_nfev=20).x
    moves = solved.reshape(len(names), -1) * _PRIOR_SD
    return {name: Move(float(np.exp(m[0])), float(m[1]), float(m[2])) for name, m in zip(names, moves, strict=True)}


def _turn(angle: float) -> Float64Array:
    """The matrix that turns x right, y down clockwise as seen."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _axes_about(one: Float64Array, other: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Two unit vectors across the line between two cameras: towards the origin, and at right angles to that."""
    along = (other - one) / np.linalg.norm(other - one)
    towards = -(one - (one @ along) * along)
    towards /= np.linalg.norm(towards)
    return towards, np.cross(along, towards)
