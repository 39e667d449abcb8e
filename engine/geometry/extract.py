"""From a signed distance field to a closed mesh: coarse to fine on the A15 lattice.

Coarse: the field at all period corners, 1/4 of the resolution; they are vertices of the lattice, so nothing is wasted. Then
the centres of the periods that the surface crosses or may cross, to see which of them really may. Fine: all vertices of
those. Then the refined region grows until it holds every tetrahedron around every crossed edge, which makes each surface that
was found at all a closed one, the same as from a dense evaluation. All outside the open box [-1, 1]^3 counts as outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import maximum_filter

from .lattice import SITES, Lattice
from .marching_tets import LatticeSurface, march_lattice

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_POINTS_AT_ONCE = 131_072
_BORDER_SDF = -1e-6  # outside, yet so near the surface that a shape which leaves the box is cut off flat at its faces


class Field(Protocol):
    """What the extraction needs of a field: no gradients, batched over points, positive inside."""

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance [N] at world points float32 [N, 3]."""

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor:
        """The same as `sdf(-1 + 2 * ijk / resolution)`, [N], for lattice coordinates int64 [N, 3]."""


def extract_mesh(
    field: Field, resolution: int = 256, on_progress: Callable[[float], None] | None = None, *, margin: float = 1.25
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """The surface of a field as a closed mesh, evaluating `field.lattice_sdf` only near it.

    Args:
        field: The field; see `Field`.
        resolution: Lattice steps from -1 to 1; a positive multiple of 4.
        on_progress: Called with the share of this step that is done, 0..1, never falling. It may raise to stop.
        margin: Periods whose samples have one sign are refined, too, where the sdf could still reach 0 between the samples
            if it fell `margin` times as steeply as anywhere near: what finds parts thinner than a period.

    Returns:
        verts: float32 [V, 3], world units; each is used by a face.
        faces: int32 [F, 3], counter-clockwise seen from outside; every edge has exactly two. Both empty if nothing is inside.

    Raises:
        ValueError: The resolution is not a positive multiple of 4, or the field gives NaN.
    """
    surface = extract_surface(field, resolution, on_progress, margin=margin)
    return surface.verts(), surface.faces.astype(np.int32)


def extract_surface(
    field: Field, resolution: int = 256, on_progress: Callable[[float], None] | None = None, *, margin: float = 1.25
) -> LatticeSurface:
    """As `extract_mesh`, but leaves each vertex as the lattice edge it lies on, for training through the positions."""
    lattice = Lattice(resolution)
    samples = _Samples(field, lattice)
    side, site_count = lattice.side, len(SITES)

    tet_periods = lattice.tet_periods()
    corners, centres = (samples.values.reshape(side, side, side, site_count)[..., site] for site in (0, 1))  # views
    samples.evaluate(np.arange(side**3) * site_count, _scaled(on_progress, 0.0, 0.3))
    slope = _slope(corners)
    may_cross = _may_cross(corners, None, slope * margin)
    samples.evaluate(tet_periods[may_cross.reshape(-1)] * site_count + 1, _scaled(on_progress, 0.3, 0.4))
    may_cross &= _may_cross(corners, centres[:-1, :-1, :-1], slope * margin)
    active = np.zeros(side**3, bool)
    active[tet_periods] = may_cross.reshape(-1)
    refined = np.zeros_like(active)
    while True:
        new = (active & ~refined).nonzero()[0]
        if len(new) == 0:
            break
        first = not refined.any()
        refined[new] = True
        wanted = np.zeros(lattice.n_verts, bool)
        wanted[site_count * new[:, None] + lattice.vert_steps] = True
        samples.evaluate(wanted.nonzero()[0], _scaled(on_progress, 0.4, 0.95) if first else None)
        # A period is crossed if it has known vertices on both sides; those not refined yet make the region grow.
        rest = tet_periods[~refined[tet_periods]]
        active[rest] = samples.crosses(rest)
    surface = march_lattice(lattice, samples.values, refined.nonzero()[0])
    if on_progress:
        on_progress(1.0)
    return surface


def extract_mesh_dense(field: Field, resolution: int = 256) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """As `extract_mesh`, by evaluating `field.sdf` at every vertex of the lattice: the plain way, to compare with.

    Args:
        field: The field; see `Field`.
        resolution: Lattice steps from -1 to 1; a positive multiple of 4.

    Returns:
        verts, faces: As from `extract_mesh`.

    Raises:
        ValueError: The resolution is not a positive multiple of 4, or the field gives NaN.
    """
    lattice = Lattice(resolution)
    samples = _Samples(field, lattice)
    samples.evaluate_dense()
    surface = march_lattice(lattice, samples.values, lattice.tet_periods())
    return surface.verts(), surface.faces.astype(np.int32)


class _Samples:
    """The sdf at the lattice's vertices, as far as it is known.

    `values` float32 [n_verts] is meaningful where `known`; the border is known from the start, as outside.
    """

    def __init__(self, field: Field, lattice: Lattice) -> None:
        self.field, self.lattice = field, lattice
        self.known = ~lattice.interior()
        self.values = np.full(lattice.n_verts, _BORDER_SDF, np.float32)

    def evaluate(self, verts: IntArray, on_progress: Callable[[float], None] | None) -> None:
        """Make the values of these vertices known through `field.lattice_sdf`."""
        verts = verts[~self.known[verts]]
        for start in range(0, len(verts), _POINTS_AT_ONCE):
            batch = verts[start : start + _POINTS_AT_ONCE]
            ijk = torch.from_numpy(self.lattice.ijk(batch))
            self._store(batch, self.field.lattice_sdf(ijk, self.lattice.resolution))
            if on_progress:
                on_progress((start + len(batch)) / len(verts))

    def evaluate_dense(self) -> None:
        """Make all values known through `field.sdf`."""
        verts = (~self.known).nonzero()[0]
        for start in range(0, len(verts), _POINTS_AT_ONCE):
            batch = verts[start : start + _POINTS_AT_ONCE]
            points = torch.from_numpy(self.lattice.positions(self.lattice.ijk(batch)))
            self._store(batch, self.field.sdf(points))

    def _store(self, verts: IntArray, sdf: torch.Tensor) -> None:
        if sdf.shape != (len(verts),):
            raise ValueError(f"The field must give one signed distance a point, [{len(verts)}], but gave {tuple(sdf.shape)}.")
        values = sdf.detach().cpu().float().numpy()
        if np.isnan(values).any():
            raise ValueError(f"The signed distance is not a number at {int(np.isnan(values).sum())} of {len(values)} points.")
        self.values[verts] = values
        self.known[verts] = True

    def crosses(self, periods: IntArray) -> BoolArray:
        """Whether the known vertices of each period's tetrahedra lie on both sides, bool [P]."""
        known_inside = self.known & (self.values > 0)
        known_outside = self.known & ~known_inside
        some_inside, some_outside = np.zeros(len(periods), bool), np.zeros(len(periods), bool)
        for step in self.lattice.vert_steps:
            some_inside |= known_inside[len(SITES) * periods + step]
            some_outside |= known_outside[len(SITES) * periods + step]
        return some_inside & some_outside


def _slope(corner_sdf: FloatArray) -> FloatArray:
    """Steepest slope in and next to each period, [n - 1, n - 1, n - 1], sdf per period, from the corners' sdf [n, n, n].

    The sdf need not be a true distance: only its own slopes count.
    """
    squares = np.zeros(tuple(n - 1 for n in corner_sdf.shape), np.float32)
    for axis in range(3):
        steps = np.diff(corner_sdf, axis=axis) ** 2
        for other in {0, 1, 2} - {axis}:
            steps = np.maximum(_lower(steps, other), _upper(steps, other))
        squares += steps
    return maximum_filter(np.sqrt(squares), size=3)


def _may_cross(corner_sdf: FloatArray, centre_sdf: FloatArray | None, slope: FloatArray) -> BoolArray:
    """Whether 0 is crossed in each period, or could be between the samples at this slope.

    Args:
        corner_sdf: float32 [n, n, n], of the period corners.
        centre_sdf: float32 [n - 1, n - 1, n - 1], of the period centres; None if not known yet.
        slope: float32 [n - 1, n - 1, n - 1], sdf per period.

    Returns:
        bool [n - 1, n - 1, n - 1].
    """
    low, high = corner_sdf, corner_sdf
    for axis in range(3):
        low, high = np.minimum(_lower(low, axis), _upper(low, axis)), np.maximum(_lower(high, axis), _upper(high, axis))
    farthest = np.sqrt(3) / 2  # of any point from the nearest sample, in periods
    if centre_sdf is not None:
        low, high = np.minimum(low, centre_sdf), np.maximum(high, centre_sdf)
        farthest = np.sqrt(5) / 4
    return (low <= farthest * slope) & (high > -farthest * slope)


def _lower(values: FloatArray, axis: int) -> FloatArray:
    return values[(slice(None),) * axis + (slice(None, -1),)]


def _upper(values: FloatArray, axis: int) -> FloatArray:
    return values[(slice(None),) * axis + (slice(1, None),)]


def _scaled(on_progress: Callable[[float], None] | None, start: float, end: float) -> Callable[[float], None] | None:
    """`on_progress` for a part of the step, from `start` to `end`."""
    if on_progress is None:
        return None
    return lambda share: on_progress(start + (end - start) * share)
