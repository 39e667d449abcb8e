"""Simplification: ours beside the libraries, on surfaces that the engine makes of clean and of bad views.

    python benchmarks/surfaces.py PACK FOLDER
    python benchmarks/simplification.py FOLDER [--budget 10000] [--write]

Rivals that are not installed are left out (`pip install pyfqmr manifold3d meshoptimizer`). All take turns. It prints
a row for each method: seconds, triangles, how many results are closed manifolds, and how far they lie from the surface.
`--write` puts the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from results import RESULTS, machine, table, write_section
from scipy.spatial import cKDTree
from surfaces import Surface, load_surfaces
from tetraview.engine.geometry.cleanup import is_watertight
from tetraview.engine.geometry.simplify import simplify

FloatArray = npt.NDArray[np.float32]
Method = Callable[[FloatArray, npt.NDArray[np.int32], int], tuple[npt.NDArray[Any], npt.NDArray[Any]]]

GOAL_S = 1.5


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


def distances(points: npt.NDArray[Any], mesh: trimesh.Trimesh, n_samples: int = 300_000) -> npt.NDArray[np.float64]:
    """Distance of each point [N] from the nearest of the triangles that lie at the eight nearest samples of a mesh."""
    samples, owner = trimesh.sample.sample_surface(mesh, n_samples, seed=0)
    _, nearest = cKDTree(samples).query(points, k=8, workers=-1)
    triangles = mesh.triangles[owner[nearest].reshape(-1)]  # [8 N, 3, 3]
    asked = np.repeat(points, 8, axis=0)
    closest = trimesh.triangles.closest_point(triangles, asked)
    return np.linalg.norm(closest - asked, axis=1).reshape(-1, 8).min(1)


def measured(surface: Surface, method: Method, budget: int) -> dict[str, float]:
    """Seconds, triangles, whether they are the budget or one less, closedness, micro-edges, and distances.

    Distances are percent of the surface's largest extent. `there` is the one-sided Hausdorff distance, of the surface's points
    from the result; `both` is the larger of it and the other one; `mean` is the mean of the first.
    """
    verts, faces = surface
    started = time.perf_counter()
    simple_verts, simple_faces = method(verts, faces, budget)
    seconds = time.perf_counter() - started
    result = trimesh.Trimesh(simple_verts, simple_faces, process=False)
    extent = float(np.ptp(verts, axis=0).max())
    there = distances(verts[:: max(1, len(verts) // 20_000)], result)
    points = np.concatenate([result.vertices, trimesh.sample.sample_surface(result, 15_000, seed=1)[0]])
    back = distances(points[:: max(1, len(points) // 20_000)], trimesh.Trimesh(verts, faces, process=False))
    edges = np.linalg.norm(result.vertices[result.edges_unique[:, 0]] - result.vertices[result.edges_unique[:, 1]], axis=1)
    return {
        "seconds": seconds,
        "triangles": len(simple_faces),
        "exact": min(budget, len(faces)) - len(simple_faces) in (0, 1),
        "closed": is_watertight(simple_faces),
        "micro": float((edges < 1e-4 * extent).sum()),
        "mean": 100 * float(there.mean()) / extent,
        "there": 100 * float(there.max()) / extent,
        "both": 100 * float(max(there.max(), back.max())) / extent,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="surfaces, from benchmarks/surfaces.py")
    parser.add_argument("--budget", type=int, default=10_000, help="triangles (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table to RESULTS.md")
    args = parser.parse_args()
    methods = {name: m for name, m in METHODS.items() if name == "ours" or importlib.util.find_spec(name) is not None}
    where = machine()  # before the load of this program itself
    records: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, surface in load_surfaces(args.folder).items():
        kind = "clean views" if name.startswith("clean") else "torn views"
        said = []
        for label, method in methods.items():
            row = measured(surface, method, args.budget)
            records.setdefault((kind, label), []).append(row | {"input": len(surface[1])})
            said.append(f"{label} {row['seconds']:.2f} s")
        print(f"{name}: {len(surface[1]):,} triangles: {', '.join(said)}", flush=True)
    text = report(records, args.budget, where)
    print(f"\n{text}")
    if args.write:
        write_section(RESULTS, "simplification", text)
    return 0


def report(records: dict[tuple[str, str], list[dict[str, float]]], budget: int, where: str) -> str:
    """The machine, a table with a row for each kind of views and method, and the slowest of ours within the goal's size."""
    rows = []
    for (kind, label), found in records.items():
        mid = {key: statistics.median(row[key] for row in found) for key in found[0]}
        of = len(found)
        rows.append([
            kind, label, f"{mid['seconds']:.2f} ({max(row['seconds'] for row in found):.2f})", f"{mid['triangles']:,.0f}",
            *(f"{sum(bool(row[key]) for row in found)} of {of}" for key in ("exact", "closed")),
            f"{sum(row['micro'] for row in found):.0f}", f"{mid['mean']:.3f}",
            *(f"{mid[key]:.2f} ({max(row[key] for row in found):.2f})" for key in ("there", "both")),
        ])  # fmt: skip
    head = [
        "views", "method", "s", "triangles", "exact budget", "closed", "micro-edges", "mean distance, %",
        "Hausdorff, one side, %", "Hausdorff, both, %",
    ]  # fmt: skip
    ours = [row for (_, label), found in records.items() if label == "ours" for row in found if row["input"] <= 400_000]
    slowest = max(ours, key=lambda row: row["seconds"])
    goal = "met" if slowest["seconds"] <= GOAL_S else "missed"
    return (
        f"Machine: {where}. Budget {budget:,} triangles; medians, the largest in brackets; "
        f"distances in percent of the surface's extent.\n\n{table(head, rows)}\n\n"
        f"Goal, {GOAL_S} s for any surface up to 400,000 triangles: {goal}; the slowest of {len(ours)} took "
        f"{slowest['seconds']:.2f} s for {slowest['input']:,.0f} triangles."
    )


if __name__ == "__main__":
    raise SystemExit(main())
