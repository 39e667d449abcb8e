"""A prompt to a textured mesh, warm: seconds of each phase, in all, the peak memory of all processes, and the orbit preview.

    python benchmarks/prompt_to_mesh.py                                       the engine process alone
    python benchmarks/prompt_to_mesh.py --blender .venv-blender-4.5/bin/python    the operators in Blender, mesh in the scene

The first run warms the engine up (torch, weights) and is not counted. Goal on two cores, at the defaults: 15 s and 3 GB, and
5 s for an orbit preview of 24 frames at 128 px from views that are there. Memory is the sum of each process's own peak, so
never less than what was used at one time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from timed_jobs import report, run_blender, run_engine, run_inside_blender, tell

GOAL_S, GOAL_BYTES, GOAL_ORBIT_S = 15.0, 3e9, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", default="a red armchair", help='what to make (default "a red armchair")')
    parser.add_argument("--seed", type=int, default=0, help="seed of the views (default 0)")
    parser.add_argument("--runs", type=int, default=3, help="warm runs (default 3)")
    parser.add_argument("--blender", metavar="PYTHON", help="Python that has bpy: drive the operators in it")
    parser.add_argument("--generator", help="weights of the four-view generator (default: the starter's)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is not met")
    parser.add_argument("--inside-blender", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()

    def choose(settings: object) -> None:
        settings.source, settings.prompt, settings.seed = "PROMPT", args.prompt, args.seed

    folder = Path(tempfile.mkdtemp(prefix="tetraview-benchmark-"))
    if args.generator:
        os.environ["TETRAVIEW_GENERATOR"] = str(Path(args.generator).resolve())  # the extension reads it
    try:
        if args.inside_blender:
            tell(run_inside_blender(choose, args.runs, folder, orbit=True))
            return 0
        if args.blender:
            options = ["--prompt", args.prompt, "--seed", str(args.seed), "--runs", str(args.runs)]
            measured = run_blender(__file__, args.blender, options)
            met = report(measured, "a prompt to a mesh object in the scene", GOAL_S, GOAL_BYTES, GOAL_ORBIT_S)
        else:
            fields = {"photos": {}, "prompt": args.prompt, "seed": args.seed, "generator": os.environ.get("TETRAVIEW_GENERATOR")}
            measured = run_engine(fields, args.runs, folder, orbit=True)
            met = report(measured, "a prompt to an asset", GOAL_S, GOAL_BYTES, GOAL_ORBIT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if met or not args.check else 1


if __name__ == "__main__":
    sys.exit(main())
