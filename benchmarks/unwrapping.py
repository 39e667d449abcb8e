"""Unwrapping: ours beside xatlas, on results of the engine.

    python benchmarks/surfaces.py PACK FOLDER --torn 0
    python benchmarks/unwrapping.py FOLDER [--budget 10000] [--texture 1024]

Each surface is simplified to the budget and unwrapped by both, which take turns. The table says, for each, the median over the
surfaces (and the worst one): seconds; islands; length of all seams, in sizes of the object; stretch, the L2 norm of Sander et
al. 2001 (Texture Mapping Progressive Meshes) with 1 for none, and the share of the area that keeps less than half of its fair
resolution; share of the texels that are used; and faces that lie over one another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xatlas
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from surfaces import load_surfaces
from tetraview.engine.geometry.simplify import simplify
from tetraview.engine.rendering.uv_raster import image_pixels, scan_triangles
from tetraview.engine.texturing.atlas import unwrap

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Layout = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""UVs [U, 2] in 0..1, and faces [F, 3] of them, in the order of the mesh's."""


def with_ours(verts: FloatArray, faces: npt.NDArray[np.int32], px: int) -> Layout:
    """The engine's own unwrapping."""
    atlas = unwrap(verts, faces, px)
    return atlas.uvs, atlas.uv_faces


def with_xatlas(verts: FloatArray, faces: npt.NDArray[np.int32], px: int) -> Layout:
    """xatlas with its own choice of charts, packed for this texture with ours' distance between charts."""
    atlas = xatlas.Atlas()
    atlas.add_mesh(verts, faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.create_image = px, 4, False
    atlas.generate(xatlas.ChartOptions(), pack)
    _, indices, uvs = atlas[0]
    if atlas.atlas_count > 1:
        raise RuntimeError(f"xatlas made {atlas.atlas_count} textures of {px} px")
    return uvs, indices


METHODS: dict[str, Callable[[FloatArray, npt.NDArray[np.int32], int], Layout]] = {"ours": with_ours, "xatlas": with_xatlas}


def measured(verts: FloatArray, faces: npt.NDArray[np.int32], px: int, method: Callable[..., Layout]) -> dict[str, float]:
    """The figures of one layout; see the module's description."""
    started = time.perf_counter()
    uvs, uv_faces = method(verts, faces, px)
    seconds = time.perf_counter() - started
    corners, flat = verts[faces].astype(np.float64), uvs[uv_faces].astype(np.float64)
    largest, smallest = singular_values(corners, flat)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    flat_area = area * largest * smallest
    fair = np.sqrt(flat_area.sum() / area.sum())  # texture a unit of surface, if all had the same
    good = (smallest > 1e-9) & (area > 0)
    l2 = np.sqrt(((1 / largest[good] ** 2 + 1 / smallest[good] ** 2) / 2 * area[good]).sum() / area[good].sum()) * fair
    return {
        "seconds": seconds,
        "islands": float(connected_components(_shared_uvs(uv_faces, len(uvs)), directed=False)[0] - _unused(uv_faces, len(uvs))),
        "seams": seam_length(verts, faces, uv_faces) / float(np.ptp(verts, axis=0).max()),
        "stretch": float(l2),
        "starved": float(area[smallest < fair / 2].sum() / area.sum()),
        **texel_use(uvs, uv_faces, px),
    }


def singular_values(corners: npt.NDArray[np.float64], flat: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """Largest and smallest stretch from surface to texture of each face, [F] each."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    x1 = np.maximum(np.linalg.norm(edge1, axis=1), 1e-12)
    x2 = np.einsum("fc,fc->f", edge1, edge2) / x1
    y2 = np.maximum(np.linalg.norm(np.cross(edge1, edge2), axis=1) / x1, 1e-12)
    du, dv = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    along = du / x1[:, None]
    across = (dv - along * x2[:, None]) / y2[:, None]
    values = np.linalg.svd(np.stack([along, across], -1), compute_uv=False)
    return values[:, 0], values[:, 1]


def seam_length(verts: FloatArray, faces: npt.NDArray[np.int32], uv_faces: npt.NDArray[Any]) -> float:
    """Length of the mesh's edges whose two faces use other UVs, world units."""
    start, end = faces, np.roll(faces, -1, 1)
    uv_start, uv_end = uv_faces, np.roll(uv_faces, -1, 1)
    swapped = start > end
    low, high = np.where(swapped, end, start).ravel(), np.where(swapped, start, end).ravel()
    uv = np.stack([np.where(swapped, uv_end, uv_start).ravel(), np.where(swapped, uv_start, uv_end).ravel()], 1)
    edges, index, count = np.unique(np.stack([low, high], 1), axis=0, return_inverse=True, return_counts=True)
    kinds = np.unique(np.concatenate([index.reshape(-1, 1), uv], 1), axis=0)[:, 0]
    seams = (np.bincount(kinds, minlength=len(edges)) > 1) & (count > 1)
    return float(np.linalg.norm(verts[edges[seams, 0]] - verts[edges[seams, 1]], axis=1).sum())


def texel_use(uvs: npt.NDArray[Any], uv_faces: npt.NDArray[Any], px: int) -> dict[str, float]:
    """Share of the texels whose centre lies in a face, and the share of those that lie in several."""
    _, row, column = scan_triangles(image_pixels(np.asarray(uvs, np.float32), px)[np.asarray(uv_faces, np.int64)])
    cover = np.bincount(row * px + column, minlength=px * px)
    return {"used": float((cover > 0).mean()), "doubled": float((cover > 1).sum() / max(1, (cover > 0).sum()))}


def _shared_uvs(uv_faces: npt.NDArray[Any], count: int) -> Any:
    ends = np.concatenate([uv_faces[:, :2], uv_faces[:, 1:]]).astype(np.int64)
    return coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))


def _unused(uv_faces: npt.NDArray[Any], count: int) -> int:
    return int(count - len(np.unique(uv_faces)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="surfaces, from benchmarks/surfaces.py")
    parser.add_argument("--budget", type=int, default=10_000, help="triangles (default: %(default)s)")
    parser.add_argument("--texture", type=int, default=1024, metavar="PX", help="side of the texture (default: %(default)s)")
    args = parser.parse_args()
    records: dict[str, list[dict[str, float]]] = {label: [] for label in METHODS}
    for name, (verts, faces) in load_surfaces(args.folder).items():
        simple_verts, simple_faces = simplify(verts, faces, args.budget)
        for label, method in METHODS.items():
            records[label].append(measured(simple_verts, simple_faces, args.texture, method))
        print(f"{name}: " + ", ".join(f"{label} {rows[-1]['seconds']:.2f} s" for label, rows in records.items()), flush=True)
    columns = ("seconds", "islands", "seams", "stretch", "starved", "used", "doubled")
    print("\n| method | " + " | ".join(columns) + " |\n| --- |" + " --: |" * len(columns))
    for label, rows in records.items():
        cells = []
        for column in columns:
            values = [row[column] for row in rows]
            worst = min(values) if column == "used" else max(values)
            cells.append(f"{statistics.median(values):.3g} ({worst:.3g})")
        print(f"| {label} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
