"""Every part of the engine on the processor, ours beside the plain way, in one run: times and their ratios.

    python benchmarks/cpu.py                                      a table on the terminal, some three minutes on two free cores
    python benchmarks/cpu.py --output benchmarks/RESULTS.md       and in the file's CPU section
    python benchmarks/cpu.py --rehearse --parts triplane march    everything tiny: does it run?

Rivals take turns, so that other work on the machine disturbs both alike. Each time is the least of some runs, the median in
brackets; ratios are of the least. The object is the demo's: its four photos and the starter weights, both in the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from results import duration, in_turns, least_and_median, machine, table, write_section
from timed_jobs import ROOT, VIEWS, run_engine

SECTION = "cpu"
IMPORT_GOAL_S = 0.150


@dataclass(frozen=True)
class Size:
    """Sizes of the measurement: full, or a rehearsal."""

    runs: int
    resolution: int
    objects: int
    points: int
    texture_px: int
    triangles: int
    jobs: int


FULL = Size(runs=5, resolution=256, objects=6, points=20_000, texture_px=1024, triangles=10_000, jobs=3)
REHEARSAL = Size(runs=1, resolution=32, objects=2, points=200, texture_px=256, triangles=5_000, jobs=1)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: The work.
        ours: Seconds of each run.
        rival: What it is compared with; empty for none.
        theirs: Its seconds.
        note: What is equal, how much it was, goals.
        scale: Seconds are multiplied by this before they are shown ("per megapixel").
    """

    what: str
    ours: Sequence[float]
    rival: str = ""
    theirs: Sequence[float] = ()
    note: str = ""
    scale: float = 1.0

    def cells(self) -> list[str]:
        ratio = f"{min(self.theirs) / min(self.ours):.1f}x" if self.theirs else "-"
        theirs = least_and_median([self.scale * s for s in self.theirs]) if self.theirs else "-"
        return [self.what, least_and_median([self.scale * s for s in self.ours]), self.rival or "-", theirs, ratio, self.note]


@cache
def demo_views() -> Any:
    """The demo's photos, cut out and framed."""
    from tetraview.engine.photos.intake import prepare_views

    return prepare_views({name: ROOT / "docs" / "demo" / "photos" / f"{name}.png" for name in VIEWS})


@cache
def demo_field() -> Any:
    """The field that the starter weights reconstruct from them."""
    from tetraview.engine.models.loading import field_of_views, load_reconstructor
    from tetraview.engine.models.registry import STARTER_MODEL

    return field_of_views(load_reconstructor(STARTER_MODEL, "cpu"), demo_views())


def lattice_rows(size: Size) -> list[Row]:
    """The signed distance on the A15 lattice: coarse to fine with tables, at every vertex, and with no short cut at all."""
    from lattice_sdf import CountingField, PlainField, TimedMarching, fresh
    from tetraview.engine.geometry.extract import extract_mesh, extract_mesh_dense

    field = demo_field()
    ways: dict[str, tuple[Callable[[], Any], Callable[..., Any], int]] = {
        "ours": (lambda: fresh(field), extract_mesh, size.runs),
        "dense": (lambda: fresh(field), extract_mesh_dense, max(1, size.runs // 2)),
        "plain": (lambda: PlainField(field), extract_mesh_dense, max(1, size.runs // 2)),
    }
    marching = TimedMarching()
    sdf: dict[str, list[float]] = {name: [] for name in ways}
    whole: dict[str, list[float]] = {name: [] for name in ways}
    points, triangles = {}, {}
    for _, extract, _ in ways.values():
        extract(fresh(field), 32)
    for turn in range(size.runs):
        for name, (make, extract, runs) in ways.items():
            if turn >= runs:
                continue
            counting = CountingField(make())
            with marching:
                start = time.perf_counter()
                _, faces = extract(counting, size.resolution)
                whole[name].append(time.perf_counter() - start)
            sdf[name].append(whole[name][-1] - marching.seconds)
            points[name], triangles[name] = counting.n_points, len(faces)
    equal = (
        f"{points['ours']:,} of {points['dense']:,} points asked for; {triangles['ours']:,} and {triangles['dense']:,} triangles"
    )
    lattice = f"lattice of {size.resolution}"
    return [
        Row(f"signed distance, {lattice}", sdf["ours"], "network at every vertex", sdf["plain"], equal),
        Row("the same", sdf["ours"], "every vertex, hull first", sdf["dense"], "what is outside the hull is not decoded"),
        Row(f"field to closed mesh, {lattice}", whole["ours"], "every vertex, hull first", whole["dense"], "with marching"),
    ]


def naive_triplanes(planes: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Three planes as most code samples them: [B, 3, C, R, R] at [B, 3, N, 2] -> [B, C, N]."""
    batch, _, channels = planes.shape[:3]
    samples = F.grid_sample(planes.flatten(0, 1), grid.flatten(0, 1)[:, :, None], align_corners=False)
    return samples.reshape(batch, 3, channels, -1).sum(1)


def triplane_rows(size: Size) -> list[Row]:
    """Sampling of three planes, forward and backward to the planes, as in training and as in inference."""
    from tetraview.kernels.reference import PLANE_AXES
    from tetraview.kernels.triplane import sample_triplanes

    rows = []
    cases = {"training": (size.objects, size.points, True), "inference": (1, 65_536 * size.points // 20_000, False)}
    for title, (objects, points, backward) in cases.items():
        generator = torch.Generator().manual_seed(0)
        last = torch.randn(objects, 3, 64, 64, 32, generator=generator, requires_grad=backward)
        first = last.detach().permute(0, 1, 4, 2, 3).contiguous().requires_grad_(backward)
        places = torch.rand(objects, points, 3, generator=generator) * 2 - 1
        index, flat = torch.arange(objects).repeat_interleave(points), places.flatten(0, 1)
        grid = torch.stack([places[..., list(axes)] for axes in PLANE_AXES], 1).contiguous()

        def ours(planes: Any = last, index: Any = index, flat: Any = flat) -> torch.Tensor:
            return sample_triplanes(planes, index, flat)

        def naive(planes: Any = first, grid: Any = grid) -> torch.Tensor:
            return naive_triplanes(planes, grid)

        mine, other = ours(), naive()
        difference = float((mine.detach() - other.detach().transpose(1, 2).flatten(0, 1)).abs().max())
        what = f"{objects} x {points:,} points, planes 3 x 64 x 64 x 32, as in {title}"
        note = f"largest difference {difference:.0e}; rival's result stays channels first"
        with torch.set_grad_enabled(backward):
            seconds = in_turns({"ours": ours, "naive": naive}, 6 * size.runs)
        rows.append(Row(f"triplane forward, {what}", seconds["ours"], "F.grid_sample, summed", seconds["naive"], note))
        if not backward:
            continue
        gradients = {"ours": torch.randn_like(mine), "naive": torch.randn_like(other)}
        results = {"ours": (mine, last), "naive": (other, first)}

        def back(name: str, results: Any = results, gradients: Any = gradients) -> object:
            return torch.autograd.grad(results[name][0], results[name][1], gradients[name], retain_graph=True)

        seconds = in_turns({"ours": lambda: back("ours"), "naive": lambda: back("naive")}, 6 * size.runs)
        rows.append(Row("triplane backward, the same", seconds["ours"], "its backward", seconds["naive"], "to the planes alone"))
    return rows


def bumpy_distance(points: np.ndarray) -> np.ndarray:
    """A sphere of radius 0.6 with dents, positive inside: float32 [...] at [..., 3]."""
    bumps = np.sin(points @ np.array([9, 4, 2], np.float32)) + np.sin(points @ np.array([-3, 8, 7], np.float32))
    return (0.6 + 0.04 * bumps - np.linalg.norm(points, axis=-1)).astype(np.float32)


def march_rows(size: Size) -> list[Row]:
    """From given values to triangles: tetrahedra on the lattice, against cubes on a grid."""
    from skimage.measure import marching_cubes
    from tetraview.engine.geometry.lattice import Lattice
    from tetraview.engine.geometry.marching_tets import march_lattice

    lattice = Lattice(size.resolution)
    sdf = bumpy_distance(lattice.positions(lattice.ijk(np.arange(lattice.n_verts))))
    sdf[~lattice.interior()] = -1e-6
    periods = lattice.tet_periods()
    rows = []
    for cells, equal in ((size.resolution // 2, "as many values"), (size.resolution, "as fine a spacing")):
        axis = np.linspace(-1, 1, cells + 1, dtype=np.float32)
        grid = bumpy_distance(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1))
        calls = {
            "ours": lambda: march_lattice(lattice, sdf, periods).verts(),
            "cubes": lambda grid=grid: marching_cubes(grid, 0.0),
        }
        seconds = in_turns(calls, 3 * size.runs)
        ours, cubes = len(march_lattice(lattice, sdf, periods).faces), len(marching_cubes(grid, 0.0)[1])
        note = f"{equal}: {int(lattice.interior().sum()):,} and {grid.size:,}; {ours:,} and {cubes:,} triangles"
        what, rival = f"marching tetrahedra, lattice of {size.resolution}", f"scikit-image's marching cubes, {cells + 1}^3"
        rows.append(Row(what, seconds["ours"], rival, seconds["cubes"], note))
    return rows


def texture_rows(size: Size) -> list[Row]:
    """The parts of baking the texture, each timed for a million covered texels."""
    from tetraview.engine.cameras import CANONICAL_RIG
    from tetraview.engine.geometry.cleanup import remove_specks
    from tetraview.engine.geometry.extract import extract_mesh
    from tetraview.engine.geometry.simplify import simplify
    from tetraview.engine.texturing.atlas import unwrap
    from tetraview.engine.texturing.back_projection import BackProjector
    from tetraview.engine.texturing.bake import bake_surface, sample_field
    from tetraview.engine.texturing.texture import paint_texture

    field, views = demo_field(), demo_views()
    verts, faces = simplify(*remove_specks(*extract_mesh(field, size.resolution)), size.triangles)
    atlas = unwrap(verts, faces, size.texture_px)
    blocks = list(bake_surface(atlas, size.texture_px))
    projector = BackProjector(atlas.verts, atlas.faces, views, CANONICAL_RIG)
    texels = sum(len(block.points) for block in blocks)
    seconds = in_turns({
        "bake": lambda: list(bake_surface(atlas, size.texture_px)),
        "colour": lambda: [sample_field(field, block.points) for block in blocks],
        "prepare": lambda: BackProjector(atlas.verts, atlas.faces, views, CANONICAL_RIG),
        "project": lambda: [projector.sample(block.points, block.normals, block.face_normals) for block in blocks],
        "paint": lambda: paint_texture(field, atlas, views, CANONICAL_RIG, size.texture_px),
    }, max(1, size.runs - 2))  # fmt: skip
    scale, per = 1e6 / texels, "a megapixel of covered texels"
    covered = f"{texels:,} of {size.texture_px}^2 texels are covered, {len(atlas.faces):,} triangles"
    return [
        Row(f"bake: which point each texel shows, {per}", seconds["bake"], note=covered, scale=scale),
        Row(
            f"bake: the field's colour there, {per}",
            seconds["colour"],
            note="painting asks for it where no view sees",
            scale=scale,
        ),
        Row(f"back-projection of four views, {per}", seconds["project"], scale=scale),
        Row("back-projection, once a mesh", seconds["prepare"], note="depth images and depth edges of the views"),
        Row(f"the whole texture of {size.texture_px} px", seconds["paint"], note="matching of views and gutters included"),
    ]


def import_rows(python: Path, runs: int) -> list[Row]:
    """The engine's arrays to a Blender mesh, in a Python that has bpy; none without one."""
    if not python.exists():
        print(f"no {python}: the import into Blender is not measured", file=sys.stderr)
        return []
    script = Path(__file__).with_name("blender_import.py")
    command = [str(python), str(script), "--json", "--runs", str(runs)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    measured = json.loads(output.splitlines()[-1])
    goal = "met" if statistics.median(measured["seconds"]) <= IMPORT_GOAL_S else "NOT met"
    note = f"Blender {measured['blender']}; goal {duration(IMPORT_GOAL_S)}: {goal}"
    return [Row("import into Blender, for 50,000 triangles", measured["seconds"], note=note)]


def whole_job(size: Size) -> str:
    """Four photos to an asset by the engine's process, warm: a table of its phases."""
    photos = {name: str(ROOT / "docs" / "demo" / "photos" / f"{name}.png") for name in VIEWS}
    folder = Path(tempfile.mkdtemp(prefix="tetraview-benchmark-"))
    try:
        fields = {"photos": photos, "device": "cpu", "texture_px": size.texture_px, "poly_budget": size.triangles}
        measured = run_engine(fields, size.jobs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    runs = measured["timings"]
    phases = [phase for phase in runs[0] if phase != "total"]
    rows = [[phase, least_and_median([run[phase] for run in runs])] for phase in phases]
    rows.append(["all", least_and_median(measured["seconds"])])
    title = (
        f"Four photos to an asset, warm, {len(runs)} runs, texture of {size.texture_px} px, {measured['faces']:,} triangles "
        f"(cold: {measured['cold_s']:.1f} s; memory of both processes {sum(measured['memory'].values()) / 1e9:.1f} GB):"
    )
    return f"{title}\n\n{table(['phase', 'least (median)'], rows)}"


PARTS: Mapping[str, Callable[[Size], list[Row]]] = {
    "lattice": lattice_rows, "triplane": triplane_rows, "march": march_rows, "texture": texture_rows,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = [*PARTS, "import", "photo"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to measure (default: all)")
    parser.add_argument("--threads", type=int, default=0, help="of torch (default: the cores)")
    parser.add_argument("--blender", type=Path, default=ROOT / ".venv-blender-4.5/bin/python", help="a Python that has bpy")
    parser.add_argument("--output", type=Path, metavar="FILE", help="replace the CPU section of this file by what is measured")
    parser.add_argument("--rehearse", action="store_true", help="everything tiny, once: does it run?")
    options = parser.parse_args()
    size = REHEARSAL if options.rehearse else FULL
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of the engine's process, too
        torch.set_num_threads(options.threads)
    start, about = time.perf_counter(), machine()
    rows: list[Row] = []
    for name, measure in PARTS.items():
        if name in options.parts:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            rows += measure(size)
    if "import" in options.parts:
        rows += import_rows(options.blender, 2 if options.rehearse else 7)
    head = ["what", "ours: least (median)", "compared with", "its time", "ratio", "notes"]
    pieces = [f"Machine: {about}."]
    if rows:
        pieces.append(table(head, [row.cells() for row in rows]))
    if "photo" in options.parts:
        pieces.append(whole_job(size))
    text = "\n\n".join(pieces)
    print(f"{text}\n\nmeasured in {time.perf_counter() - start:.0f} s")
    if options.output:
        write_section(options.output, SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
