"""The field of one object, from which the mesh, the texture and the orbit preview are made.

Points outside the visual hull are never decoded. On the regular lattice the planes are separable and the decoder's first
layer commutes with sampling, so a lattice point costs three table rows instead of twelve texels (design, 4.4).
Where the field is opaque but the mesh would have a hole, the distance is raised a little (`holes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels.triplane import sample_triplanes
from ..devices import side_by_side
from .decoder import exponential
from .distance import hole_offset, signed_distance
from .encoded import Encoded
from .holes import CELLS, hole_fill_offsets
from .lattice_sampler import LatticeSampler
from .view_sampler import ViewSampler

if TYPE_CHECKING:
    from .model import Reconstructor

CHUNK = 65_536
"""Points decoded at a time: some 100 MB of activations."""

COLOUR_CHUNK = 8_192
"""The same where only colours are asked for, as a texture does: what a core's cache holds."""


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
        self.views = ViewSampler(encoded, model.margin)
        self._lattice: LatticeSampler | None = None
        self._fill_offsets: Tensor | None = None
        self._looked_for_holes = False

    @property
    def device(self) -> torch.device:
        return self.encoded.planes.device

    @torch.no_grad()
    def inside_hull(self, points: Tensor) -> Tensor:
        """Whether points [N, 3] are inside the visual hull, or within the model's margin of it, and in the unit cube."""
        return self.views.inside(points.to(self.device)).to(points.device)

    @torch.no_grad()
    def density(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] per world unit and albedo [N, 3] of points [N, 3] that are inside the hull."""
        parts = []
        for chunk in points.to(self.device).split(CHUNK):
            views = self.views.features(self.views.project(chunk)[0]).permute(2, 0, 1)
            hidden = self.model.decoder.hidden(self._planes(chunk), views, chunk)
            log_density, _ = self.model.decoder.log_density(hidden)
            parts.append((exponential(log_density), self.model.decoder.albedo(hidden, views)))
        if not parts:
            return points.new_zeros(0), points.new_zeros(0, 3)
        return torch.cat([p[0] for p in parts]).to(points.device), torch.cat([p[1] for p in parts]).to(points.device)

    @torch.no_grad()
    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance [N] at points [N, 3], positive inside; never more than the hull's own distance."""
        parts = [self._sdf(chunk.to(self.device)).to(points.device) for chunk in points.split(CHUNK)]
        return torch.cat(parts) if parts else points.new_zeros(0)

    @torch.no_grad()
    def lattice_sdf(self, ijk: Tensor, resolution: int = 256) -> Tensor:
        """`sdf(-1 + 2 * ijk / resolution)`, by tables: ijk int64 [N, 3] in 0..resolution, result [N]."""
        if self._lattice is None or self._lattice.resolution != resolution:
            self._lattice = LatticeSampler(self.model, self.encoded, self.views, resolution, self.hole_fill_offsets())
        return self._lattice.sdf(ijk).to(ijk.device)

    @torch.no_grad()
    def albedo(self, points: Tensor) -> Tensor:
        """sRGB [N, 3] at surface points [N, 3]."""
        parts = []
        for chunk in points.to(self.device).split(COLOUR_CHUNK):
            views = self.views.features(self.views.project(chunk)[0]).permute(2, 0, 1)
            hidden = self.model.decoder.hidden(self._planes(chunk), views, chunk)
            parts.append(self.model.decoder.albedo(hidden, views).clamp(0, 1))
        return torch.cat(parts).to(points.device) if parts else points.new_zeros(0, 3)

    @torch.no_grad()
    def hole_fill_offsets(self) -> Tensor | None:
        """Offsets that close holes, float [3, G, G, 1], see `holes.hole_fill_offsets`; None without holes. Computed once."""
        if not self._looked_for_holes:
            axis, decoder = 1 + 2 * torch.arange(CELLS, device=self.device), self.model.decoder
            ijk = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
            lattice, points = LatticeSampler(self.model, self.encoded, self.views, 2 * CELLS, None), ijk / CELLS - 1
            density, distance = points.new_zeros(len(points)), points.new_full((len(points),), -1.0)

            @torch.no_grad()
            def look(part: Tensor) -> None:
                grid, height = self.views.project(points[part])
                geometry = lattice.geometry(ijk[part], grid)
                density[part] = exponential(decoder.density(geometry)[:, 0].float())
                distance[part] = torch.minimum(decoder.signed_distance(geometry), self.views.hull(grid, height))

            for _ in side_by_side(look, self.inside_hull(points).nonzero()[:, 0].split(lattice.chunk), self.device):
                pass
            cube = [values.view(CELLS, CELLS, CELLS).cpu().numpy() for values in (density, distance)]
            offsets = torch.from_numpy(hole_fill_offsets(*cube)).to(self.device)[..., None]
            self._fill_offsets, self._looked_for_holes = offsets if bool(offsets.any()) else None, True
        return self._fill_offsets

    def _planes(self, points: Tensor) -> Tensor:
        """Samples of the planes, summed: [N, C]."""
        return sample_triplanes(self.encoded.planes, torch.zeros(len(points), dtype=torch.long, device=points.device), points)

    def _sdf(self, points: Tensor) -> Tensor:
        """`sdf` of one chunk, on the model's device."""
        grid, height = self.views.project(points)

        def network(index: Tensor) -> Tensor:
            inside, views, decoder = points[index], self.views.features(grid[:, :, index]).permute(2, 0, 1), self.model.decoder
            _, geometry = decoder.log_density(decoder.hidden(self._planes(inside), views, inside))
            return decoder.signed_distance(geometry) + hole_offset(self.hole_fill_offsets(), inside)

        return signed_distance(self.views.hull(grid, height), self.model.margin, points.abs().amax(1) <= 1, network)
