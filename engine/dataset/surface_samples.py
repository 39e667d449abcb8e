"""Points on an object's visible surface, with normals and free distances on both sides: direct supervision of a signed distance.

Objects of the data set have no consistent winding and may hold inner faces. A point that rays from outside hit is
certainly surface, and the side that they come from is certainly outside.
"""

from __future__ import annotations

import numpy as np

from ..cameras import FloatArray
from ..rendering.embree import EmbreeMesh

GAP_LIMIT = 2.0
"""Gaps are cut at this, world units: nothing of a unit sphere lies farther."""


def surface_samples(mesh: EmbreeMesh, verts: FloatArray, faces: np.ndarray, count: int, rng: np.random.Generator) -> FloatArray:
    """Draw points of the surface that is seen from outside.

    Rays start on a sphere around the object and aim near random places of its faces. Hollows that few directions see are met
    less often.

    Args:
        mesh: The object, ready for rays.
        verts, faces: The same, float32 [V, 3] and int [F, 3].
        count: Points to return; fewer only if rays meet nothing.
        rng: Source of randomness.

    Returns:
        float32 [count, 8]: place, unit normal towards the outside, and the distances to the next surface along the normal and
        against it, at most `GAP_LIMIT`.
    """
    edges = verts[faces[:, 1:]] - verts[faces[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).astype(np.float64)
    chance = 0.8 * area / max(area.sum(), 1e-12) + 0.2 / len(faces)  # small faces hold the detail
    chance /= chance.sum()
    found: list[FloatArray] = []
    total = 0
    for _ in range(40):
        start = rng.normal(size=(4 * count, 3))
        start = (3 * start / np.linalg.norm(start, axis=1, keepdims=True)).astype(np.float32)
        corner = verts[faces[rng.choice(len(faces), len(start), p=chance)]]  # [M, 3, 3], the face that a ray aims at
        share = rng.dirichlet((1, 1, 1), len(start)).astype(np.float32)
        aim = np.einsum("nk,nkc->nc", share, corner) + rng.normal(0, 0.03, start.shape).astype(np.float32)
        direction = aim - start
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        hits = mesh.first_hits(start, direction)
        hit = hits.face_index >= 0
        corners = verts[faces[hits.face_index[hit]]]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        fine = length[:, 0] > 1e-12
        normal = (normal[fine] / length[fine]).astype(np.float32)
        ray = direction[hit][fine]
        normal *= -np.sign((normal * ray).sum(1, keepdims=True) + 1e-12)
        place = start[hit][fine] + ray * hits.distance[hit][fine, None]
        found.append(np.concatenate([place, normal], 1).astype(np.float32))
        total += len(place)
        if total >= count:
            break
    points = np.concatenate(found)[:count]
    place, normal = points[:, :3], points[:, 3:]
    gaps = [mesh.first_hits(place + side * 1e-3 * normal, side * normal).distance + 1e-3 for side in (1, -1)]
    return np.concatenate([points, np.minimum(np.stack(gaps, 1), GAP_LIMIT)], 1).astype(np.float32)
