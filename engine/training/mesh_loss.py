"""Stage two: tune the SDF head through a differentiable mesh render.

The surface is extracted on the A15 lattice as crossed edges; vertex positions are functions of the SDF at both ends, as in
Deep Marching Tetrahedra (Shen et al. 2021, https://arxiv.org/abs/2111.04276). The device's rasteriser (`rendering.rasterizer`)
gives exact visibility; colour and depth are interpolated at the hits. Where only one of mesh and truth
is present, a loss pushes the SDF itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import RIG_FOVY_DEG, pixel_rays
from ..geometry.extract import extract_surface
from ..reconstructor import Field, Reconstructor
from ..reconstructor.distance import hole_offset, signed_distance
from ..reconstructor.encoded import Encoded
from ..rendering.rasterizer import rasterizer_for
from .batches import TargetView


@dataclass(frozen=True)
class MeshLossConfig:
    """Sampling and weights.

    Attributes:
        resolution: Lattice steps of the extraction.
        pixels: Pixels a view.
        depth, silhouette: Weights beside the colour's mean squared error.
        depth_limit: Depth errors count no more than this, world units: another layer was hit.
        push: Margin, world units, to which the SDF is pushed across 0 where mesh and truth disagree.
    """

    resolution: int = 64
    pixels: int = 700
    depth: float = 0.5
    silhouette: float = 3.0
    depth_limit: float = 0.15
    push: float = 0.02


def single(encoded: Encoded, index: int) -> Encoded:
    """One object of an encoded batch."""
    one, views = slice(index, index + 1), slice(4 * index, 4 * index + 4)
    return Encoded(encoded.planes[one], encoded.raw[views], encoded.shallow[views], encoded.cameras[one])


def detached(encoded: Encoded) -> Encoded:
    """The same values without a gradient."""
    return Encoded(encoded.planes.detach(), encoded.raw, encoded.shallow.detach(), encoded.cameras)


def signed_distances(model: Reconstructor, encoded: Encoded, offsets: Tensor | None, points: Tensor) -> tuple[Tensor, Tensor]:
    """The network's distance [N], hole offsets included, and that of `Field.sdf` [N], of one object, with gradients.

    Args:
        model: The reconstructor.
        encoded: A batch of one.
        offsets: Its `Field.hole_fill_offsets`.
        points: float [N, 3].
    """
    index = torch.zeros(len(points), dtype=torch.long, device=points.device)
    samples = model.sample(encoded, index, points)
    hidden = model.decoder.hidden(samples.planes, samples.views, points)
    network = model.decoder.signed_distance(model.decoder.log_density(hidden)[1]) + hole_offset(offsets, points)
    inside_cube = points.abs().amax(1) <= 1
    return network, signed_distance(samples.hull, model.margin, inside_cube, lambda chosen: network[chosen])


def surface_verts(ends: Tensor, sdf: Tensor, resolution: int) -> Tensor:
    """Vertex positions [V, 3] on lattice edges `ends` [V, 2, 3] from the SDF [V, 2] at both ends, differentiable."""
    inside, outside = sdf[:, 0].clamp(min=1e-5), sdf[:, 1].clamp(max=-1e-5)
    share = (inside / (inside - outside))[:, None]
    return -1 + 2 * torch.lerp(ends[:, 0].float(), ends[:, 1].float(), share) / resolution


def mesh_loss(
    model: Reconstructor, encoded: Encoded, views: Sequence[TargetView], config: MeshLossConfig, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one object (a batch of one) against some target views; and the terms' values.

    An object whose field has no surface yet is pushed towards the truth's visible surface only.
    """
    device = encoded.planes.device
    field = Field(model, detached(encoded))
    surface, offsets = extract_surface(field, config.resolution), field.hole_fill_offsets()
    mesh = None
    if len(surface.faces):
        ends = torch.from_numpy(surface.ends).to(device)
        points = -1 + 2 * ends.reshape(-1, 3).float() / config.resolution
        _, sdf = signed_distances(model, encoded, offsets, points)
        verts = surface_verts(ends, sdf.reshape(-1, 2), config.resolution)
        still = verts.detach()
        mesh = rasterizer_for(device).mesh(still.cpu().numpy(), surface.faces)
    terms = {name: torch.zeros((), device=device) for name in ("colour", "depth", "silhouette")}
    for view in views:
        px = view.alpha.shape[0]
        origins, directions = (a.reshape(-1, 3) for a in pixel_rays(view.c2w, RIG_FOVY_DEG, px, px))
        hits = mesh.rasterize(view.c2w, RIG_FOVY_DEG, px, px).flat() if mesh is not None else None
        ours = hits.face_index >= 0 if hits is not None else np.zeros(px * px, bool)
        alpha, depth = view.alpha.reshape(-1), view.depth.reshape(-1)
        candidates = np.flatnonzero(ours | (alpha > 0))
        if len(candidates) == 0:
            continue
        chosen = rng.choice(candidates, min(config.pixels, len(candidates)), replace=False)
        both = chosen[ours[chosen] & (depth[chosen] > 0) & (alpha[chosen] > 0.5)]
        extra = chosen[ours[chosen] & (alpha[chosen] == 0)]
        missing = chosen[~ours[chosen] & (depth[chosen] > 0) & (alpha[chosen] > 0.99)]
        pushes = []
        if hits is not None and len(both):
            faces = torch.from_numpy(surface.faces[hits.face_index[both]]).to(device)  # [P, 3]
            weights = torch.from_numpy(hits.barycentrics[both]).to(device)
            ray = torch.from_numpy(directions[both]).to(device)
            corners = still[faces]
            normal = F.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=1)
            moved = (weights[..., None] * (verts[faces] - corners)).sum(1)  # zero in value, not in gradient
            facing = (ray * normal).sum(1)
            facing = torch.where(facing < 0, facing.clamp(max=-0.2), facing.clamp(min=0.2))
            distance = torch.from_numpy(hits.distance[both]).to(device) + (moved * normal).sum(1) / facing
            error = (distance - torch.from_numpy(depth[both]).to(device)).abs()
            terms["depth"] = terms["depth"] + (error * (error < config.depth_limit)).mean()
            at = torch.from_numpy(origins[both] + directions[both] * hits.distance[both, None]).to(device)
            index = torch.zeros(len(at), dtype=torch.long, device=device)
            samples = model.sample(encoded, index, at)
            albedo = model.decoder.albedo(model.decoder.hidden(samples.planes, samples.views, at), samples.views)
            opaque = torch.from_numpy(alpha[both] > 0.99).to(device)[:, None]
            truth = torch.from_numpy(view.colour.reshape(-1, 3)[both]).to(device)
            terms["colour"] = terms["colour"] + ((albedo - truth).square() * opaque).mean()
        if hits is not None and len(extra):
            at = torch.from_numpy(origins[extra] + directions[extra] * hits.distance[extra, None]).to(device)
            pushes.append(F.relu(signed_distances(model, encoded, offsets, at)[0] + config.push))
        if len(missing):
            at = torch.from_numpy(origins[missing] + directions[missing] * (depth[missing, None] + 0.01)).to(device)
            pushes.append(F.relu(config.push - signed_distances(model, encoded, offsets, at)[0]))
        if pushes:
            terms["silhouette"] = terms["silhouette"] + torch.cat(pushes).sum() / len(chosen)
    count = max(1, len(views))
    total = (terms["colour"] + config.depth * terms["depth"] + config.silhouette * terms["silhouette"]) / count
    return total, {f"mesh_{name}": float(value.detach()) / count for name, value in terms.items()}
