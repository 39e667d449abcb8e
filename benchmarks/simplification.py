"""Simplification: ours beside the libraries, on surfaces that the engine makes of clean and of bad views.

    python benchmarks/surfaces.py PACK FOLDER
    python benchmarks/simplification.py FOLDER [--budget 10000]

Rivals that are not installed are left out (`pip install pyfqmr manifold3d meshoptimizer`). All take turns. It prints
a row for each method: seconds, triangles, how many results are closed manifolds, and how far they lie from the surface (both
ways, by samples: the mean and the Hausdorff distance of the surface from the result, and that of the result from the surface).
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from scipy.spatial import cKDTree
from surfaces import Surface, load_surfaces
from tetraview.engine.geometry.cleanup import is_watertight
from tetraview.engine.geometry.simplify import simplify

FloatArray = npt.NDArray[np.float32]
Method = Callable[[FloatArray, npt.NDArray[np.int32], int], tuple[npt.NDArray[Any], npt.NDArray[Any]]]


def with_fast_simplification(verts: FloatArray, faces: npt.NDArray[np.int32], budget: int) -> tuple[Any, Any]:
    """The library alone, at the aggression that ours uses."""
    library = importlib.import_module("fast_simplification")
    result: tuple[Any, Any] = library.simplify(verts, faces, target_count=budget, agg=5.0)
    return result


def with_pyfqmr(verts: FloatArray, faces: npt.NDArray[np.int32], budget: int) -> tuple[Any, Any]:
    """pyfqmr at the same aggression."""
    simplifier = importlib.import_module("pyfqmr").Simplify()
    simplifier.setMesh(verts.astype(np.float64), faces)
    simplifier.simplify_mesh(target_count=budget, aggressiveness=5, preserve_border=True, verbose=False)
    return simplifier.getMesh()[0], simplifier.getMesh()[1]


def with_meshoptimizer(verts: FloatArray, faces: npt.NDArray[np.int32], budget: int) -> tuple[Any, Any]:
    """meshoptimizer, without a bound on the error."""
    library = importlib.import_module("meshoptimizer")
    indices = np.ascontiguousarray(faces.reshape(-1), np.uint32)
    kept = np.zeros(len(indices), np.uint32)
    count = library.simplify(kept, indices, verts, target_index_count=3 * budget, target_error=1.0)
    return verts, kept[:count].reshape(-1, 3).astype(np.int64)


def with_manifold3d(verts: FloatArray, faces: npt.NDArray[np.int32], budget: int) -> tuple[Any, Any]:
    """manifold3d, which takes a tolerance and no budget: the tolerance is doubled until the budget is met, at most ten times."""
    library = importlib.import_module("manifold3d")
    solid = library.Manifold(library.Mesh(verts, faces.astype(np.uint32)))
    tolerance = 0.002
    for _ in range(10):
        simple = solid.simplify(tolerance)
        if simple.num_tri() <= budget:
            break
        tolerance *= 2
    mesh = simple.to_mesh()
    return mesh.vert_properties[:, :3], mesh.tri_verts


METHODS: dict[str, Method] = {
    "ours": simplify, "fast_simplification": with_fast_simplification, "pyfqmr": with_pyfqmr, "meshoptimizer": with_meshoptimizer,
    "manifold3d": with_manifold3d,
}  # fmt: skip


def measured(surface: Surface, method: Method, budget: int) -> dict[str, float]:
    """Seconds, triangles, whether the result is closed, its micro-edges, and distances both ways as shares of its size."""
    verts, faces = surface
    started = time.perf_counter()
    simple_verts, simple_faces = method(verts, faces, budget)
    seconds = time.perf_counter() - started
    result = trimesh.Trimesh(simple_verts, simple_faces, process=False)
    samples = trimesh.sample.sample_surface(result, 200_000, seed=0)[0]
    size = float(np.ptp(verts, axis=0).max())
    dense = trimesh.sample.sample_surface(trimesh.Trimesh(verts, faces, process=False), 200_000, seed=1)[0]
    out = cKDTree(samples).query(dense[::4])[0] / size
    back = cKDTree(dense).query(samples[::4])[0] / size
    edges = np.linalg.norm(result.vertices[result.edges_unique[:, 0]] - result.vertices[result.edges_unique[:, 1]], axis=1)
    return {
        "seconds": seconds,
        "triangles": len(simple_faces),
        "closed": is_watertight(simple_faces),
        "mean": float(out.mean()),
        "out": float(out.max()),
        "back": float(back.max()),
        "micro": float((edges < 1e-4 * size).sum()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="surfaces, from benchmarks/surfaces.py")
    parser.add_argument("--budget", type=int, default=10_000, help="triangles (default: %(default)s)")
    args = parser.parse_args()
    module_of = {name: name for name in METHODS if name != "ours"}
    methods = {name: m for name, m in METHODS.items() if name == "ours" or importlib.util.find_spec(module_of[name]) is not None}
    records: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, surface in load_surfaces(args.folder).items():
        kind = name.split("_")[0]
        for label, method in methods.items():
            records.setdefault((kind, label), []).append(measured(surface, method, args.budget))
        print(f"{name}: {len(surface[1]):,} triangles", flush=True)
    print("\n| views | method | s: median (largest) | triangles | closed | micro-edges | mean | Hausdorff to | Hausdorff from |")
    print("| --- | --- | --: | --: | --: | --: | --: | --: | --: |")
    for (kind, label), rows in records.items():
        mid = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        closed = f"{sum(bool(row['closed']) for row in rows)} of {len(rows)}"
        seconds = f"{mid['seconds']:.2f} ({max(row['seconds'] for row in rows):.2f})"
        distances = f"{mid['mean']:.4f} | {mid['out']:.4f} | {mid['back']:.4f}"
        print(f"| {kind} | {label} | {seconds} | {mid['triangles']:,.0f} | {closed} | {mid['micro']:.0f} | {distances} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
