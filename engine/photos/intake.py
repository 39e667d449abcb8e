"""From four photo files to the four framed views, with warnings: load -> cut out -> check -> frame -> check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..cameras import RIG_ELEVATION_DEG
from ..errors import PhotoError
from ..types import VIEW_NAMES
from .checks import check_photo, check_repeats, check_views
from .cutout import cut_out_with_facts
from .framing import frame_views, subject_box
from .load import load_photo

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PreparedViews:
    """The four views as the reconstructor wants them.

    Attributes:
        images: uint8 [view_px, view_px, 4] RGBA of each view, straight alpha, framed; keyed by a name of `VIEW_NAMES`.
        warnings: Sentences for the artist.
    """

    images: dict[str, UInt8Array]
    warnings: tuple[str, ...]


def prepare_views(
    photos: Mapping[str, str | os.PathLike[str]],
    *,
    cutout: str = "auto",
    view_px: int = 512,
    elevation_deg: float = RIG_ELEVATION_DEG,
    on_progress: Callable[[float, str], None] | None = None,
) -> PreparedViews:
    """Load four photos, cut the object out of each and bring them to one frame.

    Args:
        photos: Path of the photo of each of the four views.
        cutout: "auto", "alpha", "plain" or "birefnet"; see `cut_out_with_facts`.
        view_px: Side of the square views.
        elevation_deg: Elevation the photos were taken at.
        on_progress: Called with the share that is done, 0..1, and a few words; an exception it raises ends the intake.

    Raises:
        PhotoError: A photo is missing, cannot be used or shows no subject; one sentence that names it.
        WeightsError: "birefnet" was asked for and its weights cannot be loaded.
    """
    report = on_progress or (lambda fraction, message: None)
    missing = [name for name in VIEW_NAMES if name not in photos]
    if missing:
        raise PhotoError(f"No photo for the {' and '.join(missing)} view: choose one for each of the four sides.")
    loaded: dict[str, UInt8Array] = {}
    cutouts: dict[str, UInt8Array] = {}
    warnings: list[str] = []
    for index, name in enumerate(VIEW_NAMES):
        report(index / (len(VIEW_NAMES) + 1), f"Cutting out the {name} view")
        file = Path(photos[name]).name
        photo = loaded[name] = load_photo(photos[name])
        cut = cut_out_with_facts(photo, cutout, name=f"The {name} photo {file}")
        if subject_box(cut.rgba) is None:
            raise PhotoError(
                f"No object was found in the {name} photo {file}: use a plain background that differs in colour from the object."
            )
        warnings += check_photo(name, photo, cut)
        cutouts[name] = cut.rgba
    report(len(VIEW_NAMES) / (len(VIEW_NAMES) + 1), "Bringing the views to one frame")
    images = frame_views(cutouts, view_px, elevation_deg=elevation_deg)
    warnings += check_views(images) + check_repeats(loaded)
    report(1.0, "The four views are ready")
    return PreparedViews(images, tuple(dict.fromkeys(warnings)))
