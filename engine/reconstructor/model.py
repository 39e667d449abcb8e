"""The reconstructor: one to four views to planes and pixel-aligned features, and from them to any point of the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ...kernels.reference import sample_images
from ...kernels.triplane import sample_triplanes
from ..cameras import CANONICAL_RIG, Rig
from .decoder import PointDecoder, exponential
from .encoded import Encoded, PointSamples
from .field import Field
from .rig_cameras import CONDITION_CHANNELS, RigCameras
from .unet import PlaneUNet
from .visual_hull import gate_margin, hull_distance, signed_silhouette

RAW_CHANNELS = 5
"""Full-resolution channels of a view: premultiplied colour, alpha, signed silhouette."""

UNKNOWN_SILHOUETTE = 2.0
"""The signed silhouette (times 8) of a view that is not known: its largest value everywhere, so that it bounds no hull."""


class ViewEncoder(nn.Module):
    """Shallow features of one view at half resolution, with some context of a quarter resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(RAW_CHANNELS * 4, channels, 3, padding=1)
        self.coarse = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.context = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.back = nn.Conv2d(2 * channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, raw: Tensor) -> Tensor:
        """[M, 5, S, S] -> [M, C, S / 2, S / 2]."""
        fine = F.silu(self.fine(F.pixel_unshuffle(raw, 2).contiguous(memory_format=torch.channels_last)))
        coarse = F.silu(self.context(F.silu(self.coarse(fine))))
        return self.out(fine + F.interpolate(self.back(coarse), scale_factor=2.0, mode="nearest"))


class Reconstructor(ModelMixin, ConfigMixin):
    """One to four orthogonal views to a field of density, signed distance and albedo.

    With `condition_channels`, the network also takes the views' elevation and lens, and flags of the known views. Without, it
    treats four views from any rig as views from the rig it was trained on. Defaults are the starter size; `FULL` is the
    article's.
    """

    @register_to_config
    def __init__(
        self,
        input_px: int = 128,
        patch_px: int = 4,
        channels: tuple[int, ...] = (64, 96, 160),
        blocks_per_level: int = 2,
        attention_px: int = 16,
        head_dim: int = 32,
        plane_channels: int = 32,
        plane_px: int = 64,
        shallow_channels: int = 20,
        hidden: int = 96,
        octaves: int = 4,
        iso_density: float = 12.0,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.unet = PlaneUNet(
            in_channels=2 * RAW_CHANNELS,
            input_px=input_px,
            patch_px=patch_px,
            channels=tuple(channels),
            blocks_per_level=blocks_per_level,
            attention_px=attention_px,
            head_dim=head_dim,
            plane_channels=plane_channels,
            plane_px=plane_px,
            condition_inputs=CONDITION_CHANNELS if condition_channels else 0,
            condition_channels=condition_channels,
        )
        self.view_encoder = ViewEncoder(shallow_channels)
        self.decoder = PointDecoder(plane_channels, RAW_CHANNELS + shallow_channels, 4, hidden, octaves, iso_density)

    @staticmethod
    def prepare(rgba: np.ndarray, input_px: int) -> np.ndarray:
        """Views as the model reads them.

        Args:
            rgba: uint8, or float 0..1, [4, H, W, 4], straight alpha, square.
            input_px: The model's input size.

        Returns:
            float32 [4, input_px, input_px, 5]: premultiplied colour, alpha, signed silhouette times 8.
        """
        image = torch.from_numpy(_unit(rgba)).permute(0, 3, 1, 2)
        image = torch.cat([image[:, :3] * image[:, 3:], image[:, 3:]], 1)
        if image.shape[-1] != input_px:
            smaller = image.shape[-1] > input_px
            image = F.interpolate(image, (input_px, input_px), mode="area" if smaller else "bilinear")
        alpha = image[:, 3].numpy()
        distance = np.stack([signed_silhouette(a) for a in alpha]) * 8
        return np.concatenate([image.permute(0, 2, 3, 1).numpy(), distance[..., None]], -1).astype(np.float32)

    @staticmethod
    def mark_unknown(raw: Tensor, known: Tensor) -> Tensor:
        """Views [..., 4, S, S, 5] with those that are not known, bool [..., 4], blank, and bounding no hull."""
        blank = torch.zeros(RAW_CHANNELS, dtype=raw.dtype, device=raw.device)
        blank[4] = UNKNOWN_SILHOUETTE
        return torch.where(known[..., None, None, None], raw, blank)

    @torch.no_grad()
    def encode(self, rgba: np.ndarray, rig: Rig = CANONICAL_RIG, known: Sequence[bool] = (True,) * 4) -> Field:
        """One object's field.

        Args:
            rgba: uint8, or float 0..1, [4, S, S, 4], straight alpha, in the order front, right, back, left.
            rig: The cameras that they were seen from.
            known: Flags of the known views; the others' pictures are ignored.

        Raises:
            ValueError: `rgba` has another shape, or no view is known.
        """
        if rgba.ndim != 4 or rgba.shape[0] != 4 or rgba.shape[3] != 4 or rgba.shape[1] != rgba.shape[2]:
            raise ValueError(f"rgba: expected [4, S, S, 4], got {rgba.shape}")
        if len(known) != 4 or not any(known):
            raise ValueError(f"known: expected four flags, at least one of them set, got {tuple(known)}")
        is_known = torch.tensor(list(known))
        raw = torch.from_numpy(self.prepare(rgba, int(self.config["input_px"])))
        raw = self.mark_unknown(raw, is_known)
        encoded = self.encode_batch(raw[None].to(self.device), [rig], is_known[None].to(self.device))
        if rgba.shape[1] > raw.shape[1]:
            finer = np.stack([signed_silhouette(alpha) * 8 for alpha in _unit(rgba[..., 3])])
            finer[~is_known.numpy()] = UNKNOWN_SILHOUETTE
            encoded = replace(encoded, silhouettes=torch.from_numpy(finer).to(self.device))
        return Field(self, encoded)

    def encode_batch(self, raw: Tensor, rigs: Sequence[Rig] | None = None, known: Tensor | None = None) -> Encoded:
        """Planes and view features of a batch.

        Args:
            raw: float [B, 4, S, S, 5], from `prepare`, unknown views as `mark_unknown` leaves them.
            rigs: The B rigs that they were seen from; None for the canonical one.
            known: bool [B, 4]; None where all views are known.
        """
        cameras = RigCameras.of([CANONICAL_RIG] * len(raw) if rigs is None else rigs, raw.device)
        known = torch.ones(raw.shape[:2], dtype=torch.bool, device=raw.device) if known is None else known
        images = raw.permute(0, 1, 4, 2, 3)  # [B, 4, 5, S, S]
        front, right, back, left = images.unbind(1)
        slots = torch.stack([torch.cat([front, back.flip(-1)], 1), torch.cat([right, left.flip(-1)], 1)], 1)  # [B, 2, 10, S, S]
        planes = self.unet(slots.flip(-2), cameras.condition(known))  # rows of planes run upward
        shallow = self.view_encoder(images.flatten(0, 1))
        return Encoded(
            planes.permute(0, 1, 3, 4, 2).float().contiguous(),
            raw.flatten(0, 1).contiguous(),
            shallow.permute(0, 2, 3, 1).float().contiguous(),
            cameras,
        )

    def hull(self, encoded: Encoded, batch_index: Tensor, points: Tensor) -> Tensor:
        """Signed distance to the visual hull [N], world units, positive inside; takes no gradient."""
        with torch.no_grad():
            xy, height = encoded.cameras.project(batch_index, points)
            samples = [sample_images(encoded.raw[..., 4:], batch_index * 4 + view, xy[view])[:, 0] / 8 for view in range(4)]
            return hull_distance(torch.stack(samples), height)

    @property
    def margin(self) -> float:
        """Points this far outside the hull (world units) are still decoded."""
        return 0.75 * gate_margin(int(self.config["input_px"]))

    def sample(self, encoded: Encoded, batch_index: Tensor, points: Tensor) -> PointSamples:
        """Everything that points [N, 3] of the objects `batch_index` [N] read."""
        xy, height = encoded.cameras.project(batch_index, points)  # [4, N, 2], [4, N]
        image_index = (batch_index[None] * 4 + torch.arange(4, device=points.device)[:, None]).flatten()
        flat_xy = xy.flatten(0, 1)
        raw = sample_images(encoded.raw, image_index, flat_xy).unflatten(0, (4, -1))  # [4, N, 5]
        shallow = sample_images(encoded.shallow, image_index, flat_xy).unflatten(0, (4, -1))
        hull = hull_distance(raw[..., 4] / 8, height)
        views = torch.cat([raw, shallow], -1).transpose(0, 1)  # [N, 4, 5 + C']
        return PointSamples(sample_triplanes(encoded.planes, batch_index, points), views, hull)

    def density_and_albedo(self, encoded: Encoded, batch_index: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N], per world unit, with the plain exponential activation, and albedo [N, 3]."""
        samples = self.sample(encoded, batch_index, points)
        hidden = self.decoder.hidden(samples.planes, samples.views, points)
        log_density, _ = self.decoder.log_density(hidden)
        return exponential(log_density), self.decoder.albedo(hidden, samples.views)


def _unit(values: np.ndarray) -> np.ndarray:
    """uint8, or float 0..1, as float32 0..1."""
    return values.astype(np.float32) / 255 if values.dtype == np.uint8 else np.ascontiguousarray(values, np.float32)


FULL: dict[str, object] = {
    "condition_channels": 256,
    "input_px": 512,
    "patch_px": 1,
    "channels": (128, 256, 256, 512, 512, 1024),
    "blocks_per_level": 2,
    "attention_px": 64,
    "head_dim": 64,
    "plane_channels": 80,
    "plane_px": 512,
    "shallow_channels": 32,
    "hidden": 128,
}
"""Keyword arguments of the article's size: about 300 million parameters."""
