"""Extraction on a GPU that runs the marching kernel: only the finished mesh leaves the device.

Every lattice vertex in the box is evaluated. On a GPU this is faster than coarse to fine, whose many small steps wait for each
other, and it misses nothing. The CPU path is in `extract`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...kernels import tets
from ...kernels.reference_tets import LatticeTile, Surface, lattice_coordinates
from .lattice import PERIOD, SITES, IntArray, Lattice, tile
from .tables import TET_EDGES, TRIANGLES

if TYPE_CHECKING:
    from .extract import Field

_POINTS_AT_ONCE = 262_144
_BORDER_SDF = -1e-6  # as in `extract`


def device_of(field: Field) -> torch.device | None:
    """The device on which `march_on_device` extracts the field's surface; None if the CPU path should be used."""
    device = torch.device(getattr(field, "device", "cpu"))
    return device if tets.available(device) else None


def march_on_device(
    field: Field,
    lattice: Lattice,
    device: torch.device,
    on_progress: Callable[[float], None] | None = None,
    *,
    index_dtype: torch.dtype = torch.int64,
) -> Surface:
    """The surface of a field, from its value at every lattice vertex in the open box; all outside counts as outside.

    Args:
        field: The field; `field.lattice_sdf` is given coordinates on `device`.
        lattice: The lattice.
        device: Device to work on.
        on_progress: Called with the share that is done, 0..1, never falling. It may raise to stop.
        index_dtype: Type of the faces, torch.int32 or torch.int64.

    Returns:
        The surface, on `device`.

    Raises:
        ValueError: The field gives NaN, or not one value a point.
    """
    parts = lattice_tile(device)
    resolution = lattice.resolution
    ijk = lattice_coordinates(torch.arange(lattice.n_verts, device=device), parts, lattice.side)
    inner = ((ijk > 0) & (ijk < resolution)).all(1).nonzero()[:, 0]
    sdf = torch.full((lattice.n_verts,), _BORDER_SDF, device=device)
    done = 0
    for verts in inner.split(_POINTS_AT_ONCE):
        values = field.lattice_sdf(ijk[verts], resolution)
        if values.shape != verts.shape:
            raise ValueError(f"The field must give one signed distance a point, [{len(verts)}], but gave {tuple(values.shape)}.")
        sdf[verts] = values.detach().float()
        done += len(verts)
        if on_progress:
            on_progress(0.95 * done / len(inner))
    n_nan = int(sdf.isnan().sum())
    if n_nan:
        raise ValueError(f"The signed distance is not a number at {n_nan} of {len(inner)} points.")
    periods = torch.from_numpy(lattice.tet_periods()).to(device)
    surface = tets.march_lattice(sdf, periods, parts, resolution, index_dtype=index_dtype)
    if on_progress:
        on_progress(1.0)
    return surface


@functools.cache
def lattice_tile(device: torch.device) -> LatticeTile:
    """The tile as the kernel takes it."""
    parts = tile()
    weights = np.array([4, 2, 1])
    corners = len(SITES) * (parts.tet_offsets @ weights) + parts.tet_sites
    tet_edges = 64 * (parts.tet_edge_offsets @ weights) + parts.tet_edges
    ends = np.sort(corners[:, TET_EDGES], -1)  # [46, 6, 2]
    all_edges = np.unique(np.concatenate([tet_edges[..., None], ends], -1).reshape(-1, 3), axis=0)[:, [1, 2, 0]]

    def table(values: IntArray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.int32, device=device)

    return LatticeTile(
        sites=table(SITES),
        corners=table(corners),
        tet_edges=table(tet_edges),
        edge_ends=table(len(SITES) * (parts.edge_offsets @ weights) + parts.edge_sites),
        all_edges=table(all_edges),
        triangles=table(TRIANGLES),
        period_steps=PERIOD,
        used=sum(1 << code for code in set(corners.reshape(-1).tolist())),
    )
