"""Analytic fields: exact or nearly exact signed distances, positive inside, with the interface of the reconstructor's field."""

from __future__ import annotations

from collections.abc import Callable

import torch


class AnalyticField:
    """A field of a formula.

    Args:
        formula: From world points [N, 3] to signed distance [N].

    Attributes:
        n_lattice: Points given to `lattice_sdf` so far.
        seen: Lattice coordinates given to `lattice_sdf`, a list of int64 [N, 3].
    """

    def __init__(self, formula: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.formula = formula
        self.seen: list[torch.Tensor] = []

    @property
    def n_lattice(self) -> int:
        return sum(len(ijk) for ijk in self.seen)

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        return self.formula(points.double()).float()

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int = 256) -> torch.Tensor:
        assert ijk.dtype == torch.int64
        self.seen.append(ijk)
        return self.sdf((-1 + 2 * ijk.double() / resolution).float())  # the same rounding: some vertices lie on the surface


def sphere(radius: float = 0.6, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda p: radius - (p - torch.tensor(centre, dtype=p.dtype)).norm(dim=1)


def torus(major: float = 0.55, minor: float = 0.2) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda p: minor - torch.stack([p[:, :2].norm(dim=1) - major, p[:, 2]], 1).norm(dim=1)


def box(
    half: tuple[float, float, float] = (0.5, 0.4, 0.3), centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Callable[[torch.Tensor], torch.Tensor]:
    def formula(p: torch.Tensor) -> torch.Tensor:
        q = (p - torch.tensor(centre, dtype=p.dtype)).abs() - torch.tensor(half, dtype=p.dtype)
        return -(q.clamp_min(0).norm(dim=1) + q.amax(1).clamp_max(0))

    return formula


def union(*parts: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda p: torch.stack([part(p) for part in parts]).amax(0)


def smooth_random(seed: int, wavelength: float = 0.5, n_waves: int = 12) -> Callable[[torch.Tensor], torch.Tensor]:
    """A ball disturbed by a sum of waves no shorter than `wavelength`; neither a distance nor of slope 1."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n_waves, 3, generator=generator, dtype=torch.float64), dim=1)
    frequency = 2 * torch.pi / wavelength * torch.rand(n_waves, 1, generator=generator, dtype=torch.float64)
    phase = 2 * torch.pi * torch.rand(n_waves, generator=generator, dtype=torch.float64)
    scale = 0.5 + 4 * torch.rand((), generator=generator, dtype=torch.float64)
    return lambda p: scale * (0.5 - p.norm(dim=1) + 0.06 * torch.sin(p @ (directions * frequency).T + phase).sum(1))
