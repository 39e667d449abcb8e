"""Close holes in the mesh where the field is opaque but its signed distance crosses no surface.

If the network is unsure of a depth, as with the seat of a chair or a plate seen flat, it spreads its density along the rays. A
volumetric render is then whole, but the density nowhere reaches the surface's level and the mesh has a hole. Seen along an axis,
such a column is opaque, crosses no surface, and is enclosed by columns that do. In these columns only, an offset raises the
signed distance until the densest point is inside: a thin sheet at the likeliest depth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

CELLS = 64
"""Columns across -1..1, and points along each."""

OPAQUE = 1.2
"""Optical depth from which a column stops light: it lets three tenths through."""

MOST = 0.04
"""Largest signed distance, in world units, by which the densest point may miss the surface; deeper gaps stay open."""

THICKNESS = 0.012
"""Approximate thickness of the sheet, world units: one and a half steps of the finest lattice."""

Float32Array = npt.NDArray[np.float32]


def hole_fill_offsets(density: Float32Array, distance: Float32Array) -> Float32Array:
    """Offsets to add to the signed distance of columns that lie in holes.

    Args:
        density: float32 [G, G, G], axes x, y, z, at the centres of cells that span -1..1; per world unit, 0 outside the hull.
        distance: float32 [G, G, G], signed distance there, world units, positive inside.

    Returns:
        float32 [3, G, G], world units: planes xy, xz, yz, of which the first axis runs along the columns of the picture
        (`PLANE_AXES`); 0 where there is no hole.
    """
    spacing = 2.0 / density.shape[0]
    offsets = []
    for along in (2, 1, 0):
        # A hole: opaque columns without a surface, enclosed by columns with one, whose densest point nearly is inside.
        opaque, nearest = density.sum(along) * spacing >= OPAQUE, distance.max(along)
        meets = nearest > 0
        hole = ndimage.binary_fill_holes(meets) & opaque & ~meets & (nearest > -MOST)
        offset = np.where(hole, THICKNESS / 2 - nearest, 0)
        # Grow by one cell, so that the sheet meets the surface around it.
        offsets.append(ndimage.grey_dilation(offset, (3, 3)).T)
    return np.stack(offsets).astype(np.float32)
