"""The field of one object: what the mesh, the texture and the orbit preview ask of the reconstructor.

Points outside the visual hull are never decoded. On the regular lattice the planes are separable and the decoder's first
layer commutes with sampling, so a lattice point costs three table rows instead of twelve texels (design, 4.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels.reference import sample_images, sample_triplanes
from .encoded import Encoded
from .lattice_sampler import LatticeSampler
from .silhouettes import project_to_views

if TYPE_CHECKING:
    from .model import Reconstructor

CHUNK = 65_536
"""Points decoded at a time: some 100 MB of activations."""


class Field:
    """Density, signed distance and albedo of one object; every method is gradient-free.

    Points may lie on any device; results come back on the same one.

    Args:
        model: The reconstructor, in evaluation mode.
        encoded: A batch of one.
    """

    def __init__(self, model: Reconstructor, encoded: Encoded) -> None:
        self.model = model
        self.encoded = encoded
        self._lattice: LatticeSampler | None = None

    @property
    def device(self) -> torch.device:
        return self.encoded.planes.device

    @torch.no_grad()
    def inside_hull(self, points: Tensor) -> Tensor:
        """Whether points [N, 3] are inside the visual hull, or within the model's margin of it, and in the unit cube."""
        return self._gate(points.to(self.device))[0].to(points.device)

    def _gate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.zeros(len(points), dtype=torch.long, device=points.device)
        hull = self.model.hull(self.encoded, index, points)
        return (hull > -self.model.margin) & (points.abs().amax(1) <= 1), hull

    @torch.no_grad()
    def density(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] per world unit and albedo [N, 3] of points [N, 3] that are inside the hull."""
        parts = []
        for chunk in points.to(self.device).split(CHUNK):
            index = torch.zeros(len(chunk), dtype=torch.long, device=chunk.device)
            parts.append(self.model.density_and_albedo(self.encoded, index, chunk))
        if not parts:
            return points.new_zeros(0), points.new_zeros(0, 3)
        return torch.cat([p[0] for p in parts]).to(points.device), torch.cat([p[1] for p in parts]).to(points.device)

    @torch.no_grad()
    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance [N] at points [N, 3], positive inside; never more than the hull's own distance."""
        planes = self.encoded.planes

        def plane_hidden(inside: Tensor) -> Tensor:
            index = torch.zeros(len(inside), dtype=torch.long, device=inside.device)
            return self.model.decoder.plane_in(sample_triplanes(planes, index, inside))

        parts = [self._signed(chunk.to(self.device), plane_hidden).to(points.device) for chunk in points.split(CHUNK)]
        return torch.cat(parts) if parts else points.new_zeros(0)

    @torch.no_grad()
    def lattice_sdf(self, ijk: Tensor, resolution: int = 256) -> Tensor:
        """`sdf(-1 + 2 * ijk / resolution)`, by tables: ijk int64 [N, 3] in 0..resolution, result [N]."""
        if self._lattice is None or self._lattice.resolution != resolution:
            self._lattice = LatticeSampler(self.model, self.encoded, resolution)
        return self._lattice.sdf(ijk).to(ijk.device)

    def _signed(self, points: Tensor, plane_hidden: Callable[[Tensor], Tensor]) -> Tensor:
        gate, hull = self._gate(points)
        inside = points[gate]
        return self._combine(inside, plane_hidden(inside), gate, hull)

    def _combine(self, inside: Tensor, plane_hidden: Tensor, gate: Tensor, hull: Tensor) -> Tensor:
        """The network's distance at gated points, bounded by the hull's; the hull's own elsewhere."""
        result = hull.clamp(max=-0.5 * self.model.margin)
        if len(inside):
            decoder = self.model.decoder
            hidden = decoder.hidden(plane_hidden, self._view_samples(inside), inside, planes_multiplied=True)
            _, geometry = decoder.log_density(hidden)
            result[gate] = torch.minimum(decoder.signed_distance(geometry), hull[gate])
        return result

    def _view_samples(self, points: Tensor) -> Tensor:
        """Pixel-aligned features [N, 4, 5 + C'] of points [N, 3]."""
        xy, _ = project_to_views(points, self.encoded.w2c)
        index = torch.arange(4, device=points.device).repeat_interleave(len(points))
        flat = xy.flatten(0, 1)
        raw = sample_images(self.encoded.raw, index, flat)
        shallow = sample_images(self.encoded.shallow, index, flat)
        return torch.cat([raw, shallow], 1).unflatten(0, (4, -1)).transpose(0, 1)

    @torch.no_grad()
    def albedo(self, points: Tensor, normals: Tensor | None = None) -> Tensor:
        """sRGB [N, 3] at surface points [N, 3]; `normals` [N, 3] are not needed by this model."""
        del normals
        parts = [self.density(chunk)[1] for chunk in points.split(CHUNK)]
        return torch.cat(parts).clamp(0, 1) if parts else points.new_zeros(0, 3)
