"""Four photos to a textured mesh, warm: seconds of each phase, in all, and the peak memory of all processes.

    python benchmarks/photo_to_mesh.py                                       the engine process alone
    python benchmarks/photo_to_mesh.py --blender .venv-blender/bin/python    the operator in Blender, mesh in the scene

The first run warms the engine up (torch, weights) and is not counted. Goal on two cores: 10 s and 3 GB. Memory is the sum of
each process's own peak, so never less than what was used at one time.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VIEWS = ("front", "right", "back", "left")
PHASES = ("photos", "planes", "mesh", "simplify", "unwrap", "texture", "asset")
ADDON = "bl_ext.user_default.tetraview"
GOAL_S, GOAL_BYTES = 10.0, 3e9


def peak_memory(pid: int | None = None) -> int:
    """Most bytes of memory this process, or on Linux another living one, has held at a time; 0 if that cannot be told."""
    if pid is not None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_engine(photos: dict[str, str], runs: int, folder: Path, options: dict[str, object]) -> dict[str, object]:
    """Drive the engine process as Blender does, without Blender."""
    from tetraview.engine.client import EngineProcess
    from tetraview.engine.types import Asset, GenerateRequest

    timings, seconds = [], []
    with EngineProcess(os.environ.get("TETRAVIEW_ENGINE_PYTHON", sys.executable), folder / "home") as engine:
        for number in range(runs + 1):
            request = GenerateRequest(photos, str(folder / f"job{number}"), **options)
            start = time.perf_counter()
            asset = next(event for event in engine.submit(request).run() if isinstance(event, Asset))
            seconds.append(time.perf_counter() - start)
            timings.append(dict(asset.timings))
        memory = {"client": peak_memory(), "engine": peak_memory(engine.pid)}
    return {"cold_s": seconds[0], "seconds": seconds[1:], "timings": timings[1:], "faces": asset.n_faces, "memory": memory}


def run_inside_blender(photos: dict[str, str], runs: int, folder: Path) -> dict[str, object]:
    """Drive the real operator; this process has bpy. The add-on is linked into a Blender profile of its own."""
    os.environ["BLENDER_USER_RESOURCES"] = str(folder / "profile")
    os.environ["TETRAVIEW_HOME"] = str(folder / "home")
    link = folder / "profile" / "extensions" / "user_default" / "tetraview"
    link.parent.mkdir(parents=True)
    link.symlink_to(ROOT, target_is_directory=True)
    import importlib

    import bpy  # before addon_utils, whose folder it adds to the path

    addon_utils = importlib.import_module("addon_utils")
    addon_utils.enable(ADDON, default_set=True)
    try:
        session = importlib.import_module(f"{ADDON}.operators.session")
        settings = bpy.context.scene.tetraview
        for name, path in photos.items():
            setattr(settings, name, path)
        timings, seconds = [], []
        for _ in range(runs + 1):
            settings.strip.clear()
            start = time.perf_counter()
            if bpy.ops.tetraview.generate() != {"FINISHED"}:
                raise RuntimeError("the operator did not finish")
            seconds.append(time.perf_counter() - start)
            job = Path(bpy.context.window_manager.tetraview.result_folder)
            timings.append(json.loads((job / "timings.json").read_text()))
        obj = bpy.data.objects[bpy.context.window_manager.tetraview.result_object]
        memory = {"blender": peak_memory(), "engine": peak_memory(session.engine().pid)}
        faces = len(obj.data.polygons)
    finally:
        addon_utils.disable(ADDON, default_set=True)  # pip bpy hangs at exit otherwise
    return {"cold_s": seconds[0], "seconds": seconds[1:], "timings": timings[1:], "faces": faces, "memory": memory}


def run_blender(python: str, arguments: list[str]) -> dict[str, object]:
    """Run this file in Blender's Python; returns what it measured."""
    environment = {**os.environ, "TETRAVIEW_ENGINE_PYTHON": os.environ.get("TETRAVIEW_ENGINE_PYTHON", sys.executable)}
    command = [python, __file__, *arguments, "--inside-blender"]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=1800)
    lines = [line for line in result.stdout.splitlines() if line.startswith('{"cold_s"')]
    if result.returncode or not lines:
        raise SystemExit(f"Blender's run failed with status {result.returncode}:\n{result.stdout[-2000:]}")
    return json.loads(lines[-1])


def report(result: dict, what: str) -> bool:
    """Print the figures; returns whether the goals are met."""
    medians = {phase: statistics.median(run[phase] for run in result["timings"]) for phase in PHASES}
    total = statistics.median(result["seconds"])
    for phase, seconds in medians.items():
        print(f"  {phase:<10}{seconds:8.2f} s")
    print(f"  {'the rest':<10}{total - sum(medians.values()):8.2f} s   (the process; in Blender also building the object)")
    runs = ", ".join(f"{seconds:.2f}" for seconds in result["seconds"])
    print(f"{what}: {total:.2f} s, median of {len(result['seconds'])} warm runs ({runs}); cold {result['cold_s']:.2f} s")
    memory = sum(result["memory"].values())
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in result["memory"].items())
    print(f"peak memory of all processes: {memory / 1e9:.2f} GB ({parts}); {result['faces']} triangles")
    met = total <= GOAL_S and memory <= GOAL_BYTES
    verdict = "met" if met else "NOT met"
    print(f"goal {GOAL_S:g} s and {GOAL_BYTES / 1e9:g} GB: {verdict}; load of this machine {os.getloadavg()[0]:.1f}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ROOT / "docs" / "demo" / "photos", help="folder with the four PNGs")
    parser.add_argument("--runs", type=int, default=5, help="warm runs (default 5)")
    parser.add_argument("--blender", metavar="PYTHON", help="Python that has bpy: drive the operator in it")
    parser.add_argument("--model", help="reconstructor weights, for the engine alone (default: the starter weights)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is not met")
    parser.add_argument("--inside-blender", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    photos = {name: str(args.photos.resolve() / f"{name}.png") for name in VIEWS}
    folder = Path(tempfile.mkdtemp(prefix="tetraview-benchmark-"))
    try:
        if args.inside_blender:
            print(json.dumps(run_inside_blender(photos, args.runs, folder)), flush=True)
            return 0
        if args.blender:
            result = run_blender(args.blender, ["--photos", str(args.photos), "--runs", str(args.runs)])
            met = report(result, "four photos to a mesh object in the scene")
        else:
            result = run_engine(photos, args.runs, folder, {"model": args.model})
            met = report(result, "four photos to an asset")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if met or not args.check else 1


if __name__ == "__main__":
    sys.exit(main())
