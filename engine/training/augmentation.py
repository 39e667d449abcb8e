"""Augment input views with the defects of photos and painted views, so that the reconstructor learns to ignore them.

The defects are noise, compression, blotches of wrong colour, blur, and each view's own white balance. A cast that all four views
share cannot be told from the object's colour and is not added. Masks are eroded in `batches.erode_mask`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of each defect; a view gets each kind independently, with its own probability.

    Attributes:
        noise, noise_sd: Share of views with noise in each pixel, and its largest standard deviation (of 0..1).
        blotches, blotches_sd, blotches_px: The same for wrong-coloured blotches, as a latent decoder leaves, and their side.
        jpeg, jpeg_quality: Share of views stored as JPEG, and lowest and highest quality.
        blur, blur_px: Share of views out of focus, and the largest standard deviation, pixels.
        balance, balance_sd: Share of views whose channels' gains are off, and by how much (standard deviation).
    """

    noise: float = 0.4
    noise_sd: float = 0.06
    blotches: float = 0.5
    blotches_sd: float = 0.07
    blotches_px: int = 8
    jpeg: float = 0.4
    jpeg_quality: tuple[int, int] = (12, 50)
    blur: float = 0.3
    blur_px: float = 1.2
    balance: float = 0.4
    balance_sd: float = 0.05


def augment_views(views: UInt8Array, rng: np.random.Generator, config: AugmentConfig | None = None) -> UInt8Array:
    """Augmented copies of an object's views.

    Args:
        views: uint8 [V, H, W, 4], straight alpha.
        rng: Source of randomness.
        config: Settings.

    Returns:
        uint8 [V, H, W, 4]; alpha as it was.
    """
    config = config or AugmentConfig()
    return np.stack([np.concatenate([_augment(view[..., :3], rng, config), view[..., 3:]], -1) for view in views])


def _augment(rgb: UInt8Array, rng: np.random.Generator, config: AugmentConfig) -> UInt8Array:
    """One view's colours [H, W, 3]."""
    image = rgb.astype(np.float32) / 255
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, config.blur_px)))
    if rng.random() < config.balance:
        image = image * rng.normal(1, config.balance_sd, 3).astype(np.float32)
    if rng.random() < config.blotches:
        sd = float(rng.uniform(0.2, 1)) * config.blotches_sd
        image = image + _colour_blotches(image.shape[:2], sd, config.blotches_px, rng)
    if rng.random() < config.noise:
        image = image + rng.normal(0, rng.uniform(0.1, 1) * config.noise_sd, image.shape).astype(np.float32)
    spoiled = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < config.jpeg:
        quality = int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
        _, stored = cv2.imencode(".jpg", spoiled[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        spoiled = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(spoiled)


def _colour_blotches(shape: tuple[int, int], sd: float, patch_px: int, rng: np.random.Generator) -> FloatArray:
    """Colour offsets [H, W, 3], one a patch, half of the time with soft borders."""
    height, width = shape
    patches = rng.normal(0, sd, (-(-height // patch_px), -(-width // patch_px), 3)).astype(np.float32)
    if rng.random() < 0.5:
        return np.asarray(cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    return patches.repeat(patch_px, 0).repeat(patch_px, 1)[:height, :width]
