"""From one to four photo files to framed views, with warnings: load -> cut out -> check -> balance -> frame -> check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..cameras import CANONICAL_RIG, Rig
from ..errors import PhotoError
from ..imaging.views import FourViews
from ..types import VIEW_NAMES
from .balance import balance_photos
from .checks import check_photo, check_repeats, check_views
from .cutout import cut_out_with_facts
from .elevation import find_elevation
from .framing import frame_beside, frame_views, is_rig, resized, subject_box, without_specks
from .load import load_photo
from .orientation import check_orientation
from .plausibility import check_plausibility

UInt8Array = npt.NDArray[np.uint8]
Explain = Callable[[FourViews], float]
"""Scores views framed for their rig: PSNR, dB, of one reconstruction rendered from there."""
_SEARCH_PX = 256
_ELEVATION_FOUND = (
    "The photos look as if taken from {:.0f} degrees above, not from {:g}, and were used so: state the elevation if you know it."
)


def prepare_views(
    photos: Mapping[str, str | os.PathLike[str]],
    *,
    cutout: str = "auto",
    view_px: int = 512,
    rig: Rig = CANONICAL_RIG,
    beside: Mapping[str, UInt8Array] | None = None,
    explain: Explain | None = None,
    on_progress: Callable[[float, str], None] | None = None,
) -> FourViews:
    """Load one to four photos, cut the object out of each and bring them to one frame.

    Args:
        photos: Path of the photo of each view that has one.
        cutout: "auto", "alpha", "plain" or "birefnet"; see `cut_out_with_facts`.
        view_px: Side of the square views.
        rig: The cameras that took the photos.
        beside: Framed views of other sides, uint8 [N, N, 4]: the photos are fitted to them, and become N pixels large.
        explain: How well framed views are explained by one object seen from an elevation, dB. With it, the elevation of two or
            more photos is looked for, beginning from the given one; views framed by the rig keep that.
        on_progress: Called with the share that is done, 0..1, and a few words; an exception it raises ends the intake.

    Returns:
        The framed views; their rig has the elevation that was given, or the one that was found.

    Raises:
        PhotoError: There is no photo, or one cannot be used or shows no subject; one sentence that names it.
        WeightsError: "birefnet" was asked for and its weights cannot be loaded.
    """
    report = on_progress or (lambda fraction, message: None)
    names = [name for name in VIEW_NAMES if name in photos]
    if not names:
        raise PhotoError("There are no photos: choose at least one of the object's four sides.")
    loaded: dict[str, UInt8Array] = {}
    cutouts: dict[str, UInt8Array] = {}
    warnings: list[str] = []
    for index, name in enumerate(names):
        report(index / (len(names) + 1), f"Cutting out the {name} view")
        file = Path(photos[name]).name
        photo = loaded[name] = load_photo(photos[name])
        cut = cut_out_with_facts(photo, cutout, name=f"The {name} photo {file}")
        if subject_box(cut.rgba) is None:
            raise PhotoError(
                f"No object was found in the {name} photo {file}: use a plain background that differs in colour from the object."
            )
        warnings += check_photo(name, photo, cut)
        cutouts[name] = cut.rgba if cut.method == "alpha" else without_specks(cut.rgba)
    report(len(names) / (len(names) + 1), "Bringing the views to one frame")
    cutouts = balance_photos(loaded, cutouts)
    others = {name: view for name, view in (beside or {}).items() if subject_box(view) is not None}
    if others:
        images = frame_beside(cutouts, others, rig=rig)
    else:
        if explain is not None and len(cutouts) > 1:
            given_deg, rig = rig.elevation_deg, _rig_of_photos(cutouts, loaded, rig, explain)
            if rig.elevation_deg != given_deg:
                warnings.append(_ELEVATION_FOUND.format(rig.elevation_deg, given_deg))
        images = frame_views(cutouts, view_px, rig=rig)
    warnings += check_views(images) + check_repeats(loaded)
    implausible = check_plausibility(loaded, cutouts, images, rig)
    warnings += implausible or check_orientation(images)
    report(1.0, "The photos are framed")
    return FourViews.of(images, rig).with_warnings(*warnings)


def _rig_of_photos(cutouts: Mapping[str, UInt8Array], photos: Mapping[str, UInt8Array], given: Rig, explain: Explain) -> Rig:
    """The rig of two to four photos; the given one for renders with a transparent background.

    Photos that are already framed by the rig keep their framing in the search: framed again, some also fit a wrong elevation.
    """
    by_rig = is_rig(cutouts, given)
    if by_rig and all(photo[..., 3].min() < 255 for photo in photos.values()):
        return given

    def explained(degrees: float) -> float:
        rig = replace(given, elevation_deg=degrees)
        if by_rig:
            return explain(FourViews.of({name: resized(cutout, _SEARCH_PX) for name, cutout in cutouts.items()}, rig))
        return explain(FourViews.of(frame_views(cutouts, _SEARCH_PX, rig=rig), rig))

    return replace(given, elevation_deg=find_elevation(explained, given.elevation_deg))
