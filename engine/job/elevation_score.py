"""Score an elevation by rendering the reconstruction again: with wrong cameras, the views do not fit one object."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..imaging.colour import on_white
from ..imaging.compare import psnr
from ..imaging.views import FourViews
from ..models.loading import LoadedModel, field_of_views
from ..types import VIEW_NAMES

UInt8Array = npt.NDArray[np.uint8]

_PX, _SAMPLES = 40, 40


def rerender_psnr(model: LoadedModel, views: FourViews) -> float:
    """PSNR, on white, of the views rendered again from the field that the model sees in them.

    Args:
        model: The reconstructor.
        views: Two to four known ones, framed for their rig.
    """
    from ..rendering.volumetric import render_field

    field = field_of_views(model, views)
    cameras = dict(zip(VIEW_NAMES, views.rig.c2w(), strict=True))
    again = [np.clip(render_field(field, cameras[name], views.rig.fovy_deg, _PX, samples=_SAMPLES), 0, 1) for name in views]
    return psnr(on_white(np.stack(again)), on_white(np.stack([_small(view) for view in views.values()])))


def _small(view: UInt8Array) -> npt.NDArray[np.float32]:
    """A view [S, S, 4] reduced, premultiplied while it is, straight afterwards; 0..1."""
    image = view.astype(np.float32) / 255
    image[..., :3] *= image[..., 3:]
    small = np.asarray(cv2.resize(image, (_PX, _PX), interpolation=cv2.INTER_AREA), np.float32)
    small[..., :3] /= np.maximum(small[..., 3:], 1e-3)
    return small
