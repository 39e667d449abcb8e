"""The cameras of a batch of four-view rigs as the reconstructor computes with them: perspective and orthographic alike.

All four cameras look at the origin. A point has x, y (down) and z (away) in a camera's axes. With h the half extent of the image
at the origin and k the inverse of the distance, it is seen at (x, y) / (h * (1 + k * z)). An orthographic lens has k = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import RIG_AZIMUTH_DEG, Rig

CONDITION_CHANNELS = 8
"""Numbers that tell the network of an object's rig: two of elevation, two of the lens, and which views are known."""


@dataclass(frozen=True)
class RigCameras:
    """The rigs of B objects.

    Attributes:
        matrix: float [B, 4, 3, 3]; times a point: x / h, y / h (down), k * z.
        half_extent: float [B], h, world units.
        elevation: float [B], radians.
        inverse_distance: float [B], k.
    """

    matrix: Tensor
    half_extent: Tensor
    elevation: Tensor
    inverse_distance: Tensor

    @classmethod
    def of(cls, rigs: Sequence[Rig], device: torch.device | str = "cpu") -> RigCameras:
        """The cameras of some rigs."""
        values = [[r.elevation_deg, r.inverse_distance, r.half_extent] for r in rigs]
        elevation_deg, inverse_distance, half_extent = torch.tensor(values, dtype=torch.float32, device=device).unbind(1)
        elevation = torch.deg2rad(elevation_deg)
        azimuth = torch.deg2rad(torch.tensor(RIG_AZIMUTH_DEG, device=device))[None]  # [1, 4]
        sin_a, cos_a = (t.expand(len(rigs), 4) for t in (azimuth.sin(), azimuth.cos()))
        sin_e, cos_e = (t[:, None].expand(-1, 4) for t in (elevation.sin(), elevation.cos()))
        right = torch.stack([cos_a, sin_a, torch.zeros_like(cos_a)], -1)
        back = torch.stack([cos_e * sin_a, -cos_e * cos_a, sin_e], -1)  # from the origin to the camera
        up = torch.linalg.cross(back, right)
        h = half_extent[:, None, None]
        matrix = torch.stack([right / h, -up / h, -back * inverse_distance[:, None, None]], 2)
        return cls(matrix, half_extent, elevation, inverse_distance)

    def __getitem__(self, rows: slice) -> RigCameras:
        return RigCameras(self.matrix[rows], self.half_extent[rows], self.elevation[rows], self.inverse_distance[rows])

    def to(self, device: torch.device) -> RigCameras:
        """The same on another device."""
        return RigCameras(*(t.to(device) for t in (self.matrix, self.half_extent, self.elevation, self.inverse_distance)))

    def project(self, batch_index: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project each point into the four views of its object.

        Args:
            batch_index: int64 [N].
            points: float [N, 3], world.

        Returns:
            xy: float [4, N, 2], -1..1 over the image, y down.
            height: float [4, N], the height that the image shows at the point's depth, world units.
        """
        seen = torch.einsum("nvij,nj->vni", self.matrix[batch_index], points)  # [4, N, 3]
        perspective = (1 + seen[..., 2]).clamp(min=1e-6)
        return seen[..., :2] / perspective[..., None], 2 * self.half_extent[batch_index] * perspective

    def condition(self, known: Tensor) -> Tensor:
        """The network's condition, float [B, CONDITION_CHANNELS]; `known` bool [B, 4]."""
        sin_e, cos_e = self.elevation.sin(), self.elevation.cos()
        lens = [self.inverse_distance * 4 - 1, (self.half_extent - 1) * 8]  # both about 0 for the canonical rig
        angles = [(sin_e - math.sin(math.radians(20))) * 3, (cos_e - math.cos(math.radians(20))) * 3]
        return torch.cat([torch.stack([*angles, *lens], 1), 1 - known.to(sin_e.dtype)], 1)
