"""Rendered views of the training objects: made once, kept on disk, read as memory maps.

A shard holds some objects: `inputs` uint8 [n, 2, 4, px, px, 4] (the canonical rig unlit; then jittered cameras, half of them
lit), `targets` uint8 [n, T, px, px, 4] (unlit, random cameras), `depth` float16 [n, T, px, px] (along the ray, 0 = nothing)
and `c2w` float32 [n, T, 4, 4]. A shard is written under a temporary name and renamed, so any interruption leaves whole ones.
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

from ..cameras import RIG_AZIMUTH_DEG, RIG_DISTANCE, RIG_ELEVATION_DEG, RIG_FOVY_DEG, orbit_c2w, rig_c2w
from ..dataset.lighting import Light
from ..dataset.packs import load_objects
from ..dataset.render import render_views
from ..dataset.textured_mesh import TexturedMesh


@dataclass(frozen=True)
class CacheConfig:
    """What is rendered.

    Attributes:
        px: Side of inputs and targets.
        targets: Random target views an object.
        azimuth_jitter_deg, elevation_jitter_deg: Standard deviations of the jittered inputs' cameras.
        shard: Objects a file.
        seed: Of every random camera and light.
    """

    px: int = 128
    targets: int = 10
    azimuth_jitter_deg: float = 2.0
    elevation_jitter_deg: float = 3.0
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


def render_object(mesh: TexturedMesh, config: CacheConfig, rng: np.random.Generator) -> dict[str, npt.NDArray[np.generic]]:
    """All cached arrays of one object, without the leading axis."""
    canonical = render_views(mesh, rig_c2w(), RIG_FOVY_DEG, config.px).rgba
    cameras, fovy_deg = jittered_rig(rng, config)
    light = None
    if rng.random() < 0.5:
        tint = tuple(float(c) for c in rng.uniform(0.85, 1.1, 3))
        strength = float(rng.uniform(0.1, 0.7))
        direction = rng.normal(size=3) + np.array((0, -0.3, 0.8))
        light = Light(direction, 1.05 - 0.6 * strength, strength, (tint[0], tint[1], tint[2]))
    jittered = render_views(mesh, cameras, fovy_deg, config.px, shading=light).rgba
    c2w = orbit_c2w(rng.uniform(0, 360, config.targets), rng.uniform(-12, 55, config.targets))
    targets = render_views(mesh, c2w, RIG_FOVY_DEG, config.px)
    depth = np.where(np.isfinite(targets.depth), targets.depth, 0).astype(np.float16)
    return {"inputs": np.stack([canonical, jittered]), "targets": targets.rgba, "depth": depth, "c2w": c2w}


def _render_shard(job: tuple[Path, list[TexturedMesh], CacheConfig, int]) -> Path:
    folder, meshes, config, index = job
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rng = np.random.default_rng((config.seed, index))
    rendered = [render_object(mesh, config, rng) for mesh in meshes]
    for key in rendered[0]:
        np.save(partial / f"{key}.npy", np.stack([r[key] for r in rendered]))
    meta = [{"id": m.id, **{k: m.meta.get(k) for k in ("source", "scan", "family", "mode")}} for m in meshes]
    (partial / "meta.json").write_text(json.dumps(meta))
    os.replace(partial, folder)
    return folder


def shard_jobs(
    packs: Iterable[Path], folder: Path, config: CacheConfig
) -> Iterator[tuple[Path, list[TexturedMesh], CacheConfig, int]]:
    """The shards that are not there yet, objects spread so that every shard holds some of each source."""
    meshes = [mesh for pack in packs for mesh in load_objects(pack)]
    order = np.random.default_rng(config.seed).permutation(len(meshes))
    for index in range(-(-len(meshes) // config.shard)):
        target = folder / f"shard_{index:04d}"
        if not target.exists():
            yield target, [meshes[i] for i in order[index * config.shard : (index + 1) * config.shard]], config, index


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
