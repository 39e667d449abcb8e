"""Fill the texture outside the charts, so that filtering and mip-maps never mix in other colours."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Value = TypeVar("Value", np.uint8, np.float32)


def fill_gutters(image: npt.NDArray[Value], covered: npt.NDArray[np.bool_]) -> npt.NDArray[Value]:
    """Give every texel outside the charts the colour of the nearest covered one.

    Args:
        image: uint8 or float32 [H, W, C].
        covered: bool [H, W], at least one True.

    Returns:
        Like the image; covered texels unchanged.

    Raises:
        ValueError: Nothing is covered, or the shapes disagree.
    """
    if image.shape[:2] != covered.shape:
        raise ValueError(f"image is {image.shape[:2]} but covered is {covered.shape}")
    if not covered.any():
        raise ValueError("no texel is covered: there is no colour to fill with")
    if covered.all():
        return image.copy()
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(int(labels.max()) + 1, np.int64)  # label -> flat index of the covered texel it grew from
    at = np.flatnonzero(covered)
    source[labels.reshape(-1)[at]] = at
    return image.reshape(-1, image.shape[2])[source[labels.reshape(-1)]].reshape(image.shape)
