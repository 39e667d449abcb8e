"""Fast signed distances at points of a regular lattice (design, 4.4).

The decoder's first layer is linear and so commutes with sampling: planes are multiplied by it once. A lattice meets each plane at
only (G + 1)^2 places, and each axis at G + 1, so planes and position features become tables: a point costs three rows.
The tables are sampled texel by texel, which is faster on a CPU than a product with a matrix of weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels.reference import PLANE_AXES, sample_images
from ..devices import side_by_side
from .decoder import position_features
from .distance import signed_distance
from .encoded import Encoded
from .view_sampler import ViewSampler

if TYPE_CHECKING:
    from .model import Reconstructor

CHUNK = 8_192
"""Points at a time on a CPU: what a decoder's activations may be to stay in a core's cache."""

CHUNK_ELSEWHERE = 262_144
"""Points at a time on a GPU: enough to fill it."""


class LatticeSampler:
    """One object's signed distance on one lattice; takes no gradient.

    Args:
        model: The reconstructor, in evaluation mode.
        encoded: A batch of one.
        views: Its views.
        resolution: Lattice steps from -1 to 1, G.
        offsets: float [3, L, L, 1], added to the network's distance, see `Field.hole_fill_offsets`; or None.
    """

    @torch.no_grad()
    def __init__(
        self, model: Reconstructor, encoded: Encoded, views: ViewSampler, resolution: int, offsets: Tensor | None
    ) -> None:
        self.model, self.views, self.resolution = model, views, resolution
        device = encoded.planes.device
        self.chunk = CHUNK if device.type == "cpu" else CHUNK_ELSEWHERE
        self.axis = torch.arange(resolution + 1, device=device) * (2.0 / resolution) - 1
        self.plane_table, self.axis_table = self._plane_table(encoded), self._axis_table()
        self.offset_table = None if offsets is None else self._at_every_place(offsets)[:, 0]

    def _plane_table(self, encoded: Encoded) -> Tensor:
        """The first layer's share of the planes at every place of each: float [3 * (G + 1)^2, hidden]."""
        return self._at_every_place(self.model.decoder.plane_in(encoded.planes[0]))

    def _at_every_place(self, planes: Tensor) -> Tensor:
        """Samples of planes [3, H, W, C] where the lattice meets them: [3 * (G + 1)^2, C]."""
        xy = torch.stack(torch.meshgrid(self.axis, self.axis, indexing="xy"), -1).reshape(-1, 2)  # columns vary fastest
        plane = torch.arange(3, device=xy.device).repeat_interleave(len(xy))
        return sample_images(planes, plane, xy.repeat(3, 1))

    def _axis_table(self) -> Tensor:
        """The first layer's share of position and bias at every place of each axis: float [3 * (G + 1), hidden]."""
        decoder = self.model.decoder
        points = torch.eye(3, device=self.axis.device)[:, None] * self.axis[:, None]  # [3, G + 1, 3], on each axis
        alone = decoder.position_in(position_features(points.flatten(0, 1), decoder.octaves))
        origin = decoder.position_in(position_features(points.new_zeros(1, 3), decoder.octaves))
        return alone - (2 * origin - decoder.view_in.bias) / 3  # the sum over axes counts the origin's features three times

    def sdf(self, ijk: Tensor) -> Tensor:
        """Signed distance [N] at lattice points ijk int64 [N, 3], 0..G: that of `Field.sdf`."""
        chunks = ijk.to(self.axis.device).split(self.chunk)
        return torch.cat(list(side_by_side(self._chunk, chunks, self.axis.device)) or [self.axis.new_zeros(0)])

    @torch.no_grad()
    def _chunk(self, ijk: Tensor) -> Tensor:
        grid, height = self.views.project(ijk.to(torch.float32) * (2.0 / self.resolution) - 1)
        hull = self.views.hull(grid, height)
        return signed_distance(hull, self.model.margin, None, lambda index: self._decode(ijk[index], grid[:, :, index]))

    def _decode(self, ijk: Tensor, grid: Tensor) -> Tensor:
        """The network's distance at lattice points, whatever the hull says."""
        distance = self.model.decoder.signed_distance(self.geometry(ijk, grid))
        return distance if self.offset_table is None else distance + self.offset_table[self._rows(ijk)].amax(1)

    def geometry(self, ijk: Tensor, grid: Tensor) -> Tensor:
        """The activations [N, hidden] that density and distance are read from, at points ijk seen at `grid` in the views."""
        decoder, side = self.model.decoder, self.resolution + 1
        first = F.embedding_bag(self._rows(ijk), self.plane_table, mode="sum")
        first += F.embedding_bag(ijk + torch.arange(3, device=ijk.device) * side, self.axis_table, mode="sum")
        views = self.views.features(grid).flatten(0, 1)  # [4 * (5 + C'), N]
        hidden = decoder.trunk_activations(torch.addmm(first, views.T, decoder.view_in.weight.T))
        return F.silu(decoder.geometry(hidden))

    def _rows(self, ijk: Tensor) -> Tensor:
        """Rows of the planes' tables, int64 [N, 3]."""
        side = self.resolution + 1
        return torch.stack([(k * side + ijk[:, b]) * side + ijk[:, a] for k, (a, b) in enumerate(PLANE_AXES)], 1)
