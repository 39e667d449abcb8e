"""Check a mesh against the views it was made from: what comes of photos that do not belong together is no success."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..imaging.views import FourViews
from ..types import VIEW_NAMES

_PX = 96
AGREEMENT = 0.7
"""Overlap of the mesh's outline with a view's below which the mesh does not show what that view shows. The worst view of 23 of
24 good sets of validation objects has 0.86 to 0.98; the 24th, whose mesh is in six pieces, has 0.41. Nine sets of views of four
different objects have 0.02 to 0.58."""
SPLINTER = 0.35
"""The average over the views below which hardly anything is left of the object."""
THINNEST = 0.02
"""Least extent of the mesh against its greatest below which it is a sheet."""
PARTS = 6
"""Number of loose parts from which on a mesh whose views show one thing is in pieces."""
LEAST_VOLUME = 1e-4
"""Volume, cubic world units, of the mesh in the unit sphere below which it is next to nothing; a pencil has ten times that."""


@dataclass(frozen=True)
class ResultFacts:
    """What is measured of a mesh.

    Attributes:
        volume: Cubic world units; the object lies in the unit sphere.
        thinness: Its least extent against its greatest, along its principal axes.
        parts: Number of loose parts.
        agreement: Intersection over union of its outline and the view's, 0..1, of each known view that is more than
            a line.
    """

    volume: float
    thinness: float
    parts: int
    agreement: dict[str, float]

    @property
    def mean_agreement(self) -> float:
        """The average over the views; 1 without any."""
        return float(np.mean(list(self.agreement.values()))) if self.agreement else 1.0


def measure_result(verts: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], views: FourViews) -> ResultFacts:
    """Measure a mesh, float32 [V, 3] and int32 [F, 3], F >= 1, that was made from these views."""
    import cv2

    from ..geometry.cleanup import face_components, signed_volume
    from ..rendering.embree import EmbreeMesh

    _, _, axes = np.linalg.svd(verts - verts.mean(0), full_matrices=False)
    extents = np.ptp(verts @ axes.T, axis=0)
    mesh, agreement = EmbreeMesh(verts, faces), {}
    for name, camera in zip(VIEW_NAMES, views.rig.c2w(), strict=True):
        if name in views:
            small = cv2.resize(np.ascontiguousarray(views[name][..., 3]), (_PX, _PX), interpolation=cv2.INTER_AREA)
            seen, shown = small >= 128, mesh.rasterize(camera, views.rig.fovy_deg, _PX, _PX).distance < np.inf
            if cv2.erode(seen.astype(np.uint8), np.ones((3, 3), np.uint8)).any():  # else too thin to compare
                agreement[name] = float((seen & shown).sum() / max(1, (seen | shown).sum()))
    thinness = float(extents.min() / max(extents.max(), 1e-9))
    return ResultFacts(abs(signed_volume(verts, faces)), thinness, int(face_components(faces).max()) + 1, agreement)


def warnings_of_result(facts: ResultFacts, views: FourViews) -> tuple[str, ...]:
    """At most one sentence for the artist: the worst of what is wrong with a mesh; none if it is as its views show it."""
    least, worst = min(((overlap, name) for name, overlap in facts.agreement.items()), default=(1.0, ""))
    if facts.mean_agreement < SPLINTER or facts.volume < LEAST_VOLUME:
        return (
            "Hardly anything is left of the object, because the views contradict each other: check that all show one object, "
            "each from its own side, and that their cut-outs are right.",
        )
    if least < AGREEMENT:
        return (
            f"The mesh differs much from the {worst} view: check that all views show one object, each from its own side and from "
            "one height.",
        )
    if facts.thinness < THINNEST and not _are_all_thin(views):
        return ("The mesh is as thin as a sheet: check that the right and left views show the object from its sides.",)
    if facts.parts >= PARTS and _most_parts(views) == 1:
        return (f"The mesh is in {facts.parts} pieces: check the cut-outs for holes, and that nothing moved between the photos.",)
    return ()


def _are_all_thin(views: FourViews) -> bool:
    """Whether some view shows the object less than a twentieth as wide as another: it may really be a sheet."""
    widths = [np.ptp(np.flatnonzero((view[..., 3] >= 128).any(0))) + 1 for view in views.values() if (view[..., 3] >= 128).any()]
    return bool(widths) and bool(min(widths) < 0.05 * max(widths))


def _most_parts(views: FourViews) -> int:
    """The greatest number of parts that a view shows, specks left out."""
    import cv2

    most = 1
    for view in views.values():
        _, _, stats, _ = cv2.connectedComponentsWithStats((view[..., 3] >= 128).astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        most = max(most, int((areas > 0.01 * areas.max()).sum()) if len(areas) else 0)
    return most
