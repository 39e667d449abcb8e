"""Marching tetrahedra: on any tetrahedral mesh (`marching_tets`), and on the A15 lattice without one (`march_lattice`).

Both say inside where sdf > 0, so that an sdf of exactly 0 is outside, and place a vertex on each crossed edge by linear
interpolation, (p_a * s_b - p_b * s_a) / (s_b - s_a).

Deep Marching Tetrahedra, Shen et al. 2021, https://arxiv.org/abs/2111.04276
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt
import torch

from .lattice import Lattice
from .tables import N_TRIANGLES, TET_EDGES, TRIANGLES

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_PERIODS_AT_ONCE = 16_384  # bounds the memory of a surface that crosses every period


@overload
def marching_tets(grid_verts: torch.Tensor, tets: torch.Tensor, sdf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def marching_tets(grid_verts: FloatArray, tets: IntArray, sdf: FloatArray) -> tuple[FloatArray, IntArray]: ...
def marching_tets(
    grid_verts: torch.Tensor | FloatArray, tets: torch.Tensor | IntArray, sdf: torch.Tensor | FloatArray
) -> tuple[torch.Tensor, torch.Tensor] | tuple[FloatArray, IntArray]:
    """Extract the zero surface of an SDF sampled on a tetrahedral grid.

    The readable twin of `march_lattice`, for any grid. With tensors, `verts` is differentiable in `grid_verts` and `sdf`.

    Args:
        grid_verts: Grid vertex positions, float [N, 3], world units.
        tets: Vertex indices of each tetrahedron, int64 [T, 4], of either orientation.
        sdf: Signed distance at each vertex, float [N]; positive inside, exactly 0 is outside.

    Returns:
        verts: [V, 3] of the dtype of `grid_verts`, one per crossed edge, each used by a face.
        faces: int64 [F, 3], counter-clockwise seen from outside. Both empty if nothing crosses.
        Arrays if arrays were given, else tensors.

    Raises:
        ValueError: A shape is wrong (named, with the actual one), or the sdf holds NaN.

    Example:
        >>> corners = torch.tensor([[0., 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        >>> verts, faces = marching_tets(corners, torch.tensor([[0, 1, 2, 3]]), torch.tensor([1., -1, -1, -1]))
        >>> verts.tolist(), faces.tolist()
        ([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]], [[0, 1, 2]])
    """
    if not (isinstance(grid_verts, torch.Tensor) and isinstance(tets, torch.Tensor) and isinstance(sdf, torch.Tensor)):
        verts, faces = marching_tets(torch.as_tensor(grid_verts), torch.as_tensor(tets), torch.as_tensor(sdf))
        return verts.numpy(), faces.numpy()
    if grid_verts.ndim != 2 or grid_verts.shape[1] != 3:
        raise ValueError(f"grid_verts must be [N, 3], got {tuple(grid_verts.shape)}")
    if tets.ndim != 2 or tets.shape[1] != 4:
        raise ValueError(f"tets must be [T, 4], got {tuple(tets.shape)}")
    if sdf.shape != grid_verts.shape[:1]:
        raise ValueError(f"sdf must be [{len(grid_verts)}], one per grid vertex, got {tuple(sdf.shape)}")
    if bool(torch.isnan(sdf).any()):
        raise ValueError(f"sdf is not a number at {int(torch.isnan(sdf).sum())} of {len(sdf)} grid vertices.")

    device = sdf.device
    tet_edges, triangles = torch.as_tensor(TET_EDGES, device=device), torch.as_tensor(TRIANGLES, device=device)
    case = ((sdf > 0)[tets] * torch.tensor([1, 2, 4, 8], device=device)).sum(1)  # [T]
    cut = (case > 0) & (case < 15)
    tets, case = tets[cut], case[cut]
    local = triangles[case]  # [T', 2, 3] edges of the tetrahedron
    corners = grid_verts.detach()[tets]
    mirrored = torch.linalg.det(corners[:, 1:] - corners[:, :1]) < 0
    local = torch.where(mirrored[:, None, None], local.flip(-1), local)
    tet, slot = (local[..., 0] >= 0).nonzero(as_tuple=True)
    ends = tets[tet[:, None, None], tet_edges[local[tet, slot]]]  # [F, 3, 2] grid vertices
    # An edge is known by its two ends; sorting the pairs makes each one vertex.
    low, high = ends.amin(-1), ends.amax(-1)
    edges, faces = torch.unique(low * len(grid_verts) + high, return_inverse=True)
    a, b = edges // len(grid_verts), edges % len(grid_verts)
    s_a, s_b = sdf[a, None], sdf[b, None]
    verts = (grid_verts[a] * s_b - grid_verts[b] * s_a) / (s_b - s_a)
    return verts, faces


@dataclass(frozen=True)
class LatticeSurface:
    """A surface on the lattice, as the edges it crosses; positions follow from the sdf at their ends.

    Attributes:
        ends: int64 [V, 2, 3], lattice coordinates of each crossed edge's inside and outside end.
        sdf: float32 [V, 2], the sdf there: the first positive, the second negative or 0.
        faces: int64 [F, 3] into the edges, counter-clockwise seen from outside.
        resolution: Lattice steps from -1 to 1.
    """

    ends: IntArray
    sdf: FloatArray
    faces: IntArray
    resolution: int

    def verts(self, min_share: float = 1e-3) -> FloatArray:
        """Vertex positions, float32 [V, 3], world units.

        Args:
            min_share: A vertex stays this share of its edge away from both ends, so that no face has zero area where the
                sdf is exactly 0 at a lattice vertex; 0 interpolates exactly.
        """
        inside, outside = self.sdf.astype(np.float64).T
        share = np.clip(inside / (inside - outside), min_share, 1 - min_share)[:, None]
        ijk = self.ends[:, 0] * (1 - share) + self.ends[:, 1] * share
        return (-1 + 2 * ijk / self.resolution).astype(np.float32)


def march_lattice(lattice: Lattice, sdf: FloatArray, periods: IntArray) -> LatticeSurface:
    """The zero surface within some periods of the lattice.

    Edges are known by implicit ids, so nothing is sorted. The surface is closed if every period that it crosses is given.

    Args:
        lattice: The lattice.
        sdf: float32 [lattice.n_verts]; only vertices of the given periods' tetrahedra are read.
        periods: Ids of the periods, int64 [P], a part of `lattice.tet_periods()`. The result does not depend on the order
            if they are ascending.

    Returns:
        The surface: vertices in the order of edge ids, faces in the order of periods.

    Raises:
        ValueError: `sdf` has the wrong shape, or holds NaN at a vertex that is read.
    """
    if sdf.shape != (lattice.n_verts,):
        raise ValueError(f"sdf must be [{lattice.n_verts}], one per lattice vertex, got {sdf.shape}")
    positive, nan = sdf > 0, np.isnan(sdf)
    if nan.any() and lattice.any_vert(nan)[periods].any():
        raise ValueError("The signed distance is not a number at some vertices of the lattice.")
    crossed_periods = lattice.any_vert(positive) & lattice.any_vert(~positive)
    periods = periods[crossed_periods[periods]]
    inside = positive.astype(np.uint8)
    faces_of_chunks = []
    for start in range(0, len(periods), _PERIODS_AT_ONCE):
        chunk = periods[start : start + _PERIODS_AT_ONCE]
        first, steps = (8 * chunk[:, None]).astype(np.int32), lattice.tet_vert_steps.astype(np.int32)
        case = inside[first + steps[:, 0]]  # [P, 46]
        for corner in range(1, 4):
            case |= inside[first + steps[:, corner]] << corner
        row, tet = ((case > 0) & (case < 15)).nonzero()
        case = case[row, tet]
        which, slot = (np.arange(2) < N_TRIANGLES[case][:, None]).nonzero()
        local = TRIANGLES[case[which], slot]  # [F, 3] edges of the tetrahedron
        n_edges = len(lattice.edge_vert_steps)
        faces_of_chunks.append(n_edges * chunk[row[which], None] + lattice.tet_edge_steps[tet[which, None], local])
    edge_ids = np.concatenate(faces_of_chunks) if faces_of_chunks else np.zeros((0, 3), np.int64)  # [F, 3]

    crossed = np.zeros(lattice.side**3 * len(lattice.edge_vert_steps), bool)
    crossed[edge_ids] = True
    edges = crossed.nonzero()[0]
    vert_of_edge = np.empty(len(crossed), np.int32)  # only the crossed edges' pages are ever touched
    vert_of_edge[edges] = np.arange(len(edges), dtype=np.int32)
    faces = vert_of_edge[edge_ids].astype(np.int64)

    period, edge = np.divmod(edges, len(lattice.edge_vert_steps))
    ends = 8 * period[:, None] + lattice.edge_vert_steps[edge]  # [V, 2]
    swap = inside[ends[:, 0]] == 0
    ends[swap] = ends[swap][:, ::-1]
    return LatticeSurface(lattice.ijk(ends), sdf[ends], faces, lattice.resolution)
