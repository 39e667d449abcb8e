"""The encoded planes of a batch of objects, and the features that points read from them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .rig_cameras import RigCameras


@dataclass(frozen=True)
class Encoded:
    """A batch of objects, encoded.

    Attributes:
        planes: float [B, 3, R, R, C], channels-last.
        raw: float [B * 4, S, S, 5]: premultiplied colour, alpha, signed silhouette (x 8), at the model's input size.
        shallow: float [B * 4, S / 2, S / 2, C'], features of the view encoder.
        cameras: The B rigs that the views were seen from.
        silhouettes: float [4, H, H], signed silhouettes (x 8) of one object at its views' own size, for a finer hull than that
            of `raw`; None where only `raw` is known.
    """

    planes: Tensor
    raw: Tensor
    shallow: Tensor
    cameras: RigCameras
    silhouettes: Tensor | None = None


@dataclass(frozen=True)
class PointSamples:
    """Features at points: planes float [N, C] (summed), views float [N, 4, 5 + C'], hull float [N] (signed, world units)."""

    planes: Tensor
    views: Tensor
    hull: Tensor
