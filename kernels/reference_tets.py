"""Readable torch twin of `tets`: marching tetrahedra on the periodic A15 lattice; the path of MPS, and of any float dtype.

A period of the lattice has 8 vertices, 54 edges and 46 tetrahedra; the lattice is a cube of `side` periods an axis, one of them
more than the box [-1, 1]^3 has on every side. Vertex id = 8 * period + site, edge id = 54 * period + edge.

The tetrahedra of a period reach into its 7 upper neighbours. Places there have codes: 8 * offset + site for a vertex,
64 * offset + edge for an edge, where offset = 4 x + 2 y + z in periods.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatticeTile:
    """One period of the lattice and the cases of a tetrahedron, int32 tensors on the device that marches.

    Attributes:
        sites: [8, 3], lattice steps of each site from the period's corner.
        corners: [46, 4], the vertex codes of each tetrahedron; positively oriented.
        tet_edges: [46, 6], the edge codes of each tetrahedron, in the order that `triangles` counts in.
        edge_ends: [54, 2], the vertex codes of the edges that a period owns.
        all_edges: [96, 3], of every edge of the tetrahedra, both vertex codes and its own, by rising own code.
        triangles: [16, 2, 3], by case (bit k: corner k is inside), the edges at each triangle's corners; -1: no triangle.
        period_steps: Lattice steps per period.
        used: The vertex codes of all tetrahedra, as bits; below 2^63.
    """

    sites: Tensor
    corners: Tensor
    tet_edges: Tensor
    edge_ends: Tensor
    all_edges: Tensor
    triangles: Tensor
    period_steps: int
    used: int


@dataclass(frozen=True)
class Surface:
    """A surface on the lattice.

    Attributes:
        verts: float [V, 3], world units, one per crossed edge, in the order of edge ids.
        faces: int32 or int64 [F, 3], counter-clockwise seen from outside, in the order of the periods given.
        ends: int64 [V, 2], ids of the lattice vertices inside and outside at each crossed edge's ends.
        sdf: float [V, 2], the sdf there: the first positive, the second negative or 0.
    """

    verts: Tensor
    faces: Tensor
    ends: Tensor
    sdf: Tensor


def march_lattice(
    sdf: Tensor,
    periods: Tensor,
    tile: LatticeTile,
    resolution: int,
    *,
    min_share: float = 1e-3,
    index_dtype: torch.dtype = torch.int64,
) -> Surface:
    """The zero surface within some periods of the lattice; see `tets.march_lattice`, whose twin this is."""
    side = check(sdf, periods, tile, resolution, index_dtype)
    offset_steps = torch.tensor([(x * side + y) * side + z for x in (0, 1) for y in (0, 1) for z in (0, 1)], device=sdf.device)
    x, y, z = periods // side**2, periods // side % side, periods % side
    if bool(((periods < 0) | (torch.stack([x, y, z]).amax(0) >= side - 1)).any()):
        raise ValueError(NO_SUCH_PERIOD)

    def around(verts: Tensor) -> Tensor:
        """Marked vertices, bool [n_verts], of each listed period's tetrahedra: a word int64 [P], bit by vertex code."""
        eight = (verts.reshape(-1, 8).long() << torch.arange(8, device=sdf.device)).sum(1)  # [periods of the lattice]
        words = eight[periods[:, None] + offset_steps] << torch.arange(0, 64, 8, device=sdf.device)
        return words.sum(1) & tile.used  # a sum of different bits

    if bool((around(sdf.isnan()) != 0).any()):
        raise ValueError(NOT_A_NUMBER)
    inside = around(sdf > 0)
    crossed = (inside != 0) & (inside != tile.used)
    inside, periods = inside[crossed], periods[crossed]

    bits = inside[:, None, None] >> tile.corners.long() & 1  # [P, 46, 4]
    case = (bits << torch.arange(4, device=sdf.device)).sum(-1)
    local = tile.triangles.long()[case]  # [P, 46, 2, 3] edges of the tetrahedron
    period, tet, slot = (local[..., 0] >= 0).nonzero(as_tuple=True)
    code = tile.tet_edges.long()[tet[:, None], local[period, tet, slot]]  # [F, 3]
    owner = periods[period, None] + offset_steps[code >> 6]
    n_edges = len(tile.edge_ends)
    edge_ids = n_edges * owner + (code & 63)

    is_crossed = torch.zeros(side**3 * n_edges, dtype=torch.bool, device=sdf.device)
    is_crossed[edge_ids] = True
    edges = is_crossed.nonzero()[:, 0]  # [V]
    vert_of_edge = torch.empty(len(is_crossed), dtype=index_dtype, device=sdf.device)
    vert_of_edge[edges] = torch.arange(len(edges), dtype=index_dtype, device=sdf.device)

    codes = tile.edge_ends.long()[edges % n_edges]  # [V, 2]
    ends = 8 * ((edges // n_edges)[:, None] + offset_steps[codes >> 3]) + (codes & 7)
    ends = torch.where(sdf[ends[:, :1]] > 0, ends, ends.flip(1))
    values = sdf[ends]
    wide = values.float() if sdf.device.type == "mps" else values.double()  # MPS has no double
    share = (wide[:, 0] / (wide[:, 0] - wide[:, 1])).clamp(min_share, 1 - min_share)[:, None]
    ijk = lattice_coordinates(ends, tile, side).to(wide.dtype)
    verts = -1 + 2 * (ijk[:, 0] * (1 - share) + ijk[:, 1] * share) / resolution
    return Surface(verts.to(sdf.dtype), vert_of_edge[edge_ids], ends, values)


NOT_A_NUMBER = "The signed distance is not a number at some vertices of the lattice."
NO_SUCH_PERIOD = "Each period must be one whose tetrahedra have all corners within the lattice."


def lattice_coordinates(verts: Tensor, tile: LatticeTile, side: int) -> Tensor:
    """Lattice coordinates int64 [..., 3] of vertex ids int64 [...]; 0 .. resolution within the box [-1, 1]^3."""
    period = verts // 8
    corner = torch.stack([period // side**2, period // side % side, period % side], -1) - 1
    return corner * tile.period_steps + tile.sites.long()[verts % 8]


def check(sdf: Tensor, periods: Tensor, tile: LatticeTile, resolution: int, index_dtype: torch.dtype) -> int:
    """Periods an axis of the lattice, after a look at the arguments of `march_lattice`."""
    if resolution < tile.period_steps or resolution % tile.period_steps:
        raise ValueError(f"resolution must be a positive multiple of {tile.period_steps}, got {resolution}")
    side = resolution // tile.period_steps + 2
    if sdf.shape != (8 * side**3,) or not sdf.is_floating_point():
        raise ValueError(f"sdf must be float [{8 * side**3}], one per lattice vertex, got {sdf.dtype} {tuple(sdf.shape)}")
    if periods.ndim != 1 or periods.dtype != torch.int64:
        raise ValueError(f"periods must be int64 [P], got {periods.dtype} {tuple(periods.shape)}")
    if len({sdf.device, periods.device, tile.corners.device}) > 1:
        devices = f"{sdf.device}, {periods.device} and {tile.corners.device}"
        raise ValueError(f"sdf, periods and tile must lie on one device, got {devices}")
    if index_dtype not in (torch.int32, torch.int64):
        raise ValueError(f"index_dtype must be torch.int32 or torch.int64, got {index_dtype}")
    return side
