"""Spoil input views as photos and painted views are spoiled, so that the reconstructor learns to see past it.

Only what a network can see past: noise, compression, patches of wrong colour, blur, and each view's own white balance. What
views share (one cast for all four) belongs to the object as far as anyone can tell, and masks are worn in `batches.wear_mask`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SpoilConfig:
    """How much; each kind befalls a view independently, with its own probability.

    Attributes:
        noise, noise_sd: Share of views with noise in each pixel, and its largest standard deviation (of 0..1).
        mottle, mottle_sd, mottle_px: The same for patches of wrong colour, as a latent decoder leaves them, and their side.
        jpeg, jpeg_quality: Share of views stored as JPEG, and lowest and highest quality.
        blur, blur_px: Share of views out of focus, and the largest standard deviation, pixels.
        balance, balance_sd: Share of views whose channels' gains are off, and by how much (standard deviation).
    """

    noise: float = 0.4
    noise_sd: float = 0.06
    mottle: float = 0.5
    mottle_sd: float = 0.07
    mottle_px: int = 8
    jpeg: float = 0.4
    jpeg_quality: tuple[int, int] = (12, 50)
    blur: float = 0.3
    blur_px: float = 1.2
    balance: float = 0.4
    balance_sd: float = 0.05


def spoil_views(views: UInt8Array, rng: np.random.Generator, config: SpoilConfig | None = None) -> UInt8Array:
    """Spoiled copies of an object's views.

    Args:
        views: uint8 [V, H, W, 4], straight alpha.
        rng: Of everything random.
        config: Settings.

    Returns:
        uint8 [V, H, W, 4]; alpha as it was.
    """
    config = config or SpoilConfig()
    return np.stack([np.concatenate([_spoil(view[..., :3], rng, config), view[..., 3:]], -1) for view in views])


def _spoil(rgb: UInt8Array, rng: np.random.Generator, config: SpoilConfig) -> UInt8Array:
    """One view's colours [H, W, 3]."""
    image = rgb.astype(np.float32) / 255
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, config.blur_px)))
    if rng.random() < config.balance:
        image = image * rng.normal(1, config.balance_sd, 3).astype(np.float32)
    if rng.random() < config.mottle:
        image = image + _mottle(image.shape[:2], float(rng.uniform(0.2, 1)) * config.mottle_sd, config.mottle_px, rng)
    if rng.random() < config.noise:
        image = image + rng.normal(0, rng.uniform(0.1, 1) * config.noise_sd, image.shape).astype(np.float32)
    spoiled = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < config.jpeg:
        quality = int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
        _, stored = cv2.imencode(".jpg", spoiled[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        spoiled = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(spoiled)


def _mottle(shape: tuple[int, int], sd: float, patch_px: int, rng: np.random.Generator) -> FloatArray:
    """Colour offsets [H, W, 3], one a patch, half of the time with soft borders."""
    height, width = shape
    patches = rng.normal(0, sd, (-(-height // patch_px), -(-width // patch_px), 3)).astype(np.float32)
    if rng.random() < 0.5:
        return np.asarray(cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    return patches.repeat(patch_px, 0).repeat(patch_px, 1)[:height, :width]
