"""Volumetric rendering with the plain exponential activation; only samples inside the visual hull are decoded.

Max 1995, Optical models for direct volume rendering; Mildenhall et al. 2020, NeRF, https://arxiv.org/abs/2003.08934
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..cameras import RIG_DISTANCE, pixel_rays
from ..reconstructor.field import Field

NEAR, FAR = RIG_DISTANCE - 1.0, RIG_DISTANCE + 1.0

OPAQUE = 7.0
"""Optical depth at which a ray ends: less than 0.1 % of what lies behind would be seen."""


@dataclass(frozen=True)
class Rendered:
    """Rays rendered: colour [R, 3] on white, opacity [R]; and weights, optical depth and distances [R, S] of the samples."""

    colour: Tensor
    opacity: Tensor
    weights: Tensor
    optical_depth: Tensor
    distances: Tensor


def ray_samples(
    origins: Tensor, directions: Tensor, samples: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Evenly spaced sample points where rays may cross the unit sphere.

    Args:
        origins, directions: float [R, 3]; unit directions; origins some `RIG_DISTANCE` from the centre.
        samples: Samples a ray, S.
        generator: Jitters each ray's samples together when given (training).

    Returns:
        points: float [R, S, 3].
        distances: float [R, S].
    """
    step = (FAR - NEAR) / samples
    offset = torch.full((len(origins), 1), 0.5, device=origins.device)
    if generator is not None:
        offset = torch.rand(len(origins), 1, generator=generator, device=origins.device)
    distances = NEAR + step * (torch.arange(samples, device=origins.device) + offset)
    return origins[:, None] + directions[:, None] * distances[..., None], distances


def composite(density: Tensor, colour: Tensor, inside: Tensor, distances: Tensor) -> Rendered:
    """Front-to-back compositing on white.

    Args:
        density: float [M], of the samples that were decoded, in row-major order of `inside`.
        colour: float [M, 3], likewise.
        inside: bool [R, S], which samples those are; the others are empty.
        distances: float [R, S].
    """
    step = (FAR - NEAR) / inside.shape[1]
    optical_depth = torch.zeros_like(distances).masked_scatter(inside, density * step)
    transmittance = torch.exp(-(optical_depth.cumsum(1) - optical_depth))
    weights = transmittance * (1 - torch.exp(-optical_depth))  # [R, S]
    opacity = weights.sum(1)
    rows = inside.nonzero()[:, 0]
    mixed = torch.zeros(len(inside), 3, device=colour.device).index_add(0, rows, weights[inside][:, None] * colour)
    return Rendered(mixed + (1 - opacity)[:, None], opacity, weights, optical_depth, distances)


@torch.no_grad()
def render_field(
    field: Field,
    c2w: npt.ArrayLike,
    fovy_deg: float,
    px: int,
    *,
    samples: int = 80,
    rays_per_chunk: int = 8192,
    slabs: int = 8,
    on_progress: Callable[[float], None] | None = None,
) -> npt.NDArray[np.float32]:
    """One view of a field, straight from the planes: no mesh needed.

    Args:
        field: One object's field.
        c2w: [4, 4], at about the rig's distance.
        fovy_deg: Vertical field of view, degrees.
        px: Side of the square image.
        samples: Samples a ray.
        rays_per_chunk: Bounds the memory.
        slabs: The samples are decoded in so many parts, front to back; rays that are opaque by then (`OPAQUE`) go no further.
        on_progress: Called with the share done, 0..1.

    Returns:
        float32 [px, px, 4]: straight sRGB and alpha, 0..1.
    """
    origins, directions = (torch.from_numpy(a.reshape(-1, 3)).to(field.device) for a in pixel_rays(c2w, fovy_deg, px, px))
    image = torch.zeros(px * px, 4)
    nearest = origins + directions * -(origins * directions).sum(1, keepdim=True)
    candidates = (nearest.square().sum(1) < 1).nonzero()[:, 0]
    for done, rays in enumerate(candidates.split(rays_per_chunk)):
        image[rays.cpu()] = _march(field, origins[rays], directions[rays], samples, slabs).cpu()
        if on_progress is not None:
            on_progress(min(1.0, (done + 1) * rays_per_chunk / max(1, len(candidates))))
    return image.reshape(px, px, 4).numpy()


def _march(field: Field, origins: Tensor, directions: Tensor, samples: int, slabs: int) -> Tensor:
    """Straight sRGB and alpha [R, 4] of rays [R, 3], front to back, slab by slab."""
    points, _ = ray_samples(origins, directions, samples)
    step = (FAR - NEAR) / samples
    depth = torch.zeros(len(points), device=points.device)  # optical depth so far
    colour = torch.zeros(len(points), 3, device=points.device)  # premultiplied
    for slab in torch.arange(samples, device=points.device).chunk(slabs):
        alive = (depth < OPAQUE).nonzero()[:, 0]
        part = points[alive][:, slab]
        inside = part.square().sum(-1) < 1
        inside[inside.clone()] = field.inside_hull(part[inside])
        hit = inside.any(1)
        alive, part, inside = alive[hit], part[hit], inside[hit]
        if len(alive) == 0:
            continue
        density, albedo = field.density(part[inside])
        local = torch.zeros_like(inside, dtype=density.dtype).masked_scatter(inside, density * step)
        before = depth[alive, None] + local.cumsum(1) - local
        weights = torch.exp(-before) * (1 - torch.exp(-local))
        rows = alive[inside.nonzero()[:, 0]]
        colour.index_add_(0, rows, weights[inside][:, None] * albedo)
        depth[alive] += local.sum(1)
    alpha = 1 - torch.exp(-depth)
    return torch.cat([(colour / alpha.clamp(min=1e-4)[:, None]).clamp(0, 1), alpha[:, None]], 1)
