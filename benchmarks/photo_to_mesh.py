"""Four photos to a textured mesh, warm: seconds of each phase, in all, and the peak memory of all processes.

    python benchmarks/photo_to_mesh.py                                       the engine process alone
    python benchmarks/photo_to_mesh.py --blender .venv-blender-4.5/bin/python    the operator in Blender, mesh in the scene

The first run warms the engine up (torch, weights) and is not counted. Goal on two cores: 10 s and 3 GB. Memory is the sum of
each process's own peak, so never less than what was used at one time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from timed_jobs import ROOT, VIEWS, report, run_blender, run_engine, run_inside_blender, tell

GOAL_S, GOAL_BYTES = 10.0, 3e9


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

    def choose(settings: object) -> None:
        for name, path in photos.items():
            setattr(settings, name, path)
        settings.source = "PHOTOS"

    folder = Path(tempfile.mkdtemp(prefix="tetraview-benchmark-"))
    try:
        if args.inside_blender:
            tell(run_inside_blender(choose, args.runs, folder))
            return 0
        if args.blender:
            measured = run_blender(__file__, args.blender, ["--photos", str(args.photos), "--runs", str(args.runs)])
            met = report(measured, "four photos to a mesh object in the scene", GOAL_S, GOAL_BYTES)
        else:
            measured = run_engine({"photos": photos, "model": args.model}, args.runs, folder)
            met = report(measured, "four photos to an asset", GOAL_S, GOAL_BYTES)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if met or not args.check else 1


if __name__ == "__main__":
    sys.exit(main())
