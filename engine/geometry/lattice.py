"""The periodic A15 lattice on which surfaces are extracted, derived here rather than shipped.

One period is a cube of 4 x 4 x 4 lattice steps holding 8 vertices, 54 edges and 46 tetrahedra. All vertices lie on the integer
lattice; vertex `ijk` of a lattice of `resolution` steps lies at `-1 + 2 * ijk / resolution` in world units. Period corners
and centres are vertices, so a coarse pass over them is a part of the fine one.

The tetrahedra are the Delaunay cells of the A15 crystal structure, which has no five cospherical neighbours: they are unique.
Labelle and Shewchuk 2007, Isosurface Stuffing, and Doran et al. 2013 use lattices of this kind for their well-shaped cells.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

from .tables import TET_EDGES

IntArray = npt.NDArray[np.int64]

PERIOD = 4
"""Lattice steps per period."""

SITES: IntArray = np.array(
    [
        [0, 0, 0], [2, 2, 2],  # the body-centred cubic sites: period corner and centre
        [1, 0, 2], [3, 0, 2],  # a pair on each face of the period, in chains along x, y and z
        [2, 1, 0], [2, 3, 0],
        [0, 2, 1], [0, 2, 3],
    ]
)  # fmt: skip
"""int64 [8, 3], the vertices of one period, in lattice steps from its corner."""


@dataclass(frozen=True)
class Tile:
    """One period of the lattice; a vertex is a site and the period it lies in, an offset of 0 or 1 period per axis.

    Attributes:
        tet_sites: int64 [46, 4].
        tet_offsets: int64 [46, 4, 3]. Each tetrahedron is positively oriented: det(p1 - p0, p2 - p0, p3 - p0) > 0.
        edge_sites: int64 [54, 2].
        edge_offsets: int64 [54, 2, 3]; the smaller of the two is 0 on every axis.
        tet_edges: int64 [46, 6], index into the edges of each edge of a tetrahedron, in the order of `TET_EDGES`.
        tet_edge_offsets: int64 [46, 6, 3], the period of that edge.
    """

    tet_sites: IntArray
    tet_offsets: IntArray
    edge_sites: IntArray
    edge_offsets: IntArray
    tet_edges: IntArray
    tet_edge_offsets: IntArray


@functools.cache
def tile() -> Tile:
    """The tile, derived once per process (some 10 ms)."""
    periods = np.stack(np.meshgrid(*[np.arange(-1, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = (periods[:, None] * PERIOD + SITES).reshape(-1, 3)
    tets = Delaunay(points.astype(np.float64)).simplices
    # A tetrahedron belongs to the period that is the smallest of its corners' periods on every axis; keep period 0's.
    offsets = points[tets] // PERIOD  # [T, 4, 3]
    own = (offsets.min(1) == 0).all(-1)
    tets, offsets = tets[own], offsets[own]
    sites = tets % len(SITES)
    order = np.lexsort((*offsets.reshape(len(tets), 12).T, *sites.T))
    sites, offsets = sites[order], offsets[order]
    corners = SITES[sites] + PERIOD * offsets
    mirrored = np.linalg.det((corners[:, 1:] - corners[:, :1]).astype(np.float64)) < 0
    sites[mirrored] = sites[mirrored][:, [0, 1, 3, 2]]
    offsets[mirrored] = offsets[mirrored][:, [0, 1, 3, 2]]

    ends = TET_EDGES.reshape(-1)
    edge_sites = sites[:, ends].reshape(-1, 2)  # [46 * 6, 2]
    edge_offsets = offsets[:, ends].reshape(-1, 2, 3)
    edge_period = edge_offsets.min(1)
    edge_offsets = edge_offsets - edge_period[:, None]
    swap = edge_sites[:, 0] > edge_sites[:, 1]  # an edge never joins two vertices of one site
    edge_sites[swap], edge_offsets[swap] = edge_sites[swap][:, ::-1], edge_offsets[swap][:, ::-1]
    rows, edge_index = np.unique(np.hstack([edge_sites, edge_offsets.reshape(-1, 6)]), axis=0, return_inverse=True)
    return Tile(
        tet_sites=sites.astype(np.int64),
        tet_offsets=offsets.astype(np.int64),
        edge_sites=rows[:, :2].astype(np.int64),
        edge_offsets=rows[:, 2:].reshape(-1, 2, 3).astype(np.int64),
        tet_edges=edge_index.reshape(-1, 6).astype(np.int64),
        tet_edge_offsets=edge_period.reshape(-1, 6, 3).astype(np.int64),
    )


class Lattice:
    """Index arithmetic of the lattice over the box [-1, 1]^3, with one period more on every side.

    Vertex id = 8 * period id + site, edge id = 54 * period id + edge of the tile. Every tetrahedron that touches the open box
    belongs to a period of `tet_periods`. Vertices on the box's faces and beyond are the border.

    Args:
        resolution: Lattice steps from -1 to 1; a positive multiple of 4.

    Attributes:
        side: Periods per axis, the extra ones included.
        tet_vert_steps: int64 [46, 4], vertex id of a tetrahedron's corners minus 8 * period id.
        tet_edge_steps: int64 [46, 6], edge id of its edges minus 54 * period id.
        edge_vert_steps: int64 [54, 2], vertex id of an edge's ends minus 8 * period id.
        vert_steps: int64 [U], vertex id of all vertices used by a period's tetrahedra, minus 8 * period id.
        vert_sites: uint8 [2, 2, 2], the sites of `vert_steps` as bits, by their period's offset.
        edge_end_steps: int64 [W, 2], vertex ids of the ends of all edges of a period's tetrahedra, minus 8 * period id.
        coarse_steps: int64 [8, 4], for sites 2 to 7, vertex ids of the four nearest period corners and centres, minus 8 * period
            id; all are sqrt(5) steps away. 0 for sites 0 and 1.

    Raises:
        ValueError: `resolution` is not a positive multiple of 4.
    """

    def __init__(self, resolution: int) -> None:
        if resolution < PERIOD or resolution % PERIOD:
            raise ValueError(f"resolution must be a positive multiple of {PERIOD}, got {resolution}")
        self.resolution = resolution
        self.side = resolution // PERIOD + 2
        strides = np.array([self.side**2, self.side, 1])
        parts = tile()
        self.tet_vert_steps = (parts.tet_offsets @ strides) * len(SITES) + parts.tet_sites
        self.tet_edge_steps = (parts.tet_edge_offsets @ strides) * len(parts.edge_sites) + parts.tet_edges
        self.edge_vert_steps = (parts.edge_offsets @ strides) * len(SITES) + parts.edge_sites
        self.vert_steps = np.unique(self.tet_vert_steps)
        self.vert_sites = np.zeros((2, 2, 2), np.uint8)
        site_bits = np.left_shift(1, parts.tet_sites.reshape(-1)).astype(np.uint8)
        np.bitwise_or.at(self.vert_sites, tuple(parts.tet_offsets.reshape(-1, 3).T), site_bits)
        self.edge_end_steps = np.unique(np.sort(self.tet_vert_steps[:, TET_EDGES], -1).reshape(-1, 2), axis=0)
        offsets = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
        coarse = (offsets[:, None] * PERIOD + SITES[:2]).reshape(-1, 3)
        ids = ((offsets @ strides)[:, None] * len(SITES) + np.arange(2)).reshape(-1)
        nearest = ((SITES[:, None] - coarse) ** 2).sum(-1) == 5
        self.coarse_steps = np.array([ids[near] if near.any() else np.zeros(4, np.int64) for near in nearest])

    @property
    def n_verts(self) -> int:
        """Vertices with an id, border included."""
        return self.side**3 * len(SITES)

    def tet_periods(self) -> IntArray:
        """Ids of the periods whose tetrahedra have all corners within the lattice, int64 [(side - 1)^3], ascending."""
        axis = np.arange(self.side - 1)
        return ((axis[:, None, None] * self.side + axis[:, None]) * self.side + axis).reshape(-1)

    def any_vert(self, verts: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether any vertex of each period's tetrahedra is marked.

        Args:
            verts: bool [n_verts].

        Returns:
            bool [side^3], by period id; False for periods that are not among `tet_periods`.
        """
        n = self.side - 1
        # A period's eight booleans are the bytes of one little-endian integer; the product gathers them as its highest byte.
        eight = np.ascontiguousarray(verts).view("<u8").reshape((self.side,) * 3)
        marked = (eight * np.uint64(0x0102040810204080) >> np.uint64(56)).astype(np.uint8)
        found = np.zeros((n, n, n), np.uint8)
        for x, y, z in np.ndindex(2, 2, 2):
            found |= marked[x : x + n, y : y + n, z : z + n] & self.vert_sites[x, y, z]
        result = np.zeros((self.side,) * 3, bool)
        result[:n, :n, :n] = found > 0
        return result.reshape(-1)

    def ijk(self, verts: IntArray) -> IntArray:
        """Lattice coordinates int64 [..., 3] of vertex ids int64 [...]; in 1 .. resolution - 1 except on the border."""
        period, site = np.divmod(verts, len(SITES))
        yz, z = np.divmod(period, self.side)
        x, y = np.divmod(yz, self.side)
        return (np.stack([x, y, z], -1) - 1) * PERIOD + SITES[site]

    def interior(self) -> npt.NDArray[np.bool_]:
        """Whether each vertex lies in the open box, bool [n_verts]."""
        axis = (np.arange(self.side)[:, None] - 1) * PERIOD + SITES.T[:, None, :]  # [3, side, 8]
        inside = (axis > 0) & (axis < self.resolution)
        return (inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]).reshape(-1)

    def positions(self, ijk: IntArray) -> npt.NDArray[np.float32]:
        """World positions float32 [..., 3] of lattice coordinates int64 [..., 3]."""
        return (-1 + 2 * ijk / self.resolution).astype(np.float32)
