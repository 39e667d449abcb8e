"""Score an elevation by rendering the reconstruction again: with wrong cameras, the views do not fit one object."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ..cameras import Rig
from ..imaging.colour import on_white
from ..imaging.compare import psnr
from ..models.loading import LoadedModel, field_of_views
from ..types import VIEW_NAMES

UInt8Array = npt.NDArray[np.uint8]

_PX, _SAMPLES = 40, 40


def rerender_psnr(model: LoadedModel, views: Mapping[str, UInt8Array], rig: Rig) -> float:
    """PSNR, on white, of the views rendered again from the field that the model sees in them.

    Args:
        model: The reconstructor.
        views: uint8 [S, S, 4] RGBA of two to four, framed for this rig, keyed by name.
        rig: The four cameras.
    """
    from ..rendering.volumetric import render_field

    field = field_of_views(model, views, rig)
    cameras = dict(zip(VIEW_NAMES, rig.c2w(), strict=True))
    again = [np.clip(render_field(field, cameras[name], rig.fovy_deg, _PX, samples=_SAMPLES), 0, 1) for name in views]
    return psnr(on_white(np.stack(again)), on_white(np.stack([_small(view) for view in views.values()])))


def _small(view: UInt8Array) -> npt.NDArray[np.float32]:
    """A view [S, S, 4] reduced, premultiplied while it is, straight afterwards; 0..1."""
    image = view.astype(np.float32) / 255
    image[..., :3] *= image[..., 3:]
    small = np.asarray(cv2.resize(image, (_PX, _PX), interpolation=cv2.INTER_AREA), np.float32)
    small[..., :3] /= np.maximum(small[..., 3:], 1e-3)
    return small
