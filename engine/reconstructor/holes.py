"""Close the holes that a mesh would have where the network stops light without being sure of a surface.

Where it is unsure how deep a thing lies, as with the seat of a chair or a plate seen flat, it spreads its density along the
rays: they end, so that a volumetric render is whole, yet the density reaches the surface's level nowhere and the mesh is torn.
Seen along an axis such a place is opaque, misses the surface, and is enclosed by places that meet it. There, and only there, the
signed distance is lifted until the densest point of the column is inside: a thin sheet at the likeliest depth.
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
"""How far below the surface the densest point may lie, world units of the signed distance; below that nothing is closed."""

THICKNESS = 0.012
"""Of the sheet, about; world units. One and a half steps of the finest lattice."""

Float32Array = npt.NDArray[np.float32]


def hole_lifts(density: Float32Array, distance: Float32Array) -> Float32Array:
    """What to add to the signed distance of columns that lie in holes.

    Args:
        density: float32 [G, G, G], axes x, y, z, at the centres of cells that span -1..1; per world unit, 0 outside the hull.
        distance: float32 [G, G, G], signed distance there, world units, positive inside.

    Returns:
        float32 [3, G, G], world units: planes xy, xz, yz, of which the first axis runs along the columns of the picture
        (`PLANE_AXES`); 0 where there is no hole.
    """
    spacing = 2.0 / density.shape[0]
    lifts = []
    for along in (2, 1, 0):
        opaque, nearest = density.sum(along) * spacing >= OPAQUE, distance.max(along)
        meets = nearest > 0
        hole = ndimage.binary_fill_holes(meets) & opaque & ~meets & (nearest > -MOST)
        lift = np.where(hole, THICKNESS / 2 - nearest, 0)
        lifts.append(ndimage.grey_dilation(lift, (3, 3)).T)
    return np.stack(lifts).astype(np.float32)
