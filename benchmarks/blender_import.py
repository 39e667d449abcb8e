"""The engine's arrays to a Blender mesh: milliseconds per 50,000 triangles. Run it with a Python that has bpy.

    .venv-blender-4.5/bin/python benchmarks/blender_import.py

Goal: 150 ms. Reading the file, vertices, faces, smooth shading and the UV layer are counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ADDON = "bl_ext.user_default.tetraview"


def sphere(rings: int, segments: int) -> dict[str, np.ndarray]:
    """A sphere as an `asset.npz` holds it, with a UV coordinate for every corner."""
    polar, around = np.linspace(0, np.pi, rings + 1), np.arange(segments) * 2 * np.pi / segments
    verts = np.stack([np.outer(np.sin(polar), np.cos(around)), np.outer(np.sin(polar), np.sin(around)),
                      np.repeat(np.cos(polar)[:, None], segments, 1)], -1).reshape(-1, 3)  # fmt: skip
    index = np.arange(len(verts)).reshape(rings + 1, segments)
    right = np.roll(index, -1, 1)
    faces = np.concatenate([
        np.stack([index[:-1], index[1:], right[1:]], -1).reshape(-1, 3),
        np.stack([index[:-1], right[1:], right[:-1]], -1).reshape(-1, 3),
    ])  # fmt: skip
    corners = np.arange(faces.size)
    return {
        "verts": verts.astype(np.float32), "faces": faces.astype(np.int32),
        "uvs": np.random.default_rng(0).random((len(corners), 2), np.float32),
        "uv_faces": corners.reshape(-1, 3).astype(np.int32),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print seconds per 50,000 triangles for another program")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BLENDER_USER_RESOURCES"] = folder
        link = Path(folder, "extensions", "user_default", "tetraview")
        link.parent.mkdir(parents=True)
        link.symlink_to(ROOT, target_is_directory=True)
        bpy = importlib.import_module("bpy")  # before addon_utils, whose folder it adds to the path
        addon_utils = importlib.import_module("addon_utils")
        addon_utils.enable(ADDON, default_set=True)
        try:
            builder = sys.modules[f"{ADDON}.operators.mesh_builder"]
            arrays = sphere(150, 168)
            np.savez(Path(folder, "asset.npz"), **arrays)
            milliseconds = []
            for _ in range(options.runs):
                start = time.perf_counter()
                builder.build_mesh("Sphere", *builder.read_arrays(str(Path(folder, "asset.npz"))))
                milliseconds.append((time.perf_counter() - start) * 1e3 * 50_000 / len(arrays["faces"]))
        finally:
            addon_utils.disable(ADDON, default_set=True)
    if options.json:
        print(json.dumps({"blender": bpy.app.version_string, "seconds": [each / 1e3 for each in milliseconds]}))
        return
    print(f"Blender {bpy.app.version_string}: {statistics.median(milliseconds):.0f} ms per 50,000 triangles, "
          f"median of {options.runs} (least {min(milliseconds):.0f}, most {max(milliseconds):.0f})")  # fmt: skip


if __name__ == "__main__":
    main()
