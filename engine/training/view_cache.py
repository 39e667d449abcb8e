"""Rendered views of the training objects: made once, kept on disk, read as memory maps.

A shard holds some objects. Its arrays, with N inputs and T targets an object:

- `inputs` uint8 [n, N, 4, px, px, 4]: the four views, unlit, from the canonical rig, a turnaround's, random ones; and last from
  jittered cameras, half of these lit.
- `rigs` float32 [n, N, 2]: nominal elevation and field of view of each set of views (for the jittered set, the canonical ones).
- `targets` uint8 [n, T, px, px, 4]: unlit, from cameras spread evenly over the whole sphere.
- `depth` float16 [n, T, px, px]: distance along the ray less `RIG_DISTANCE`, which keeps a precision of 0.001; inf where nothing
  is hit.
- `c2w` float32 [n, T, 4, 4].
- `surface` float16 [n, S, 8]: points of the visible surface, see `dataset.surface_samples`.

A shard is written under a temporary name and renamed, so any interruption leaves whole ones.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..cameras import (
    CANONICAL_RIG,
    ORTHOGRAPHIC,
    RIG_AZIMUTH_DEG,
    RIG_DISTANCE,
    RIG_ELEVATION_DEG,
    RIG_FOVY_DEG,
    TURNAROUND_RIG,
    Rig,
    orbit_c2w,
)  # fmt: skip
from ..dataset.lighting import Light
from ..dataset.packs import load_objects
from ..dataset.render import render_views
from ..dataset.solid_texture import SolidTexture
from ..dataset.surface_samples import surface_samples
from ..dataset.textured_mesh import TexturedMesh
from ..rendering.embree import EmbreeMesh

RANDOM_RIGS = 2
"""Sets of input views from a random elevation and lens."""
ELEVATION_RANGE_DEG = (-10.0, 45.0)
FOVY_RANGE_DEG = (10.0, 50.0)
ORTHOGRAPHIC_SHARE = 0.35


@dataclass(frozen=True)
class CacheConfig:
    """Settings of the renders.

    Attributes:
        px: Side of inputs and targets.
        targets: Random target views an object.
        azimuth_jitter_deg, elevation_jitter_deg: Standard deviations of the jittered inputs' cameras.
        surface_points: Points of the visible surface kept an object.
        appearances: Times that each object is rendered: as it is, then with random solid textures over its own.
        shard: Objects a file.
        seed: Seed of every random camera and light.
    """

    px: int = 128
    targets: int = 12
    azimuth_jitter_deg: float = 2.0
    elevation_jitter_deg: float = 3.0
    surface_points: int = 1536
    appearances: int = 1
    shard: int = 64
    seed: int = 0


def jittered_rig(rng: np.random.Generator, config: CacheConfig) -> tuple[npt.NDArray[np.float32], float]:
    """Four cameras as hand-held photos have them, and their field of view: azimuth, elevation, lens, scale and offset vary."""
    fovy_deg = float(rng.uniform(24, 38))
    distance = RIG_DISTANCE * np.tan(np.deg2rad(RIG_FOVY_DEG / 2)) / np.tan(np.deg2rad(fovy_deg / 2))
    azimuth = np.array(RIG_AZIMUTH_DEG) + rng.normal(0, config.azimuth_jitter_deg, 4)
    elevation = RIG_ELEVATION_DEG + rng.normal(0, config.elevation_jitter_deg) + rng.normal(0, 1, 4)
    c2w = orbit_c2w(azimuth, elevation, distance * rng.uniform(0.97, 1.03, 4))
    c2w[:, :3, 3] += np.einsum("vij,vj->vi", c2w[:, :3, :2], rng.normal(0, 0.012, (4, 2)))
    return c2w, fovy_deg


def random_rig(rng: np.random.Generator) -> Rig:
    """An elevation and a lens within the ranges that the reconstructor is trained for."""
    fovy_deg = ORTHOGRAPHIC if rng.random() < ORTHOGRAPHIC_SHARE else float(rng.uniform(*FOVY_RANGE_DEG))
    return Rig(float(rng.uniform(*ELEVATION_RANGE_DEG)), fovy_deg)


def even_cameras(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Cameras float32 [count, 4, 4] spread evenly over the whole sphere, turned at random about the vertical axis.

    A Fibonacci lattice, Gonzalez 2010, https://arxiv.org/abs/0912.4540, with a random start, so that objects differ.
    """
    height = 1 - 2 * (np.arange(count) + rng.uniform(0.1, 0.9)) / count
    azimuth_deg = rng.uniform(0, 360) + np.arange(count) * 180 * (3 - np.sqrt(5))
    return orbit_c2w(azimuth_deg, np.rad2deg(np.arcsin(height)).clip(-85, 85))


def render_object(
    mesh: TexturedMesh, config: CacheConfig, rng: np.random.Generator, textured: bool = False
) -> dict[str, npt.NDArray[np.generic]]:
    """All cached arrays of one object, without the leading axis; `textured` paints a random solid texture over its own."""
    paint = SolidTexture.random(rng) if textured else None
    rigs = [CANONICAL_RIG, TURNAROUND_RIG, *(random_rig(rng) for _ in range(RANDOM_RIGS)), CANONICAL_RIG]
    inputs = [render_views(mesh, rig.c2w(), rig.fovy_deg, config.px, paint=paint).rgba for rig in rigs[:-1]]
    cameras, fovy_deg = jittered_rig(rng, config)
    light = None
    if rng.random() < 0.5:
        tint = tuple(float(c) for c in rng.uniform(0.85, 1.1, 3))
        strength = float(rng.uniform(0.1, 0.7))
        direction = rng.normal(size=3) + np.array((0, -0.3, 0.8))
        light = Light(direction, 1.05 - 0.6 * strength, strength, (tint[0], tint[1], tint[2]))
    inputs.append(render_views(mesh, cameras, fovy_deg, config.px, shading=light, paint=paint).rgba)
    c2w = even_cameras(config.targets, rng)
    targets = render_views(mesh, c2w, RIG_FOVY_DEG, config.px, paint=paint)
    surface = surface_samples(EmbreeMesh(mesh.verts, mesh.faces), mesh.verts, mesh.faces, config.surface_points, rng)
    if len(surface) < config.surface_points:  # a sliver that few rays met: its points are used again
        shape = (config.surface_points, 8)
        surface = np.resize(surface, shape) if len(surface) else np.zeros(shape, np.float32)
    return {
        "inputs": np.stack(inputs),
        "rigs": np.array([(rig.elevation_deg, rig.fovy_deg) for rig in rigs], np.float32),
        "targets": targets.rgba,
        "depth": (targets.depth - RIG_DISTANCE).astype(np.float16),
        "c2w": c2w,
        "surface": surface.astype(np.float16),
    }


def _render_shard(job: tuple[Path, list[TexturedMesh], CacheConfig, int, bool]) -> Path:
    folder, meshes, config, index, textured = job
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rng = np.random.default_rng((config.seed, index))
    rendered = [render_object(mesh, config, rng, textured) for mesh in meshes]
    for key in rendered[0]:
        np.save(partial / f"{key}.npy", np.stack([r[key] for r in rendered]))
    meta = [{"id": m.id, **{k: m.meta.get(k) for k in ("source", "scan", "family", "mode")}} for m in meshes]
    (partial / "meta.json").write_text(json.dumps(meta))
    os.replace(partial, folder)
    return folder


def shard_jobs(
    packs: Iterable[Path], folder: Path, config: CacheConfig
) -> Iterator[tuple[Path, list[TexturedMesh], CacheConfig, int, bool]]:
    """The shards that are not there yet, objects spread so that every shard holds some of each source; plain ones come first."""
    meshes = [mesh for pack in packs for mesh in load_objects(pack)]
    shards = -(-len(meshes) // config.shard)
    for index in range(shards * config.appearances):
        order = np.random.default_rng((config.seed, index // shards)).permutation(len(meshes))
        part = order[index % shards * config.shard : (index % shards + 1) * config.shard]
        target = folder / f"shard_{index:04d}"
        if not target.exists():
            yield target, [meshes[i] for i in part], config, index, index >= shards


def build_view_cache(
    packs: Iterable[Path], folder: Path, config: CacheConfig, *, workers: int = 1, limit_shards: int | None = None
) -> Iterator[Path]:
    """Render what is missing; yields each shard's folder as it is done.

    Raises:
        ValueError: The folder holds a cache of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "config.json"
    if record.exists() and json.loads(record.read_text()) != asdict(config):
        raise ValueError(f"{folder} holds views of another configuration: choose another --cache folder")
    record.write_text(json.dumps(asdict(config)))
    jobs = islice(shard_jobs(packs, folder, config), limit_shards)
    if workers <= 1:
        yield from map(_render_shard, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_render_shard, jobs)


def absolute_depth(offset: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Distance along the ray, float32, 0 where nothing is hit, from the cache's offset to `RIG_DISTANCE`."""
    depth = offset.astype(np.float32) + RIG_DISTANCE
    return np.where(np.isfinite(depth), depth, 0).astype(np.float32)


class ViewCache:
    """Read access to the shards in a folder; `refresh` finds those that were added since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[Path, dict[str, npt.NDArray[np.generic]]] = {}
        self.items: list[tuple[Path, int]] = []
        self.meta: list[dict[str, object]] = []
        self.refresh()

    def refresh(self) -> int:
        """Look for new shards; returns the number of objects."""
        for path in sorted(self.folder.glob("shard_*")):
            if path.suffix or path in self._shards:
                continue
            self._shards[path] = {p.stem: np.load(p, mmap_mode="r") for p in path.glob("*.npy")}
            meta = json.loads((path / "meta.json").read_text())
            self.meta += meta
            self.items += [(path, row) for row in range(len(meta))]
        return len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of one object, without the leading axis (views into the memory maps)."""
        path, row = self.items[index]
        return {key: array[row] for key, array in self._shards[path].items()}
