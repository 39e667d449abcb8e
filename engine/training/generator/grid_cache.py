"""Rendered view grids of the training objects, each in several appearances: made once, kept on disk, read as memory maps.

A shard holds some objects: `grids` uint8 [n, A, 4, px, px, 4] (the canonical rig, straight alpha) and `meta.json`, a list of
dicts of `id`, `source`, `scan`, `family` and `appearances`: A dicts of `kind` and what captions are made of. A shard is written
under a temporary name and renamed, so any interruption leaves whole ones.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cameras import RIG_FOVY_DEG, rig_c2w
from ...dataset.packs import load_objects, read_metas
from ...dataset.render import render_views
from ...dataset.textured_mesh import TexturedMesh
from .materials import random_light, recoloured_mesh, vary_material

UNLIT, LIT, RECOLOURED = "unlit", "lit", "recoloured"
CAPTION_KEYS = ("caption", "caption_short", "category", "colours", "tags")


@dataclass(frozen=True)
class GridCacheConfig:
    """Settings of the renders.

    Attributes:
        px: Side of a view.
        kinds: Appearances of an object: `unlit` is the bare albedo; `lit` has a random lamp and varied material; `recoloured`
            is unlit in another main colour with the caption to it (where that is not possible: varied material).
        shard: Objects a file.
        limit: Use at most so many objects; None for all.
        seed: Seed of the order of objects and of every variation.
    """

    px: int = 128
    kinds: tuple[str, ...] = (UNLIT, LIT, RECOLOURED, RECOLOURED)
    shard: int = 64
    limit: int | None = None
    seed: int = 0


def render_appearance(
    mesh: TexturedMesh, kind: str, px: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """The four views uint8 [4, px, px, 4] of one appearance, and its entry of the meta."""
    light = None
    if kind == LIT:
        mesh, light = dataclasses.replace(mesh, texture=vary_material(mesh.texture, rng)), random_light(rng)
    elif kind == RECOLOURED:
        recoloured = recoloured_mesh(mesh, rng)
        mesh = recoloured or dataclasses.replace(mesh, texture=vary_material(mesh.texture, rng))
    elif kind != UNLIT:
        raise ValueError(f"kind: expected {UNLIT}, {LIT} or {RECOLOURED}, got {kind!r}")
    rgba = render_views(mesh, rig_c2w(), RIG_FOVY_DEG, px, shading=light).rgba
    return rgba, {"kind": kind, **{key: mesh.meta.get(key) for key in CAPTION_KEYS}}


Job = tuple[Path, list[TexturedMesh], GridCacheConfig, int]


def _render_shard(job: Job) -> Path:
    folder, meshes, config, index = job
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rng = np.random.default_rng((config.seed, index))
    grids = np.zeros((len(meshes), len(config.kinds), 4, config.px, config.px, 4), np.uint8)
    metas = []
    for row, mesh in enumerate(meshes):
        appearances = []
        for column, kind in enumerate(config.kinds):
            grids[row, column], entry = render_appearance(mesh, kind, config.px, rng)
            appearances.append(entry)
        metas.append({**{k: mesh.meta.get(k) for k in ("id", "source", "scan", "family")}, "appearances": appearances})
    np.save(partial / "grids.npy", grids)
    (partial / "meta.json").write_text(json.dumps(metas))
    os.replace(partial, folder)
    return folder


def _missing_shards(packs: Sequence[Path], folder: Path, config: GridCacheConfig) -> Iterator[Job]:
    """Jobs of the shards that are not there yet, objects spread so that every shard holds some of each source."""
    names = [(pack, meta["id"]) for pack in packs for meta in read_metas(pack)]
    order = np.random.default_rng(config.seed).permutation(len(names))[: config.limit]
    shards = [order[start : start + config.shard] for start in range(0, len(order), config.shard)]
    missing = [index for index in range(len(shards)) if not (folder / f"shard_{index:04d}").exists()]
    wanted = {names[i] for index in missing for i in shards[index]}
    meshes: dict[tuple[Path, str], TexturedMesh] = {}
    for pack in packs:
        ids = {name for at, name in wanted if at == pack}
        if ids:
            meshes |= {(pack, mesh.id): mesh for mesh in load_objects(pack, ids)}
    for index in missing:
        yield folder / f"shard_{index:04d}", [meshes.pop(names[i]) for i in shards[index]], config, index


def build_grid_cache(packs: Sequence[Path], folder: Path, config: GridCacheConfig, *, workers: int = 1) -> Iterator[Path]:
    """Render what is missing, one shard a process; yields each shard's folder as it is done.

    Raises:
        ValueError: The folder holds a cache of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, settings = folder / "config.json", json.loads(json.dumps(asdict(config)))
    if record.exists() and json.loads(record.read_text()) != settings:
        raise ValueError(f"{folder} holds grids of other settings ({record.read_text()}): choose another --cache folder")
    record.write_text(json.dumps(settings))
    jobs = _missing_shards(packs, folder, config)
    if workers <= 1:
        yield from map(_render_shard, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        running: set[Future[Path]] = set()
        for job in jobs:  # a few at a time: a job carries its meshes
            running.add(pool.submit(_render_shard, job))
            if len(running) >= 2 * workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in running)


class GridCache:
    """Read access to the shards in a folder.

    Attributes:
        items: (shard, row) of each object.
        meta: Its meta.
        px: Side of a view.
        kinds: Kind of each appearance.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = json.loads((folder / "config.json").read_text())
        self.px, self.kinds = int(config["px"]), tuple(config["kinds"])
        self.shards = [path for path in sorted(folder.glob("shard_*")) if not path.suffix]
        self._grids = {path.name: np.load(path / "grids.npy", mmap_mode="r") for path in self.shards}
        self.items: list[tuple[str, int]] = []
        self.meta: list[dict[str, Any]] = []
        for path in self.shards:
            meta = json.loads((path / "meta.json").read_text())
            self.meta += meta
            self.items += [(path.name, row) for row in range(len(meta))]

    def __len__(self) -> int:
        return len(self.items)

    def views(self, index: int, appearance: int) -> npt.NDArray[np.uint8]:
        """The four views of one appearance of one object, uint8 [4, px, px, 4]; a view into the memory map."""
        shard, row = self.items[index]
        return self._grids[shard][row, appearance]

    def shard_grids(self, shard: str) -> npt.NDArray[np.uint8]:
        """All of a shard, uint8 [n, A, 4, px, px, 4]."""
        return self._grids[shard]
