"""From a signed distance field to a closed mesh: coarse to fine on the A15 lattice.

The field is evaluated in this order:

1. On fine lattices, every second period corner: 1/8 of the resolution.
2. All corners, 1/4 of the resolution, where a surface crosses or may cross.
3. The centres of those periods.
4. The other vertices of those periods whose sign the corners and centres around them leave uncertain.
5. The ends of all crossed edges.

Corners and centres are vertices of the lattice, so no evaluation is wasted. Whether a surface "may cross" follows from the sdf
and its slope nearby, which dilates the region as far as needed.

The refined region then grows until it holds every tetrahedron around every crossed edge. Each surface that was found is therefore
closed and equal to that of a dense evaluation. Everything beyond the open box [-1, 1]^3 counts as outside.

This is the CPU path. If the field is on a device that runs the marching kernel, `extract_on_device` extracts it there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import maximum_filter

from .extract_on_device import device_of, march_on_device
from .lattice import PERIOD, SITES, Lattice
from .marching_tets import LatticeSurface, march_lattice

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_POINTS_AT_ONCE = 131_072
_MIN_COARSE = 32  # resolution from which the corners and centres of the periods are looked at first
_MIN_COARSEST = 192  # and from which every second corner comes before them
_BORDER_SDF = -1e-6  # outside, yet so near the surface that a shape which leaves the box is cut off flat at its faces


class Field(Protocol):
    """The interface that extraction needs of a field: no gradients, batched over points, positive inside.

    It may have an attribute `device`, where it computes; the CPU if it has none.
    """

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
    device = device_of(field)
    if device is not None:
        there = march_on_device(field, Lattice(resolution), device, on_progress, index_dtype=torch.int32)
        return there.verts.cpu().numpy(), there.faces.cpu().numpy()
    surface = extract_surface(field, resolution, on_progress, margin=margin)
    return surface.verts(), surface.faces.astype(np.int32)


def extract_surface(
    field: Field, resolution: int = 256, on_progress: Callable[[float], None] | None = None, *, margin: float = 1.25
) -> LatticeSurface:
    """As `extract_mesh`, but leaves each vertex as the lattice edge it lies on, for training through the positions."""
    device = device_of(field)
    if device is not None:
        lattice = Lattice(resolution)
        there = march_on_device(field, lattice, device, on_progress)
        faces, sdf = there.faces.cpu().numpy(), there.sdf.cpu().numpy()
        return LatticeSurface(lattice.ijk(there.ends.cpu().numpy()), sdf, faces, resolution)
    # 1. Find the periods that the surface may cross, on a coarse grid.
    samples = _Samples(field, Lattice(resolution))
    tet_periods = samples.lattice.tet_periods()
    if resolution < _MIN_COARSE:  # too few samples for a coarse pass to mean anything
        active, reach = np.zeros(samples.lattice.side**3, bool), np.full(samples.lattice.side**3, np.inf, np.float32)
        active[tet_periods] = True
    else:
        active, reach = _coarse_pass(samples, margin, _scaled(on_progress, 0.0, 0.5))
        active |= samples.crossed(samples.known)
    # 2. Refine them, and the neighbours into which the surface turns out to run.
    refined = np.zeros_like(active)
    while (active & ~refined).any():
        new = (active & ~refined).nonzero()[0]
        progress = None if refined.any() else on_progress
        refined[new] = True
        samples.settle(new, reach, _scaled(progress, 0.5, 0.8))
        samples.evaluate_crossed_edges(refined.nonzero()[0], _scaled(progress, 0.8, 0.95))
        # A period is crossed if it has known vertices on both sides; those not refined yet make the region grow.
        active |= samples.crossed(samples.known)
    # 3. March through the refined periods only.
    surface = march_lattice(samples.lattice, samples.values, refined.nonzero()[0])
    if on_progress:
        on_progress(1.0)
    return surface


def _coarse_pass(samples: _Samples, margin: float, on_progress: Callable[[float], None] | None) -> tuple[BoolArray, FloatArray]:
    """Find the periods that the surface crosses or may cross, from their corners and centres.

    Returns:
        active: bool [periods of the lattice].
        reach: float32 [periods of the lattice]; a vertex has the sign of the four corners and centres next to it for certain if
            they agree and one is farther from 0 than this.
    """
    side = samples.lattice.side
    corners, centres = (samples.values.reshape(side, side, side, len(SITES))[..., site] for site in (0, 1))  # views
    tet_periods = samples.lattice.tet_periods()

    # All corners; but on a fine lattice every second first, then those of the blocks of 2 x 2 x 2 periods that may be crossed,
    # while the rest is interpolated, which keeps the sign.
    if samples.lattice.resolution < _MIN_COARSEST:
        _evaluate_corners(samples, np.ones((side,) * 3, bool), _scaled(on_progress, 0.0, 0.6))
    else:
        _evaluate_corners(samples, _every_second(side), _scaled(on_progress, 0.0, 0.2))
        coarse = _without_border(corners, 2)
        blocks = _may_cross(coarse, None, _slope(coarse) * margin)
        _evaluate_corners(samples, _corners_of_blocks(blocks, side), _scaled(on_progress, 0.2, 0.6))
        unknown = ~samples.known.reshape(side, side, side, len(SITES))[..., 0]
        corners[unknown] = _upsampled(coarse, side)[unknown]

    # The centres of the periods that may be crossed, to see which of them still may
    fine = _without_border(corners, 1)
    slope = _slope(fine) * margin
    may_cross = _may_cross(fine, None, slope)
    may_cross[0], may_cross[:, 0], may_cross[:, :, 0] = False, False, False  # beyond the box
    samples.evaluate(tet_periods[may_cross.reshape(-1)] * len(SITES) + 1, _scaled(on_progress, 0.6, 1.0))
    may_cross &= _may_cross(fine, centres[:-1, :-1, :-1], slope)
    active = np.zeros(side**3, bool)
    active[tet_periods] = may_cross.reshape(-1)
    # The four around a vertex average to its place: were the sdf linear, their sign would be its sign. The reach guards against
    # curvature only, for which half the distance has been enough.
    return active, np.pad(slope, (0, 1), mode="edge").reshape(-1) * np.float32(0.5 * np.sqrt(5) / PERIOD)


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

    def settle(self, periods: IntArray, reach: FloatArray, on_progress: Callable[[float], None] | None) -> None:
        """Give all vertices of these periods' tetrahedra a value of the right sign.

        Args:
            periods: Ids, int64 [P].
            reach: float32 [periods of the lattice], as from `_coarse_pass`.
            on_progress: Called with the share done.
        """
        lattice = self.lattice
        # The vertices of these periods whose value is not known yet.
        wanted = np.zeros(lattice.n_verts, bool)
        base = (len(SITES) * periods).astype(np.int32)
        for step in lattice.vert_steps.astype(np.int32):
            wanted[base + step] = True
        verts = (wanted & ~self.known).nonzero()[0]
        period, site = np.divmod(verts, len(SITES))
        # Corners and centres (the first two sites) are always evaluated.
        self.evaluate(verts[site < 2], None)
        verts, period, site = verts[site >= 2], period[site >= 2], site[site >= 2]
        # The others take the mean of the four around them if its sign is certain, and are evaluated if not.
        around = len(SITES) * period + lattice.coarse_steps.T[:, site]  # [4, N]
        near = self.values[around]
        low, high = near.min(0), near.max(0)
        certain = self.known[around].all(0) & (((high <= 0) & (low < -reach[period])) | ((low > 0) & (high > reach[period])))
        self.values[verts[certain]] = near[:, certain].mean(0)
        self.evaluate(verts[~certain], on_progress)

    def evaluate_crossed_edges(self, periods: IntArray, on_progress: Callable[[float], None] | None) -> None:
        """Make the values at both ends of each crossed edge in these periods, int64 [P], known."""
        lattice = self.lattice
        while True:
            base = (len(SITES) * periods[self.crossed()[periods]]).astype(np.int32)
            inside = self.values > 0
            wanted = np.zeros(lattice.n_verts, bool)
            for first, second in lattice.edge_end_steps.astype(np.int32):  # edge by edge: what a core's cache holds
                cut = base[inside[base + first] != inside[base + second]]
                wanted[cut + first] = True
                wanted[cut + second] = True
            # Evaluate the interpolated ends; repeat while that changes signs.
            verts = (wanted & ~self.known).nonzero()[0]
            if len(verts) == 0:
                return
            signs = self.values[verts] > 0
            self.evaluate(verts, on_progress)
            if np.array_equal(signs, self.values[verts] > 0):
                return  # what was crossed still is, and nothing else
            on_progress = None

    def crossed(self, where: BoolArray | None = None) -> BoolArray:
        """Whether the vertices of each period's tetrahedra, of those in `where` [n_verts], lie on both sides, bool [periods]."""
        inside = self.values > 0
        outside = ~inside
        if where is not None:
            inside, outside = inside & where, outside & where
        return self.lattice.any_vert(inside) & self.lattice.any_vert(outside)


def _without_border(corners: FloatArray, step: int) -> FloatArray:
    """Every `step`-th corner on each axis, those on the border and beyond replaced by the next within the box, if any.

    The border's own value says that it is outside, not how far the surface is.
    """
    for axis in range(3):
        side = corners.shape[axis]
        within = [k for k in range(0, side, step) if 2 <= k <= side - 2] or [0]
        corners = corners.take([min(max(k, within[0]), within[-1]) for k in range(0, side, step)], axis)
    return corners


def _every_second(side: int) -> BoolArray:
    """Corners whose index is even on every axis, bool [side, side, side]."""
    even = np.arange(side) % 2 == 0
    return even[:, None, None] & even[:, None] & even


def _evaluate_corners(samples: _Samples, which: BoolArray, on_progress: Callable[[float], None] | None) -> None:
    """Make the values of these period corners, bool [side, side, side], known."""
    samples.evaluate(which.reshape(-1).nonzero()[0] * len(SITES), on_progress)


def _upsampled(coarse: FloatArray, side: int) -> FloatArray:
    """Linear interpolation of values at every second corner, [n, n, n], to all, [side, side, side]."""
    for axis in range(3):
        fine = np.repeat(coarse, 2, axis)
        odd = (slice(None),) * axis + (slice(1, -1, 2),)
        fine[odd] = (_lower(coarse, axis) + _upper(coarse, axis)) / 2
        coarse = fine[(slice(None),) * axis + (slice(side),)]
    return coarse


def _corners_of_blocks(blocks: BoolArray, side: int) -> BoolArray:
    """Corners, bool [side, side, side], within or on the edge of any of these blocks of 2 x 2 x 2 periods."""
    corners = blocks
    for axis in range(3):
        spread = np.zeros(tuple(side if k == axis else n for k, n in enumerate(corners.shape)), bool)
        for start in range(3):
            part = spread[(slice(None),) * axis + (slice(start, start + 2 * corners.shape[axis], 2),)]
            part |= corners[(slice(None),) * axis + (slice(part.shape[axis]),)]
        corners = spread
    return corners


def _slope(corner_sdf: FloatArray) -> FloatArray:
    """Steepest slope in and next to each period, [n - 1, n - 1, n - 1], sdf per period, from the corners' sdf [n, n, n].

    The sdf need not be a true distance: only its own slopes count.
    """
    # Sum over the axes of the steepest squared difference along the period's edges.
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
    # Least and greatest corner value of each period.
    low, high = corner_sdf, corner_sdf
    for axis in range(3):
        low, high = np.minimum(_lower(low, axis), _upper(low, axis)), np.maximum(_lower(high, axis), _upper(high, axis))
    # A value can fall by the slope times the distance to the nearest sample, in periods.
    farthest = np.sqrt(3) / 2
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
