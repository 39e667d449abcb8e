"""Choose the objects to measure: all of some packs and folders of model files, or a fair sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..dataset.meshes import MESH_SUFFIXES, load_mesh_file
from ..dataset.packs import load_objects, read_metas
from ..dataset.textured_mesh import TexturedMesh, unit_sphere_transform
from ..errors import EngineError, InvalidRequestError


@dataclass(frozen=True)
class ObjectRef:
    """An object that can be loaded.

    Attributes:
        key: `<pack or folder>/<id>`, unique in a run.
        path: The pack, or the model file.
        id: Its id in the pack; None for a model file.
    """

    key: str
    path: Path
    id: str | None


def find_objects(paths: Sequence[str | Path]) -> list[ObjectRef]:
    """All objects of packs (`.npz`), model files, and folders of either (searched to any depth), in a fixed order.

    Raises:
        EngineError: A path does not exist, cannot be read or holds no object, or two objects have one key.
    """
    found: list[ObjectRef] = []
    for path in map(Path, paths):
        if not path.exists():
            raise EngineError(f"There is nothing at {path}: give packs (.npz) or folders of GLB or OBJ files.")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        before = len(found)
        for file in files:
            if file.suffix.lower() == ".npz":
                found += [ObjectRef(f"{file.stem}/{meta['id']}", file, meta["id"]) for meta in read_metas(file)]
            elif file.suffix.lower() in MESH_SUFFIXES:
                place = file.relative_to(path.parent) if path.is_dir() else Path(file.name)
                found.append(ObjectRef(place.as_posix(), file, None))
        if len(found) == before:
            raise EngineError(f"{path} holds no object: expected packs (.npz) or files ending in {', '.join(MESH_SUFFIXES)}.")
    keys = [ref.key for ref in found]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise EngineError(f"Two objects are called {twice}: give each path once, and folders and packs different names.")
    return found


def choose_objects(
    refs: Sequence[ObjectRef], *, limit: int | None = None, seed: int = 0, ids: Collection[str] | None = None
) -> list[ObjectRef]:
    """The objects to measure, in the order of `refs`.

    Args:
        refs: All objects.
        limit: At most this many, drawn at random without replacement; the same for the same seed and objects.
        seed: Seed of the draw.
        ids: Only those whose key, or the part of it after the first "/", is here.

    Raises:
        InvalidRequestError: An id is not among the objects, or the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise InvalidRequestError(f"A limit of {limit} objects leaves nothing to measure: use 1 or more.")
    chosen = list(refs)
    if ids is not None:
        names = {name for ref in refs for name in (ref.key, ref.key.split("/", 1)[-1])}
        unknown = sorted(set(ids) - names)
        if unknown:
            raise InvalidRequestError(f"There is no object {unknown[0]!r} in these paths.")
        chosen = [ref for ref in refs if ref.key in ids or ref.key.split("/", 1)[-1] in ids]
    if limit is not None and limit < len(chosen):
        kept = np.sort(np.random.default_rng(seed).choice(len(chosen), limit, replace=False))
        chosen = [chosen[index] for index in kept]
    return chosen


def load_all(refs: Sequence[ObjectRef]) -> Iterator[tuple[ObjectRef, TexturedMesh | EngineError]]:
    """Load objects one at a time, normalised to the unit sphere; a file that cannot be read yields its error."""
    at = 0
    while at < len(refs):
        if refs[at].id is None:
            ref = refs[at]
            at += 1
            try:
                yield ref, normalised(load_mesh_file(ref.path, normalise=False))
            except EngineError as error:
                yield ref, error
            continue
        end = at
        while end < len(refs) and refs[end].path == refs[at].path:
            end += 1
        of_pack = {ref.id: ref for ref in refs[at:end]}
        for mesh in load_objects(refs[at].path, only={ref_id for ref_id in of_pack if ref_id is not None}):
            try:
                yield of_pack[mesh.id], normalised(mesh)
            except EngineError as error:
                yield of_pack[mesh.id], error
        at = end


def normalised(mesh: TexturedMesh) -> TexturedMesh:
    """The mesh with its bounding box's centre at the origin and its farthest vertex at distance 1.

    Raises:
        EngineError: It has no extent.
    """
    try:
        centre, scale = unit_sphere_transform(mesh.verts)
    except ValueError as error:
        raise EngineError(f"{mesh.id} cannot be scaled: {error}.") from error
    return replace(mesh, verts=((mesh.verts - centre) * np.float32(scale)).astype(np.float32))
