"""What the volumetric stage minimises."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..reconstructor import Reconstructor
from ..reconstructor.encoded import Encoded
from ..rendering.volumetric import Rendered, composite, ray_samples
from .batches import Batch


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms beside the colour's mean squared error, and the sampling of rays.

    Attributes:
        opacity: Of the mean squared error of opacity.
        depth: Of the mean distance between a ray's weight and its true depth, world units.
        samples: Samples a ray.
        behind: Samples this far behind the true surface are dropped on most rays: nothing there should be seen.
        keep_behind: Share of the rays that keep them all the same.
    """

    opacity: float = 0.3
    depth: float = 0.02
    samples: int = 48
    behind: float = 0.2
    keep_behind: float = 0.3


def render_batch(
    model: Reconstructor, encoded: Encoded, batch: Batch, config: LossConfig, generator: torch.Generator
) -> Rendered:
    """Render the batch's rays, decoding only samples inside the visual hull."""
    points, distances = ray_samples(batch.origins, batch.directions, config.samples, generator)
    inside = points.square().sum(-1) < 1
    keep = torch.rand(len(inside), 1, generator=generator, device=inside.device) < config.keep_behind
    hit = (batch.depth > 0)[:, None]
    inside &= keep | ~hit | (distances < batch.depth[:, None] + config.behind)
    index = batch.batch_index[:, None].expand_as(inside)
    inside[inside.clone()] = model.hull(encoded, index[inside], points[inside]) > -model.margin
    density, albedo = model.density_and_albedo(encoded, index[inside], points[inside])
    return composite(density, albedo, inside, distances)


def volumetric_loss(rendered: Rendered, batch: Batch, config: LossConfig) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the terms, and each term's value for the log."""
    colour = (rendered.colour - batch.colour).square().mean()
    opacity = (rendered.opacity - batch.alpha).square().mean()
    hit = (batch.depth > 0) & (batch.alpha > 0.99)
    error = (rendered.weights[hit] * (rendered.distances[hit] - batch.depth[hit, None]).abs()).sum(1)
    depth = error.mean() if len(error) else colour.new_zeros(())
    total = colour + config.opacity * opacity + config.depth * depth
    return total, {"colour": colour.item(), "opacity": opacity.item(), "depth": depth.item()}
