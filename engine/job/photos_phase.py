"""The photos phase: framed views from photos, or from an earlier run's views with the artist's edits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import PhotoError
from ..imaging.views import FourViews
from ..types import VIEW_NAMES, GenerateRequest
from .folder import JobFolder, write_json, written_whole
from .progress import OnProgress
from .view_files import read_views, rendered_views, write_view

UInt8Array = npt.NDArray[np.uint8]
Explain = Callable[[FourViews], float]
"""See `photos.intake.Explain`, which would bring in OpenCV."""

VIEW_PX = 512
"""Side of a framed view; views that start from an earlier run's keep their size."""


def frame_views(request: GenerateRequest, job: JobFolder, report: OnProgress, explain: Explain | None = None) -> FourViews:
    """Step 1: the framed views that are there before anything is painted, written to the job's folder.

    Args:
        request: Says which.
        job: Receives them, and the elevation if it is found.
        report: Progress.
        explain: Judges an elevation, where the request wants it found.

    Returns:
        The views; their rig is the request's, with the elevation that was found.

    Raises:
        PhotoError: A photo, or a view of the earlier run that is still needed, cannot be used.
    """
    if request.views_dir is not None:
        return _edited_views(request, Path(request.views_dir), job, report)
    from ..photos.intake import prepare_views

    prepared = prepare_views(
        request.photos, cutout=request.cutout, view_px=VIEW_PX, rig=request.rig, on_progress=report,
        explain=explain if request.find_elevation else None,
    )  # fmt: skip
    for name, image in prepared.items():
        write_view(job.view(name), image)
    if prepared.rig != request.rig:
        write_json(job.elevation, {"elevation_deg": prepared.rig.elevation_deg})
    return prepared


def found_elevation(folder: Path) -> float | None:
    """The elevation that an earlier run found for the views in a folder, degrees; None if it did not look, or kept the given."""
    try:
        elevation_deg = float(json.loads((folder / "elevation.json").read_text(encoding="utf-8"))["elevation_deg"])
        if not -90 <= elevation_deg <= 90:  # true of NaN too
            raise ValueError("no elevation")
        return elevation_deg
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise PhotoError(f"The file {folder / 'elevation.json'} cannot be read: delete it, or start from the photos.") from error


def _edited_views(request: GenerateRequest, folder: Path, job: JobFolder, report: OnProgress) -> FourViews:
    """The views in `folder` that stay, mirrored where asked for, and photos in place of others."""
    kept = [name for name in VIEW_NAMES if name not in (*request.repaint, *request.replace)]
    images = read_views(folder, kept)
    elevation_deg = found_elevation(folder) if request.find_elevation else None
    rig = request.rig if elevation_deg is None else replace(request.rig, elevation_deg=elevation_deg)
    px = next(iter(images.values())).shape[0] if images else VIEW_PX
    warnings: tuple[str, ...] = ()
    for name in kept:
        if name in request.flip:
            images[name] = mirrored(images[name])
    if request.replace:
        from ..photos.intake import prepare_views

        photos = {name: request.photos[name] for name in request.replace}
        prepared = prepare_views(
            photos, cutout=request.cutout, view_px=px, beside=images, on_progress=report, rig=rig,
        )  # fmt: skip
        warnings = prepared.warnings
        images |= {name: mirrored(image) if name in request.flip else image for name, image in prepared.items()}
    stays = folder.resolve() == job.views.resolve()  # they are in the job's own folder already
    for name, image in images.items():
        if name in (*request.flip, *request.replace):
            write_view(job.view(name), image)
        elif not stays:
            with written_whole(job.view(name)) as path:
                path.write_bytes((folder / f"{name}.png").read_bytes())
    if elevation_deg is not None and not stays:
        write_json(job.elevation, {"elevation_deg": elevation_deg})
    rendered = rendered_views(folder) & set(kept) - set(request.flip)
    views = FourViews.none(px, rig).with_views({name: images[name] for name in rendered}, are_rendered=True)
    known = {name: image for name, image in images.items() if name not in rendered}
    return views.with_views(known).with_warnings(*warnings)


def mirrored(image: UInt8Array) -> UInt8Array:
    """A view mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def empty_views(views: Mapping[str, UInt8Array]) -> list[str]:
    """Names of the views that show nothing: not one pixel that is more opaque than transparent."""
    return [name for name, image in views.items() if not (image[..., 3] >= 128).any()]


def warnings_of_empty(views: Mapping[str, UInt8Array]) -> tuple[str, ...]:
    """A sentence for the artist for each view that shows nothing."""
    return tuple(_empty_sentence([name]) for name in empty_views(views))


def require_no_empty_view(views: Mapping[str, UInt8Array]) -> None:
    """Raise `PhotoError`, in one sentence, if a view shows nothing: no mesh can be made of it."""
    empty = empty_views(views)
    if empty:
        raise PhotoError(_empty_sentence(empty))


def _empty_sentence(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"The {names[0]} view is empty: paint it again, or choose a photo for it."
    return f"The {', '.join(names[:-1])} and {names[-1]} views are empty: paint them again, or choose photos for them."
