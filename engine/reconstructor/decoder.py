"""From features of a point to density, signed distance and colour: small separate heads on one trunk."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def position_features(points: Tensor, octaves: int) -> Tensor:
    """Coordinates with sines and cosines of `octaves` doublings: [N, 3] -> [N, 3 + 6 * octaves]."""
    angles = points[:, None, :] * (math.pi * 2.0 ** torch.arange(octaves, device=points.device))[:, None]
    return torch.cat([points, angles.sin().flatten(1), angles.cos().flatten(1)], 1)


class PointDecoder(nn.Module):
    """Decodes points from plane samples, pixel-aligned samples and position.

    The first layer is linear in all three, and split, so that planes may be multiplied by their slice once and sampled
    afterwards (both are linear): `plane_in` works on planes as well as on samples.

    Args:
        plane_channels: Channels of the planes.
        view_channels: Pixel-aligned channels of one view; the first four are premultiplied colour and alpha.
        views: Number of views.
        hidden: Width.
        octaves: Octaves of the position features.
        iso_density: Density, per world unit, at which the surface is taken to lie.
    """

    def __init__(
        self, plane_channels: int, view_channels: int, views: int, hidden: int, octaves: int, iso_density: float
    ) -> None:
        super().__init__()
        self.octaves, self.views = octaves, views
        self.iso = math.log(iso_density)
        self.plane_in = nn.Linear(plane_channels, hidden, bias=False)
        self.view_in = nn.Linear(views * view_channels, hidden)
        self.position_in = nn.Linear(3 + 6 * octaves, hidden, bias=False)
        self.trunk = nn.Linear(hidden, hidden)
        self.geometry = nn.Linear(hidden, hidden)
        self.density = nn.Linear(hidden, 1)
        self.sdf = nn.Linear(hidden, 1)
        self.appearance = nn.Linear(hidden, hidden)
        self.colour = nn.Linear(hidden, 3 + views + 1)
        nn.init.constant_(self.density.bias, math.log(40.0))
        nn.init.zeros_(self.colour.weight)
        nn.init.zeros_(self.colour.bias)

    def hidden(self, plane_samples: Tensor, view_samples: Tensor, points: Tensor) -> Tensor:
        """Trunk activations [N, hidden].

        Args:
            plane_samples: [N, plane_channels], summed over planes.
            view_samples: [N, views, view_channels].
            points: [N, 3].
        """
        h = (
            self.plane_in(plane_samples)
            + self.view_in(view_samples.flatten(1))
            + self.position_in(position_features(points, self.octaves))
        )
        return self.trunk_activations(h)

    def trunk_activations(self, first: Tensor) -> Tensor:
        """Trunk activations [N, hidden] from the first layer's outputs [N, hidden]."""
        return F.silu(self.trunk(F.silu(first)))

    def log_density(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the density [N], and the geometry activations [N, hidden] that the SDF head shares."""
        geometry = F.silu(self.geometry(hidden))
        return self.density(geometry)[:, 0].float(), geometry

    def signed_distance(self, geometry: Tensor) -> Tensor:
        """Signed distance [N], world units, positive inside."""
        return self.sdf(geometry)[:, 0].float()

    def albedo(self, hidden: Tensor, view_samples: Tensor) -> Tensor:
        """sRGB [N, 3]: a learned mixture of what the views show and of a colour of the network's own."""
        out = self.colour(F.silu(self.appearance(hidden))).float()
        rgba = view_samples[..., :4].float()
        seen = rgba[..., :3] / rgba[..., 3:].clamp(min=1e-3)  # [N, V, 3], straight colour
        own = torch.sigmoid(out[:, :3])
        logits = out[:, 3:] + torch.cat([rgba[..., 3].clamp(min=1e-3).log(), out.new_full((len(out), 1), -2.0)], 1)
        weight = logits.softmax(1)
        return (weight[:, :-1, None] * seen).sum(1) + weight[:, -1:] * own

    @torch.no_grad()
    def initialise_sdf_from_density(self, scale: float) -> None:
        """Set the SDF head to `scale * (log density - log iso density)`: same zero surface, world units to first order."""
        self.sdf.weight.copy_(self.density.weight * scale)
        self.sdf.bias.copy_((self.density.bias - self.iso) * scale)


class _Exponential(torch.autograd.Function):
    """exp with its argument clamped to what a ray can resolve, and a gradient that stays alive at the clamp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(-12, 7).exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad * y.clamp(min=1e-3)


def exponential(x: Tensor) -> Tensor:
    """The density activation: exp, clamped to e^-12 .. e^7."""
    apply: Callable[[Tensor], Tensor] = _Exponential.apply
    return apply(x)
