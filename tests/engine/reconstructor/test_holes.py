"""Holes where light is stopped and no surface is met: closed there, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tetraview.engine.reconstructor import Field, Reconstructor, field
from tetraview.engine.reconstructor.holes import CELLS, MOST, THICKNESS, hole_fill_offsets
from tetraview.engine.training.mesh_loss import detached, signed_distances

from .models import ball_views

SHEET = 20
"""The layer of cells where the plate lies; below and above it, fog."""


def plate(hole_density: float, deepest: float = -0.02, gap: slice = slice(24, 34)) -> tuple[np.ndarray, np.ndarray]:
    """A plate of 40 x 40 cells, sure of itself but for a gap, where the density is spread over 12 cells: density, distance."""
    density, distance = np.zeros((CELLS,) * 3, np.float32), np.full((CELLS,) * 3, -0.2, np.float32)
    density[12:52, 12:52, SHEET], distance[12:52, 12:52, SHEET] = 80, 0.015
    density[24:34, gap, SHEET], distance[24:34, gap, SHEET] = 0, -0.2
    density[24:34, gap, SHEET - 6 : SHEET + 6] = hole_density
    distance[24:34, gap, SHEET - 6 : SHEET + 6] = deepest - 0.01
    distance[24:34, gap, SHEET + 1] = deepest
    return density, distance


def closed(density: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The plate after lifting: bool [G, G, G], axes x, y, z."""
    xy, xz, yz = hole_fill_offsets(density, distance)
    lift = np.maximum(np.maximum(xy.T[:, :, None], xz.T[:, None, :]), yz.T[None, :, :])
    return distance + lift > 0


def test_fog_within_a_plate_becomes_a_thin_sheet_at_its_densest() -> None:
    density, distance = plate(hole_density=8.0)
    solid = closed(density, distance)
    assert solid[12:52, 12:52].any(2).all()
    assert solid[24:34, 24:34].sum() == 100 and solid[24:34, 24:34, SHEET + 1].all()
    assert not solid[:, :, SHEET + 2 :].any() and (solid[:, :, SHEET] == (distance[:, :, SHEET] > 0)).all()


@pytest.mark.parametrize(
    ("what", "arrays"),
    [
        ("a hole that lets light through", plate(hole_density=2.0)),
        ("a gap that is open to one side", plate(8.0, gap=slice(24, 64))),
        ("nothing to close it with", plate(8.0, deepest=-MOST - 0.005)),
        ("no hole", plate(8.0, deepest=0.005)),
        ("nothing at all", (np.zeros((CELLS,) * 3, np.float32), np.full((CELLS,) * 3, -1.0, np.float32))),
    ],
)
def test_nothing_else_is_lifted(what: str, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    assert not hole_fill_offsets(*arrays).any(), what


def test_planes_are_in_the_order_and_turn_of_the_triplanes() -> None:
    shift = (5, -3, 0)
    moved = hole_fill_offsets(*(np.roll(values, shift, (0, 1, 2)) for values in plate(8.0)))
    rows, columns = np.nonzero(moved[0])
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (28, 39, 20, 31)  # x, y; one cell wider
    assert np.isclose(moved[0].max(), THICKNESS / 2 + 0.02) and not moved[1:].any()


def test_lattice_points_and_training_loss_are_lifted_alike(tiny: Reconstructor, monkeypatch: pytest.MonkeyPatch) -> None:
    ijk = torch.randint(8, 25, (400, 3), generator=torch.Generator().manual_seed(2))
    points = ijk / 16.0 - 1

    def lifted(by: np.ndarray) -> Field:
        monkeypatch.setattr(field, "hole_fill_offsets", lambda density, distance: by)
        encoded = tiny.encode(ball_views())
        encoded.hole_fill_offsets()
        return encoded

    pattern = np.random.default_rng(0).uniform(0, 0.05, (3, CELLS, CELLS)).astype(np.float32)
    plain, changed = lifted(np.zeros_like(pattern)), lifted(pattern)
    assert torch.allclose(plain.lattice_sdf(ijk, 32), plain.sdf(points), atol=1e-5)
    assert torch.allclose(changed.lattice_sdf(ijk, 32), changed.sdf(points), atol=1e-5)
    seen = Field(tiny, detached(changed.encoded))  # the silhouettes of the network's own size, as in training
    assert torch.allclose(signed_distances(tiny, seen.encoded, seen.hole_fill_offsets(), points)[1], seen.sdf(points), atol=1e-4)
    gain = changed.sdf(points) - plain.sdf(points)
    assert (gain >= -1e-6).all() and gain.max() > 0.02
