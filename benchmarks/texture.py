"""Time of the UV atlas against xatlas, and of baking and back-projection a megapixel.

python benchmarks/texture.py [--triangles 10000] [--texture 1024]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import trimesh
import xatlas
from tetraview.engine.cameras import RIG_FOVY_DEG, rig_c2w
from tetraview.engine.rendering.embree import EmbreeMesh
from tetraview.engine.texturing.atlas import unwrap
from tetraview.engine.texturing.back_projection import BackProjector
from tetraview.engine.texturing.bake import bake_surface
from tetraview.engine.texturing.texture import paint_texture
from tetraview.engine.types import VIEW_NAMES


class Grey:
    """A field that costs nothing."""

    def albedo(self, points: torch.Tensor) -> torch.Tensor:
        return torch.full_like(points, 0.5)


def bumpy_sphere(triangles: int) -> tuple[np.ndarray, np.ndarray]:
    rows = max(int(np.sqrt(triangles / 4)), 4)
    mesh = trimesh.creation.uv_sphere(radius=1.0, count=[rows, 2 * rows])
    verts = np.asarray(mesh.vertices)
    bumps = (
        0.75
        + 0.08 * np.sin(verts @ [7.0, 3.0, 1.0])
        + 0.08 * np.sin(verts @ [-2.0, 6.0, 5.0] + 1)
        + 0.04 * np.sin(verts @ [9.0, -8.0, 4.0])
    )
    return (verts * bumps[:, None]).astype(np.float32), np.asarray(mesh.faces, np.int32)


def timed(call, *args):
    wall, cpu = time.perf_counter(), time.process_time()
    result = call(*args)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triangles", type=int, default=10_000)
    parser.add_argument("--texture", type=int, default=1024)
    options = parser.parse_args()
    verts, faces = bumpy_sphere(options.triangles)
    unwrap(verts[:3], np.array([[0, 1, 2]]), 256)  # imports and caches
    atlas, ours_s, ours_cpu_s = timed(unwrap, verts, faces, options.texture)
    _, xatlas_s, xatlas_cpu_s = timed(xatlas.parametrize, verts, faces)
    per = 10_000 / len(faces)
    print(f"{len(faces)} triangles, {options.texture} px")
    print(f"unwrap   {ours_s * per:6.2f} s per 10k triangles ({ours_cpu_s * per:.2f} s of processor time)")
    print(f"xatlas   {xatlas_s * per:6.2f} s per 10k triangles ({xatlas_cpu_s * per:.2f} s of processor time)")
    print(f"ratio    {xatlas_s / ours_s:6.1f} times faster by the clock, {xatlas_cpu_s / ours_cpu_s:.1f} by processor time")

    mesh = EmbreeMesh(verts, faces)
    views = {}
    for name, c2w in zip(VIEW_NAMES, rig_c2w(), strict=True):
        hit = mesh.rasterize(c2w, RIG_FOVY_DEG, 512, 512).face_index >= 0
        views[name] = np.where(hit[..., None], np.array([200, 120, 60, 255]), 0).astype(np.uint8)
    megapixels = options.texture**2 / 1e6
    blocks, bake_s, bake_cpu_s = timed(lambda: list(bake_surface(atlas, options.texture)))
    projector, prepare_s, prepare_cpu_s = timed(BackProjector, verts, faces, views, 20.0)
    _, project_s, project_cpu_s = timed(lambda: [projector.sample(b.points, b.normals, b.face_normals) for b in blocks])
    _, paint_s, paint_cpu_s = timed(paint_texture, Grey(), atlas, views, 20.0, options.texture)
    fill = sum(len(b.points) for b in blocks) / options.texture**2
    print(f"fill     {fill:6.1%} of the texture")
    print(f"bake     {bake_s / megapixels:6.2f} s per megapixel ({bake_cpu_s / megapixels:.2f} s of processor time)")
    print(
        f"project  {project_s / megapixels:6.2f} s per megapixel ({project_cpu_s / megapixels:.2f}), "
        f"and {prepare_s:.2f} s once ({prepare_cpu_s:.2f})"
    )
    print(f"paint    {paint_s:6.2f} s in all with a field that costs nothing ({paint_cpu_s:.2f})")


if __name__ == "__main__":
    main()
