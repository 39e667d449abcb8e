"""Measure closed meshes, and drop unwanted parts: specks and unseen inner shells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

FloatArray = npt.NDArray[np.float32]
FaceArray = npt.NDArray[np.integer]


def signed_volume(verts: npt.NDArray[np.floating], faces: FaceArray) -> float:
    """Volume within a closed mesh, cubic world units; negative if its faces point inwards.

    Args:
        verts: float [V, 3].
        faces: int [F, 3].
    """
    return float(_volume_shares(verts, faces).sum())


def is_watertight(faces: FaceArray) -> bool:
    """Whether every edge has exactly two faces, which run along it in opposite directions; so is a mesh without faces.

    Args:
        faces: int [F, 3].
    """
    if len(faces) == 0:
        return True
    starts, ends = directed_edges(faces)
    n_verts = int(faces.max()) + 1
    # Twice the number of each edge, plus 1 for one of the two directions: sorted, they come in pairs.
    sides = np.sort(2 * (np.minimum(starts, ends) * n_verts + np.maximum(starts, ends)) + (starts < ends))
    there, back = sides[0::2], sides[1::2]
    paired = len(there) == len(back) and (there % 2 == 0).all() and (back == there + 1).all() and (np.diff(there) > 0).all()
    return bool(paired and (starts != ends).all())


def directed_edges(faces: FaceArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Start and end vertex of the three edges of each face, int64 [3 F] each."""
    corners = np.asarray(faces, np.int64)
    return corners.reshape(-1), corners[:, [1, 2, 0]].reshape(-1)


def drop_unused_verts(verts: FloatArray, faces: FaceArray) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """The same faces over only those vertices that they use: verts [V', 3], faces int32 [F, 3]."""
    used = np.zeros(len(verts), bool)
    used[faces] = True
    return verts[used], (np.cumsum(used) - 1)[faces].astype(np.int32)


def face_components(faces: FaceArray) -> npt.NDArray[np.int64]:
    """Number of the connected part that each face belongs to, int64 [F]; faces are connected through shared vertices."""
    if len(faces) == 0:
        return np.zeros(0, np.int64)
    starts, ends = directed_edges(faces)
    n_verts = int(faces.max()) + 1
    graph = coo_matrix((np.ones(len(starts), bool), (starts, ends)), shape=(n_verts, n_verts))
    _, part_of_vert = connected_components(graph, directed=False)
    return np.unique(part_of_vert[faces[:, 0]], return_inverse=True)[1].astype(np.int64)


def remove_specks(
    verts: FloatArray, faces: FaceArray, min_volume_share: float = 0.01, min_extent_share: float = np.inf
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """Drop specks, cavities, and what lies within cavities.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], a closed mesh facing outwards.
        min_volume_share: Connected parts with a smaller share of the sum of all parts' absolute volumes are specks. The largest
            part always stays.
        min_extent_share: But a part whose largest extent is at least this share of the mesh's is none, as a viewer would miss it.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3]; every vertex is used.
    """
    if len(faces) == 0:
        return verts[:0], np.zeros((0, 3), np.int32)
    part_of_face = face_components(faces)
    if part_of_face.max() == 0:
        return drop_unused_verts(verts, faces)
    volumes = np.bincount(part_of_face, _volume_shares(verts, faces))
    order = np.argsort(part_of_face, kind="stable")
    corners, first = verts[faces[order]].reshape(-1, 3), 3 * np.searchsorted(part_of_face[order], np.arange(len(volumes)))
    extents = (np.maximum.reduceat(corners, first) - np.minimum.reduceat(corners, first)).max(1)
    # A part that faces inwards bounds a hole within another part and is invisible.
    keep = volumes >= min_volume_share * np.abs(volumes).sum()
    keep |= (volumes > 0) & (extents >= min_extent_share * np.ptp(corners, axis=0).max())
    keep[np.argmax(volumes)] = True
    cavities = (volumes < 0).nonzero()[0]
    for part in keep.nonzero()[0]:
        point = verts[faces[np.argmax(part_of_face == part), 0]]
        keep[part] &= not any(_encloses(verts, faces[part_of_face == cavity], point) for cavity in cavities)
    return drop_unused_verts(verts, faces[keep[part_of_face]])


def _volume_shares(verts: npt.NDArray[np.floating], faces: FaceArray) -> npt.NDArray[np.float64]:
    """Signed volume between the origin and each face, [F]."""
    (ax, bx, cx), (ay, by, cy), (az, bz, cz) = np.asarray(verts, np.float64).T[:, np.asarray(faces).T]
    return np.asarray(ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)) / 6


def _encloses(verts: npt.NDArray[np.floating], faces: FaceArray, point: npt.NDArray[np.floating]) -> bool:
    """Whether a closed mesh, facing either way, winds around a point (van Oosterom and Strackee 1983)."""
    corners = np.asarray(verts, np.float64)[faces] - point  # [F, 3, 3]
    a, b, c = corners.transpose(1, 0, 2)
    la, lb, lc = np.linalg.norm(corners, axis=-1).T
    volume = (np.cross(a, b) * c).sum(1)
    solid_angle = 2 * np.arctan2(volume, la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb)
    return bool(abs(solid_angle.sum()) > 2 * np.pi)
