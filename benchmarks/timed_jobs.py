"""Shared parts of the benchmarks of whole jobs: driving the engine process, or the real operators in Blender, and the report."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VIEWS = ("front", "right", "back", "left")
ADDON = "bl_ext.user_default.tetraview"
ORBIT = {"orbit_frames": 24, "orbit_px": 128}
RESULT = "measured: "
"""Begins the one line that the run inside Blender prints for the run outside."""


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


def run_engine(fields: Mapping[str, Any], runs: int, folder: Path, *, orbit: bool = False) -> dict[str, Any]:
    """Drive the engine process as Blender does, without Blender: one cold run and `runs` warm ones.

    Args:
        fields: Fields of the request except its folder.
        runs: Warm runs.
        folder: Receives the jobs and the engine's home.
        orbit: Also time the orbit preview of each run's views.
    """
    from tetraview.engine.client import EngineProcess
    from tetraview.engine.types import Asset, GenerateRequest

    timings, seconds, orbits = [], [], []
    with EngineProcess(os.environ.get("TETRAVIEW_ENGINE_PYTHON", sys.executable), folder / "home") as engine:
        for number in range(runs + 1):
            job = folder / f"job{number}"
            request = GenerateRequest(output_dir=str(job), **fields)
            start = time.perf_counter()
            asset = next(event for event in engine.submit(request).run() if isinstance(event, Asset))
            seconds.append(time.perf_counter() - start)
            timings.append(dict(asset.timings))
            if orbit:
                views = {**fields, "photos": {}, "views_dir": str(job / "views"), **ORBIT}
                start = time.perf_counter()
                list(engine.submit(GenerateRequest(output_dir=str(folder / f"orbit{number}"), **views), stop_after="orbit").run())
                orbits.append(time.perf_counter() - start)
        memory = {"client": peak_memory(), "engine": peak_memory(engine.pid)}
    return _measured(seconds, timings, orbits, asset.n_faces, memory)


def run_inside_blender(choose: Callable[[Any], None], runs: int, folder: Path, *, orbit: bool = False) -> dict[str, Any]:
    """Drive the real operators; this process has bpy.

    Args:
        choose: Sets what to make in the scene's settings.
        runs: Warm runs, after a cold one; each begins without views.
        folder: Receives the Blender profile, the jobs and the engine's home.
        orbit: Also time the orbit preview of each run's views.
    """
    timings, seconds, orbits = [], [], []
    with _extension(folder) as (bpy, session):
        settings = bpy.context.scene.tetraview
        choose(settings)
        for _ in range(runs + 1):
            settings.strip.clear()
            seconds.append(_pressed(bpy.ops.tetraview.generate))
            job = Path(bpy.context.window_manager.tetraview.result_folder)
            timings.append(json.loads((job / "timings.json").read_text()))
            if orbit:
                orbits.append(_pressed(bpy.ops.tetraview.orbit_views, frames=ORBIT["orbit_frames"], size_px=ORBIT["orbit_px"]))
        obj = bpy.data.objects[bpy.context.window_manager.tetraview.result_object]
        memory = {"blender": peak_memory(), "engine": peak_memory(session.engine().pid)}
        faces = len(obj.data.polygons)
    return _measured(seconds, timings, orbits, faces, memory)


def run_blender(script: str, python: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a benchmark's file in Blender's Python with `--inside-blender`; returns what it measured."""
    environment = {**os.environ, "TETRAVIEW_ENGINE_PYTHON": os.environ.get("TETRAVIEW_ENGINE_PYTHON", sys.executable)}
    command = [python, script, *arguments, "--inside-blender"]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=1800)
    lines = [line.removeprefix(RESULT) for line in result.stdout.splitlines() if line.startswith(RESULT)]
    if result.returncode or not lines:
        raise SystemExit(f"Blender's run failed with status {result.returncode}:\n{result.stdout[-2000:]}")
    measured: dict[str, Any] = json.loads(lines[-1])
    return measured


def tell(measured: Mapping[str, Any]) -> None:
    """Print what `run_blender` reads, in the run inside Blender."""
    print(RESULT + json.dumps(measured), flush=True)


def report(measured: Mapping[str, Any], what: str, goal_s: float, goal_bytes: float, goal_orbit_s: float | None = None) -> bool:
    """Print the figures; returns whether the goals are met."""
    from tetraview.engine.types import PHASES

    runs = measured["timings"]
    medians = {phase: statistics.median(run[phase] for run in runs) for phase in PHASES if phase in runs[0]}
    total = statistics.median(measured["seconds"])
    for phase, seconds in medians.items():
        print(f"  {phase:<10}{seconds:8.2f} s")
    print(f"  {'the rest':<10}{total - sum(medians.values()):8.2f} s   (the process; in Blender also building the object)")
    each = ", ".join(f"{seconds:.2f}" for seconds in measured["seconds"])
    print(f"{what}: {total:.2f} s, median of {len(runs)} warm runs ({each}); cold {measured['cold_s']:.2f} s")
    memory = sum(measured["memory"].values())
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in measured["memory"].items())
    print(f"peak memory of all processes: {memory / 1e9:.2f} GB ({parts}); {measured['faces']} triangles")
    met = total <= goal_s and memory <= goal_bytes
    print(f"goal {goal_s:g} s and {goal_bytes / 1e9:g} GB: {_verdict(met)}; load of this machine {os.getloadavg()[0]:.1f}")
    if goal_orbit_s is not None:
        seconds = statistics.median(measured["orbits"])
        size = f"{ORBIT['orbit_frames']} frames at {ORBIT['orbit_px']} px, planes included"
        print(f"orbit preview of {size}: {seconds:.2f} s; goal {goal_orbit_s:g} s: {_verdict(seconds <= goal_orbit_s)}")
        met = met and seconds <= goal_orbit_s
    return met


@contextlib.contextmanager
def _extension(folder: Path) -> Iterator[tuple[Any, Any]]:
    """The extension, linked into a Blender profile of its own and enabled: bpy, and its module of the engine's session."""
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
        yield bpy, importlib.import_module(f"{ADDON}.operators.session")
    finally:
        addon_utils.disable(ADDON, default_set=True)  # pip bpy hangs at exit otherwise


def _pressed(operator: Callable[..., set[str]], **settings: Any) -> float:
    """Seconds that an operator takes."""
    start = time.perf_counter()
    if operator(**settings) != {"FINISHED"}:
        raise RuntimeError("the operator did not finish")
    return time.perf_counter() - start


def _measured(
    seconds: list[float], timings: list[dict[str, float]], orbits: list[float], faces: int, memory: dict[str, int]
) -> dict[str, Any]:
    """The first run is the cold one; the others count."""
    return {
        "cold_s": seconds[0], "seconds": seconds[1:], "timings": timings[1:], "orbits": orbits[1:], "faces": faces,
        "memory": memory,
    }  # fmt: skip


def _verdict(met: bool) -> str:
    return "met" if met else "NOT met"
