"""The signed distance on the A15 lattice: evaluated at every vertex against ours, coarse to fine, in one run.

    python benchmarks/lattice_sdf.py --model engine/weights/starter --data val_00.npz --object 0 40 80
    python benchmarks/lattice_sdf.py --shape sphere

Three times are printed: until every vertex that matters has its sdf (deciding which those are included), in all (with
marching the tetrahedra), and in the field alone. Two ways to compare with: "dense" asks the field at every vertex, which
leaves out what is outside the visual hull; "plain" runs the network at every vertex. Meshes are compared once specks are
removed, as the engine does: a speck between the coarse samples is found by the dense way only. `--data` may be left out where
the environment variable TETRAVIEW_DATA names a folder with `val_00.npz`. `--shape` needs no weights: an analytic field that
costs as much as a decoder of the starter's size, the same for both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tetraview.engine.geometry import extract as extraction
from tetraview.engine.geometry.cleanup import remove_specks
from tetraview.engine.geometry.extract import extract_mesh, extract_mesh_dense
from tetraview.engine.geometry.lattice import Lattice


class _Field(Protocol):
    def sdf(self, points: torch.Tensor) -> torch.Tensor: ...

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor: ...


class CountingField:
    """A field that counts the points it is asked for, and the seconds that they take."""

    def __init__(self, field: _Field) -> None:
        self.field, self.n_points, self.seconds = field, 0, 0.0

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        return _timed(self, self.field.sdf, points)

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor:
        return _timed(self, self.field.lattice_sdf, ijk, resolution)


class TimedMarching:
    """Within it, counts the seconds that marching the tetrahedra takes: the same work whatever gave the sdf."""

    def __enter__(self) -> None:
        self.march, self.seconds = extraction.march_lattice, 0.0
        extraction.march_lattice = self._timed

    def __exit__(self, *_: object) -> None:
        extraction.march_lattice = self.march

    def _timed(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        surface = self.march(*arguments)
        self.seconds += time.perf_counter() - start
        return surface


class ShapeField:
    """An analytic shape behind a small decoder whose answer is not used: what a point costs without weights."""

    def __init__(self, shape: str) -> None:
        torch.manual_seed(0)
        self.shape = shape
        self.decoder = torch.nn.Sequential(
            torch.nn.Linear(96, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1)
        )

    @torch.no_grad()
    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        cost = self.decoder(points.repeat(1, 32))[:, 0]
        if self.shape == "sphere":
            distance = 0.6 - points.norm(dim=1)
        else:
            distance = 0.2 - torch.stack([points[:, :2].norm(dim=1) - 0.55, points[:, 2]], 1).norm(dim=1)
        return distance + 0 * cost

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor:
        return self.sdf((-1 + 2 * ijk.double() / resolution).float())


class PlainField:
    """The same field without any short cut: the network runs at every point, inside the visual hull or not."""

    def __init__(self, field: Any) -> None:
        self.field, self.chunk = field, 65_536

    @torch.no_grad()
    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._chunk_sdf(chunk) for chunk in points.split(self.chunk)])

    def _chunk_sdf(self, points: torch.Tensor) -> torch.Tensor:
        model, views = self.field.model, self.field.views
        index = torch.zeros(len(points), dtype=torch.long)
        samples = model.sample(self.field.encoded, index, points)
        hidden = model.decoder.hidden(samples.planes, samples.views, points)
        hull = views.hull(*views.project(points))  # of the views at full size, as the field's own
        decoded = torch.minimum(model.decoder.signed_distance(model.decoder.log_density(hidden)[1]), hull)
        gate = (hull > -model.margin) & (points.abs().amax(1) <= 1)
        return torch.where(gate, decoded, hull.clamp(max=-0.5 * model.margin))

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor:
        return self.sdf((-1 + 2 * ijk.double() / resolution).float())


def reconstructed_field(model: Path, pack: Path, index: int, view_px: int) -> tuple[str, Any]:
    """An object's name, and the field that a reconstructor makes of it, seen by the canonical rig."""
    from tetraview.engine.cameras import RIG_FOVY_DEG, rig_c2w
    from tetraview.engine.dataset.packs import load_objects
    from tetraview.engine.dataset.render import render_views
    from tetraview.engine.reconstructor import Reconstructor

    mesh = next(thing for k, thing in enumerate(load_objects(pack)) if k == index)
    views = render_views(mesh, rig_c2w(), RIG_FOVY_DEG, view_px).rgba
    return mesh.id, Reconstructor.from_pretrained(model).eval().encode(views)


def vertex_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance between the meshes' vertices, one to one if they are as many, else to the nearest either way."""
    if first.shape == second.shape:
        return float(np.abs(first - second).max(initial=0))
    from scipy.spatial import cKDTree

    return float(max(cKDTree(first).query(second)[0].max(), cKDTree(second).query(first)[0].max()))


def fresh(field: Any) -> Any:
    """The same field with nothing remembered: tables are part of what is measured."""
    return type(field)(field.model, field.encoded) if hasattr(field, "encoded") else field


def compare(field: Any, resolution: int, runs: int, title: str) -> float:
    """Measure one field, print; returns how many times faster ours has the sdf than the plainest way."""
    rivals: dict[str, tuple[Callable[[], _Field], Callable[..., Any]]] = {
        "ours": (lambda: fresh(field), extract_mesh),
        "dense": (lambda: fresh(field), extract_mesh_dense),
    }
    if hasattr(field, "encoded"):  # there, "dense" has the hull gate, and "plain" has nothing
        rivals["plain"] = (lambda: PlainField(field), extract_mesh_dense)
    n_verts = int(Lattice(resolution).interior().sum())
    marching = TimedMarching()
    results = {}
    print(f"== {title}")
    for name, (make, extract) in rivals.items():
        extract(make(), 64)  # first calls cost more
        seconds, sdf_seconds, field_seconds = [], [], []
        for _ in range(runs):
            counting = CountingField(make())
            with marching:
                start = time.perf_counter()
                verts, faces = extract(counting, resolution)
                seconds.append(time.perf_counter() - start)
            sdf_seconds.append(seconds[-1] - marching.seconds)
            field_seconds.append(counting.seconds)
        results[name] = verts, faces, *map(statistics.median, (sdf_seconds, seconds, field_seconds))
        points = f"{counting.n_points:,} points ({counting.n_points / n_verts:.1%} of the lattice)"
        cost = "sdf {:.3f} s, in all {:.3f} s, in the field {:.3f} s".format(*results[name][2:])
        print(f"{name:6}{cost}; {points}; {len(faces):,} triangles")
    verts, faces, *ours = results["ours"]
    ratio = 0.0
    for name in list(results)[1:]:
        other_verts, other_faces, *other = results[name]
        ratio = other[0] / ours[0]
        parts = [remove_specks(verts, faces), remove_specks(other_verts, other_faces)]
        same = "identical" if np.array_equal(parts[0][1], parts[1][1]) else "not identical"
        print(
            f"{name} / ours: sdf {ratio:.1f}x, in all {other[1] / ours[1]:.1f}x, in the field {other[2] / ours[2]:.1f}x; "
            f"without specks, vertices differ by at most {vertex_difference(parts[0][0], parts[1][0]):.1e}, faces {same} "
            f"(with them: {len(faces) - len(other_faces):+d})"
        )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="folder of reconstructor weights")
    what.add_argument("--shape", choices=["sphere", "torus"], help="an analytic field instead")
    parser.add_argument("--data", type=Path, help="pack of objects (default: $TETRAVIEW_DATA/val_00.npz)")
    parser.add_argument("--object", type=int, nargs="+", default=[0], metavar="K", help="which objects of the pack")
    parser.add_argument("--view-px", type=int, default=512, help="size of the rendered views")
    parser.add_argument("--resolution", type=int, default=256, help="lattice steps across")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    options = parser.parse_args()
    if options.shape:
        compare(ShapeField(options.shape), options.resolution, options.runs, options.shape)
        return
    pack = options.data or Path(os.environ.get("TETRAVIEW_DATA", ".")) / "val_00.npz"
    if not pack.exists():
        parser.error(f"no pack {pack}: give --data, or set TETRAVIEW_DATA to a folder with val_00.npz")
    ratios = []
    for index in options.object:
        name, field = reconstructed_field(options.model, pack, index, options.view_px)
        ratios.append(compare(field, options.resolution, options.runs, f"object {index}, {name}"))
    if len(ratios) > 1:
        print(f"plain / ours, sdf: median {statistics.median(ratios):.1f}x of {len(ratios)} objects, least {min(ratios):.1f}x")


def _timed(field: CountingField, evaluate: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
    start = time.perf_counter()
    values = evaluate(*arguments)
    field.seconds += time.perf_counter() - start
    field.n_points += len(values)
    return values


if __name__ == "__main__":
    main()
