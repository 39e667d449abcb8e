"""Losses of the volumetric stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import RIG_DISTANCE, RIG_FOVY_DEG
from ..reconstructor import Reconstructor
from ..reconstructor.encoded import Encoded
from ..rendering.volumetric import Rendered, composite, ray_samples
from .batches import Batch


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms beside the colour's mean squared error, and the sampling of rays.

    Attributes:
        opacity: Weight of the mean squared error of opacity.
        termination: Weight of the negative log-likelihood, in nats, that a ray ends where it truly does.
        occupancy: Weight of the negative log-likelihood, in nats, that a sample is free where a target view sees through it.
        surface: Weight of the mean squared error of albedo at samples of the true surface.
        gradient: Weight of the mean absolute error of differences between neighbours; needs rays drawn in patches.
        ssim: Weight of 1 - SSIM of the patches; needs patches too.
        sdf: Weight of the mean absolute error of the signed distance at points near the true surface, in units of `reach`.
        normal: Weight of the error of the distance's slope: 1 along the true normal, 0 along the surface.
        reach: Largest displacement of points, world units.
        samples: Samples a ray.
        behind: Samples this far behind the true surface are dropped on most rays: nothing there should be seen.
        keep_behind: Share of the rays that keep them all the same.
    """

    opacity: float = 0.3
    termination: float = 0.005
    occupancy: float = 0.03
    surface: float = 0.3
    gradient: float = 0.1
    ssim: float = 0.02
    sdf: float = 0.02
    normal: float = 0.01
    reach: float = 0.06
    samples: int = 48
    behind: float = 0.15
    keep_behind: float = 0.25


@dataclass(frozen=True)
class Decoded:
    """A batch's rays, rendered, and the samples they were rendered from: inside bool [R, S]; albedo, points [M, 3] and
    batch_index [M] of those inside."""

    rendered: Rendered
    inside: Tensor
    albedo: Tensor
    points: Tensor
    batch_index: Tensor


def render_batch(model: Reconstructor, encoded: Encoded, batch: Batch, config: LossConfig, generator: torch.Generator) -> Decoded:
    """Render the batch's rays, decoding only samples inside the visual hull."""
    points, distances = ray_samples(batch.origins, batch.directions, config.samples, generator)
    inside = points.square().sum(-1) < 1
    keep = torch.rand(len(inside), 1, generator=generator, device=inside.device) < config.keep_behind
    hit = (batch.depth > 0)[:, None]
    inside &= keep | ~hit | (distances < batch.depth[:, None] + config.behind)
    index = batch.batch_index[:, None].expand_as(inside)
    inside[inside.clone()] = model.hull(encoded, index[inside], points[inside]) > -model.margin
    density, albedo = model.density_and_albedo(encoded, index[inside], points[inside])
    return Decoded(composite(density, albedo, inside, distances), inside, albedo, points[inside], index[inside])


def seen_through(batch: Batch, points: Tensor, batch_index: Tensor, tolerance: float = 0.008) -> Tensor:
    """Whether any target view sees past points, bool [M]: what is left is the solid that the views' depths carve out.

    Args:
        batch: With depth maps and cameras of T views an object.
        points: float [M, 3], in the batch's world.
        batch_index: int64 [M].
        tolerance: A point this far before a surface, world units, still counts as on it.

    Curless and Levoy 1996, A volumetric method for building complex models from range images: unseen space is solid.
    """
    scale = 1 / math.tan(math.radians(RIG_FOVY_DEG) / 2)
    px = batch.depth_maps.shape[-1]
    own = torch.einsum("mij,mj->mi", batch.frame[batch_index], points)
    empty = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for view in range(batch.depth_maps.shape[1]):
        w2c = batch.w2c[batch_index, view]
        camera = torch.einsum("mij,mj->mi", w2c[:, :3, :3], own) + w2c[:, :3, 3]
        xy = torch.stack([camera[:, 0], -camera[:, 1]], 1) * (scale / -camera[:, 2:])
        column, row = ((xy + 1) * (px / 2)).long().clamp(0, px - 1).unbind(1)
        depth = batch.depth_maps[batch_index, view, row, column].float()
        empty |= camera.norm(dim=1) < depth + RIG_DISTANCE - tolerance  # infinite where nothing is hit
    return empty


def occupancy_loss(decoded: Decoded, empty: Tensor) -> Tensor:
    """Mean negative log-likelihood, nats, that samples [M] let light pass where they are empty, and stop it where not."""
    optical_depth = decoded.rendered.optical_depth[decoded.inside]
    stop = -torch.log(-torch.expm1(-optical_depth.clamp(min=1e-4)))
    return torch.where(empty, optical_depth, stop).sum() / max(1, len(empty))


def termination_loss(rendered: Rendered, inside: Tensor, depth: Tensor, certain: Tensor) -> Tensor:
    """Mean negative log-likelihood that rays end at their true depth (or not at all), nats.

    Every sample in front of the surface must let the ray pass, exp(-optical depth), and the one at the surface must stop it.
    Unlike the composited colour this reaches samples behind others, so that concavities are carved from the first step.

    Args:
        rendered: The rays.
        inside: bool [R, S], the samples that were decoded.
        depth: float [R], 0 where a ray meets nothing.
        certain: bool [R], rays whose pixel is wholly covered or wholly empty.
    """
    half_step = (rendered.distances[0, 1] - rendered.distances[0, 0]) / 2
    offset = rendered.distances - torch.where(depth > 0, depth, torch.inf)[:, None]
    before = rendered.optical_depth * (offset < -half_step)
    stops = inside & (offset.abs() <= half_step)
    stop = -torch.log(-torch.expm1(-rendered.optical_depth.clamp(min=1e-4))) * stops
    return ((before + stop).sum(1) * certain).sum() / certain.sum().clamp(min=1)


def patch_losses(image: Tensor, truth: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Losses of patches: (mean absolute error of the differences between neighbours, 1 - SSIM).

    Args:
        image, truth: float [R, 3]; R rays that are whole squares of side `patch`, row by row.
        patch: At least 2; SSIM takes each square as one window.

    Wang et al. 2004, Image Quality Assessment: From Error Visibility to Structural Similarity.
    """
    a, b = (x.unflatten(0, (-1, patch, patch)) for x in (image, truth))  # [P, patch, patch, 3]
    difference = a - b
    gradient = (difference.diff(dim=1).abs().mean() + difference.diff(dim=2).abs().mean()) / 2
    mean_a, mean_b = a.mean((1, 2)), b.mean((1, 2))
    spread_a, spread_b = a.var((1, 2), correction=0), b.var((1, 2), correction=0)
    shared = ((a - mean_a[:, None, None]) * (b - mean_b[:, None, None])).mean((1, 2))
    bright, contrast = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + bright) / (mean_a.square() + mean_b.square() + bright)
    similar = similar * (2 * shared + contrast) / (spread_a + spread_b + contrast)
    return gradient, 1 - similar.mean()


def surface_loss(
    model: Reconstructor, encoded: Encoded, batch: Batch, config: LossConfig, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Loss of the signed distance at and around points of the true surface, and the terms' values for the log.

    A point displaced along the true normal by less than half the gap to the next surface has that displacement as its distance.
    The slope is taken by central differences, so that no second derivative is needed. It is bounded, as a difference across a
    sharp edge of the true surface is no error of the network.

    Gropp et al. 2020, Implicit Geometric Regularization, https://arxiv.org/abs/2002.10099, with known normals.
    """
    count = batch.surface.shape[1]
    surface = batch.surface.flatten(0, 1)  # [N, 8]
    index = torch.arange(len(batch.surface), device=surface.device).repeat_interleave(count)
    place, normal = surface[:, :3], surface[:, 3:6]
    device = surface.device
    reach = (surface[:, 6:8] / 2).clamp(max=config.reach)  # outward, inward
    share = torch.rand(len(surface), generator=generator, device=device) * 2 - 1
    share = share * share.abs()  # denser near the surface
    shift = torch.where(share > 0, share * reach[:, 0], share * reach[:, 1])
    some = torch.arange(0, len(surface), 2, device=device)  # slopes at every other point: four evaluations each
    across = torch.randn(len(some), 3, generator=generator, device=device)
    tangent = torch.linalg.cross(normal[some], across)
    tangent = tangent / tangent.norm(dim=1, keepdim=True).clamp(min=1e-6)
    step = (0.012 * torch.ones(len(some), device=device)).minimum(reach[some].amin(1).clamp(min=2e-3))[:, None]
    probes = [place + shift[:, None] * normal]
    probes += [place[some] + side * step * way for way in (normal[some], tangent) for side in (1, -1)]
    points = torch.cat(probes)
    indices = torch.cat([index, *([index[some]] * 4)])
    samples = model.sample(encoded, indices, points)
    hidden = model.decoder.hidden(samples.planes, samples.views, points)
    distance = model.decoder.signed_distance(model.decoder.log_density(hidden)[1])
    at, ahead, behind, one_way, other_way = distance.split([len(surface), *([len(some)] * 4)])
    error = (at + shift).abs().mean() / config.reach  # positive inside: outward is negative
    along = (ahead - behind) / (2 * step[:, 0])
    sideways = (one_way - other_way) / (2 * step[:, 0])
    slope = ((along + 1).abs().clamp(max=2) + sideways.abs().clamp(max=1)).mean()
    return config.sdf * error + config.normal * slope, {"sdf": error.item(), "normal": slope.item()}


def volumetric_loss(decoded: Decoded, batch: Batch, config: LossConfig, patch: int = 1) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the terms, and each term's value for the log; `patch` as in `BatchConfig`.

    Raises:
        ValueError: A loss of patches is asked for, and the rays are single pixels.
    """
    rendered = decoded.rendered
    colour = (rendered.colour - batch.colour).square().mean()
    opacity = (rendered.opacity - batch.alpha).square().mean()
    covered = (batch.depth > 0) & (batch.alpha > 0.99)
    termination = termination_loss(rendered, decoded.inside, batch.depth, covered | (batch.alpha < 0.01))
    near = (rendered.distances - batch.depth[:, None]).abs() < 0.03
    at_surface = (near & covered[:, None])[decoded.inside]
    rows = decoded.inside.nonzero()[:, 0][at_surface]
    surface = (decoded.albedo[at_surface] - batch.colour[rows]).square().sum() / max(1, 3 * len(rows))
    occupancy = occupancy_loss(decoded, seen_through(batch, decoded.points, decoded.batch_index))
    geometry = config.opacity * opacity + config.termination * termination + config.occupancy * occupancy
    total = colour + geometry + config.surface * surface
    terms = {"colour": colour, "opacity": opacity, "termination": termination, "occupancy": occupancy, "surface": surface}
    if config.gradient or config.ssim:
        if patch < 2:
            raise ValueError(f"patch: expected at least 2 for the gradient and SSIM losses, got {patch}")
        terms["gradient"], terms["ssim"] = patch_losses(rendered.colour, batch.colour, patch)
        total = total + config.gradient * terms["gradient"] + config.ssim * terms["ssim"]
    return total, {name: value.item() for name, value in terms.items()}
