"""Sample one object's four views at points: projections, visual hull and pixel-aligned features; without gradients.

The fast twin of `Reconstructor.hull` and `Reconstructor.sample` for a batch of one; its hull is as fine as the views are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .encoded import Encoded
from .visual_hull import hull_distance

CELLS = 64
"""Cells a side of the coarse hull."""


class ViewSampler:
    """The views of one object, laid out for sampling.

    Args:
        encoded: A batch of one.
        margin: Points this far outside the hull, world units, still count as inside.
    """

    @torch.no_grad()
    def __init__(self, encoded: Encoded, margin: float) -> None:
        self.margin = margin
        self.raw = encoded.raw.permute(0, 3, 1, 2).contiguous()  # [4, 5, S, S]
        self.shallow = encoded.shallow.permute(0, 3, 1, 2).contiguous()
        finer = encoded.silhouettes
        self.silhouettes = self.raw[:, 4:].contiguous() if finer is None else finer[:, None].contiguous()  # [4, 1, H, H]
        self.matrix = encoded.cameras.matrix[0].contiguous()  # [4, 3, 3]
        self.image_height = 2 * float(encoded.cameras.half_extent[0])
        self._near_hull = self._coarse_hull()

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Projections of points [N, 3], float [4, 1, N, 2], -1..1 over the image, y down; and the height that each image
        shows at their depth, world units, float [4, N]."""
        seen = torch.matmul(self.matrix, points.T)  # [4, 3, N]
        perspective = (1 + seen[:, 2]).clamp(min=1e-6)
        return (seen[:, :2] / perspective[:, None]).mT[:, None], self.image_height * perspective

    def hull(self, grid: Tensor, height: Tensor) -> Tensor:
        """Signed distance to the visual hull [N], world units, positive inside, of points that `project` took; beyond a view's
        frame its edge counts."""
        distances = F.grid_sample(self.silhouettes, grid, padding_mode="border", align_corners=False)[:, 0, 0]
        return hull_distance(distances / 8, height)

    def features(self, grid: Tensor) -> Tensor:
        """Pixel-aligned features [4, 5 + C', N] of points that `project` took."""
        return torch.cat([_sample(self.raw, grid), _sample(self.shallow, grid)], 1)

    def inside(self, points: Tensor) -> Tensor:
        """Whether points [N, 3] are inside the hull, or within the margin of it, and in the unit cube: bool [N]."""
        cell = ((points + 1) * (CELLS / 2)).long()
        inside = ((cell >= 0) & (cell < CELLS)).all(1)
        cell.clamp_(0, CELLS - 1)
        inside &= self._near_hull[(cell[:, 0] * CELLS + cell[:, 1]) * CELLS + cell[:, 2]]
        near = inside.nonzero()[:, 0]
        inside[near] = self.hull(*self.project(points[near])) > -self.margin
        return inside

    def _coarse_hull(self) -> Tensor:
        """Whether each cell of the unit cube may hold a point inside the hull, bool [CELLS^3].

        The hull's distance changes at most as fast as the point moves, but for perspective, which the factor allows for.
        """
        axis = (torch.arange(CELLS, device=self.raw.device) + 0.5) * (2 / CELLS) - 1
        centres = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        reach = self.margin + 1.5 * math.sqrt(3) / CELLS
        return torch.cat([self.hull(*self.project(part)) > -reach for part in centres.split(32_768)])


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples [V, C, N] of images [V, C, H, W] at [V, 1, N, 2]; zeros outside."""
    return F.grid_sample(images, grid, align_corners=False)[:, :, 0]
