"""Marching tetrahedra on the periodic A15 lattice: the front of `tets.cu`.

The lattice's ids are implicit (see `reference_tets`), so there are neither lists of tetrahedra or edges nor a search for equal
edges: counting, two prefix sums, writing. Beyond sdf and result it takes 22 bytes a period of the lattice and 12 a listed one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import programs, reference_tets
from .reference_tets import NO_SUCH_PERIOD, NOT_A_NUMBER, LatticeTile, Surface, check
from .sources import Definitions

VARIANTS: tuple[Definitions, ...] = ({"INDEX": "int"}, {"INDEX": "i64"})
"""The definitions with which `tets.cu` is compiled."""

_BLOCK = 128


def available(device: torch.device) -> bool:
    """Whether the kernel itself, not its twin, marches on a device."""
    return programs.program("tets", VARIANTS[0], device) is not None


def march_lattice(
    sdf: Tensor,
    periods: Tensor,
    tile: LatticeTile,
    resolution: int,
    *,
    min_share: float = 1e-3,
    index_dtype: torch.dtype = torch.int64,
) -> Surface:
    """The zero surface within some periods of the A15 lattice over the box [-1, 1]^3.

    Runs on the caller's current stream; waits for the device once, for the sizes of the result. It has no gradient: positions
    that take one follow from `ends` and the sdf there. The result is the same bit by bit in every run. An sdf of exactly 0 is
    outside. The surface is closed if every period that it crosses is given.

    Args:
        sdf: float [8 * side^3] with side = resolution / period_steps + 2, positive inside; only vertices of the given periods'
            tetrahedra are read. float32 for the kernel; other types take the twin.
        periods: Ids of the periods, int64 [P], each coordinate 0..side - 2.
        tile: The lattice, on the device of `sdf`.
        resolution: Lattice steps from -1 to 1; a positive multiple of `tile.period_steps`.
        min_share: A vertex stays this share of its edge away from both ends, so that no face has zero area where the sdf is
            exactly 0 at a lattice vertex; 0 interpolates exactly.
        index_dtype: Type of the faces, torch.int32 or torch.int64.

    Returns:
        The surface; all its tensors empty if nothing is crossed.

    Raises:
        ValueError: A shape, dtype or device is wrong (named, with the actual one), a period does not exist, or the sdf is NaN
            at a vertex that is read.

    Deep Marching Tetrahedra, Shen et al. 2021, https://arxiv.org/abs/2111.04276
    """
    side = check(sdf, periods, tile, resolution, index_dtype)
    device = sdf.device
    program = None
    if sdf.dtype == torch.float32:
        program = programs.program("tets", VARIANTS[0 if index_dtype == torch.int32 else 1], device)
    if program is None:
        return reference_tets.march_lattice(sdf, periods, tile, resolution, min_share=min_share, index_dtype=index_dtype)

    def launch(kernel: str, threads: int, *args: Tensor | int | float) -> None:
        program.launch(kernel, -(-threads // _BLOCK), _BLOCK, args)

    sdf, periods = _aligned(sdf.detach()), periods.contiguous()
    n_periods, n_listed = side**3, len(periods)
    positive, nan = torch.empty(2, n_periods, dtype=torch.uint8, device=device)
    crossed = torch.zeros(n_periods, dtype=torch.int64, device=device)
    n_verts = torch.empty(n_periods, dtype=torch.int32, device=device)
    n_faces = torch.empty(n_listed, dtype=torch.int32, device=device)
    faults = torch.zeros(1, dtype=torch.int32, device=device)

    # 1. Count
    launch("find_signs", n_periods, sdf, n_periods, positive, nan)
    count = (periods, n_listed, side, positive, nan, tile.used, tile.corners, tile.all_edges, len(tile.all_edges), tile.triangles)
    launch("count_faces", n_listed, *count, crossed, n_faces, faults)
    launch("count_verts", n_periods, crossed, n_periods, n_verts)

    # 2. Scan
    vert_ends, face_ends = n_verts.cumsum(0, dtype=torch.int64), n_faces.cumsum(0, dtype=torch.int64)
    totals = torch.cat([faults, vert_ends[-1:], face_ends[-1:].sum(0, keepdim=True)])  # with no period listed, no last one
    fault, total_verts, total_faces = totals.tolist()
    if fault:
        raise ValueError(NO_SUCH_PERIOD if fault & 2 else NOT_A_NUMBER)

    # 3. Emit
    verts = torch.empty(total_verts, 3, device=device)
    ends = torch.empty(total_verts, 2, dtype=torch.int64, device=device)
    end_sdf = torch.empty(total_verts, 2, device=device)
    faces = torch.empty(total_faces, 3, dtype=index_dtype, device=device)
    at = (sdf, tile.edge_ends, tile.sites, tile.period_steps, resolution, float(min_share))
    launch("emit_verts", n_periods, crossed, vert_ends, n_periods, side, *at, verts, ends, end_sdf)
    where = (periods, n_listed, side, positive, tile.corners, tile.tet_edges, tile.triangles)
    launch("emit_faces", n_listed, *where, crossed, vert_ends, n_faces, face_ends, faces)
    return Surface(verts, faces, ends, end_sdf)


def _aligned(sdf: Tensor) -> Tensor:
    """The sdf as the kernel loads it, four values at once: contiguous from an address that 16 divides."""
    sdf = sdf.contiguous()
    return sdf if sdf.data_ptr() % 16 == 0 else sdf.clone()
