"""Solidity: how well the reconstructor makes a mesh of an example's own four views; torn surfaces score low.

The mesh and the true object are compared from the four cameras of the rig and from above, which reveals holes in seats and
missing blades. Scores are JSON lines, one per object, each on disk before the next begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import minimum_filter

from ...cameras import RIG_FOVY_DEG, FloatArray, orbit_c2w, rig_c2w
from ...dataset.packs import load_objects, read_metas
from ...dataset.textured_mesh import TexturedMesh
from ...geometry.cleanup import remove_specks
from ...geometry.extract import extract_mesh
from ...models.loading import LoadedModel
from ...models.registry import WEIGHTS_FILE
from ...rendering.embree import EmbreeMesh
from ..generator.grid_cache import UNLIT, GridCache

COARSE, FINE = 128, 256
"""Lattice steps of the mesh that is judged first, and of the one that artists get: it decides where the first one looks torn, as
what is thinner than a step of the first may come out whole in it."""

LOOKS_TORN = 0.02
"""Torn share of a view from which the fine mesh is made."""

VIEW_PX, SUPERSAMPLE = 128, 2
"""Side of the judging views, and rays a pixel's side: the nearest counts, or rays would pass by the edges of blades."""

DEPTH_TOLERANCE = 0.06
"""World units by which two depths may differ and still be of one surface."""

TORN_WEIGHT = 4.0
"""Weight of a missing surface over a surplus one: a seat with its hollow filled is still a seat."""

ABOVE_DEG, TOP_DEG = 50.0, 89.0
"""Elevations of the views between those of the rig, and of the one from the top."""

SCORES_FILE = "solidity.jsonl"
SETTINGS = [COARSE, FINE, LOOKS_TORN, VIEW_PX, SUPERSAMPLE, DEPTH_TOLERANCE, TORN_WEIGHT, ABOVE_DEG, TOP_DEG]
"""Settings that scores depend on besides the weights."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two surfaces seen from the same cameras.

    Attributes:
        torn: float32 [V], share of the true surface's pixels at which the made one is farther away or missing, 0..1.
        filled: float32 [V], share of the made surface's pixels at which the true one is farther away or missing, 0..1.
        pixels: int [V], that the true one covers.
    """

    torn: FloatArray
    filled: FloatArray
    pixels: npt.NDArray[np.int64]

    @property
    def solidity(self) -> float:
        """0..1: the mean of the mean pixel's view and the worst view, of those that show much of the object."""
        views = (1 - TORN_WEIGHT * self.torn - self.filled).clip(0, 1)
        share = self.pixels / max(self.pixels.sum(), 1)
        return float(((views * share).sum() + views[share >= 0.5 / len(share)].min(initial=1.0)) / 2)


def judging_c2w() -> FloatArray:
    """The nine cameras that meshes are judged from, float32 [9, 4, 4]: the rig, four between and above, one at the top."""
    above = orbit_c2w([45.0, 135.0, 225.0, 315.0], ABOVE_DEG)
    return np.concatenate([rig_c2w(), above, orbit_c2w([0.0], TOP_DEG)])


def depth_maps(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> FloatArray:
    """Distances to a mesh from the judging cameras, float32 [9, VIEW_PX, VIEW_PX], world units; inf where there is nothing.

    Args:
        verts: float [V, 3].
        faces: int [F, 3]; may be empty.
    """
    maps = np.full((len(judging_c2w()), VIEW_PX, VIEW_PX), np.inf, np.float32)
    if len(faces):
        mesh = EmbreeMesh(verts, faces)
        for view, c2w in enumerate(judging_c2w()):
            rays = mesh.rasterize(c2w, RIG_FOVY_DEG, VIEW_PX, VIEW_PX, supersample=SUPERSAMPLE).distance
            maps[view] = rays.reshape(VIEW_PX, SUPERSAMPLE, VIEW_PX, SUPERSAMPLE).min((1, 3))
    return maps


def agreement(made: FloatArray, truth: FloatArray) -> Agreement:
    """Compare two surfaces in each view.

    A surface is there if it is at most `DEPTH_TOLERANCE` farther away, at the same pixel or at one of the eight around it:
    outlines that lie a pixel apart are no fault, as they would be most of what a thin blade shows.

    Args:
        made, truth: float32 [V, S, S], world units, inf where there is nothing.
    """
    return Agreement(_farther(made, truth), _farther(truth, made), np.isfinite(truth).sum((1, 2)))


def _farther(depth: FloatArray, other: FloatArray) -> FloatArray:
    """Share [V] of the pixels that `other` covers at which `depth` [V, S, S] is farther away all around."""
    nearest = minimum_filter(depth, (1, 3, 3), mode="constant", cval=np.inf)
    covered = np.isfinite(other)
    count = (covered & (nearest > other + DEPTH_TOLERANCE)).sum((1, 2))
    return (count / np.maximum(covered.sum((1, 2)), 1)).astype(np.float32)


def solidity(model: LoadedModel, views: npt.NDArray[np.uint8], truth: TexturedMesh) -> float:
    """Agreement of the engine's mesh of four views with the true object, 0..1.

    Args:
        model: The reconstructor.
        views: uint8 [4, S, S, 4], straight alpha, seen from the rig.
        truth: The object in the rig's frame.
    """
    field = model.reconstructor.encode(views)
    true_depth = depth_maps(truth.verts, truth.faces)
    for resolution in (COARSE, FINE):
        with torch.inference_mode():
            verts, faces = remove_specks(*extract_mesh(field, resolution))
        found = agreement(depth_maps(verts, faces), true_depth)
        if found.torn.max() <= LOOKS_TORN:
            break
    return found.solidity


class SolidityScores:
    """Scores of objects by one reconstructor, on disk.

    A folder may hold those of several reconstructors; a line that an interruption left unfinished is passed over.

    Args:
        folder: Folder of the scores; made if need be.
        weights_sha256: Hex SHA-256 of the reconstructor's weights.
    """

    def __init__(self, folder: Path, weights_sha256: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.weights_sha256 = folder / SCORES_FILE, weights_sha256
        self.solidity: dict[str, float] = {}
        data = self.path.read_bytes() if self.path.exists() else b""
        for line in data.split(b"\n"):
            try:
                record = json.loads(line)
                if record["weights"] == weights_sha256 and record["settings"] == SETTINGS:
                    self.solidity[str(record["id"])] = float(record["solidity"])
            except (ValueError, KeyError, TypeError):
                continue
        self._unfinished = bool(data) and not data.endswith(b"\n")

    def add(self, object_id: str, solidity: float) -> None:
        """Keep a score, 0..1; it is on disk when this returns."""
        record = {"id": object_id, "weights": self.weights_sha256, "settings": SETTINGS, "solidity": round(solidity, 3)}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("\n" * self._unfinished + json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._unfinished = False
        self.solidity[object_id] = round(solidity, 3)


def score_missing(
    packs: Sequence[Path], grids: GridCache, ids: Collection[str], model: LoadedModel, scores: SolidityScores
) -> Iterator[str]:
    """Score the objects that have no score yet; yields the id of each when its score is on disk.

    Args:
        packs: Packs of the true objects.
        grids: Their views; the unlit ones are used.
        ids: Ids of the objects to score.
        model: The reconstructor.
        scores: Existing scores; receives the new ones.
    """
    appearance, places = grids.kinds.index(UNLIT), {str(meta["id"]): index for index, meta in enumerate(grids.meta)}
    missing = {object_id for object_id in ids if object_id not in scores.solidity}
    for pack in packs:
        wanted = missing & {str(meta["id"]) for meta in read_metas(pack)}
        for truth in load_objects(pack, wanted) if wanted else ():
            scores.add(truth.id, solidity(model, np.array(grids.views(places[truth.id], appearance)), truth))
            yield truth.id


def weights_sha256(model: LoadedModel) -> str:
    """Hex SHA-256 of the weights of a reconstructor."""
    return next(digest for name, digest in model.sha256.items() if name.endswith(WEIGHTS_FILE))
