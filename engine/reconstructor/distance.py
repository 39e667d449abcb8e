"""The rule for signed distances, shared by points, lattices and the training loss.

Near the visual hull, the network's distance counts, bounded by the hull's; elsewhere only the hull's counts. Offsets that close
holes (`holes`) are added to the network's distance first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...kernels.reference import PLANE_AXES, sample_images


def signed_distance(hull: Tensor, margin: float, inside_cube: Tensor | None, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Signed distance [N], world units, positive inside; differentiable in what `network` returns and in `hull`.

    Args:
        hull: Signed distance to the visual hull, float [N].
        margin: Points at most this far outside the hull ask the network, world units.
        inside_cube: Whether the planes reach a point, bool [N]; None if they reach all of them.
        network: Returns the network's distance, hole offsets included, float [M], at the points of an index, int64 [M].
    """
    near = hull > -margin
    index = (near if inside_cube is None else near & inside_cube).nonzero()[:, 0]
    outside = hull.clamp(max=-0.5 * margin)
    if not len(index):
        return outside
    return outside.index_put((index,), torch.minimum(network(index), hull[index]))


def hole_offset(offsets: Tensor | None, points: Tensor) -> Tensor:
    """Offsets that close holes at points [N, 3]: float [N], the largest sample of the three planes.

    Args:
        offsets: float [3, G, G, 1], see `Field.hole_fill_offsets`; None where there are no holes.
        points: float [N, 3], world.
    """
    if offsets is None:
        return points.new_zeros(len(points))
    planes = [torch.full((len(points),), plane, device=points.device) for plane in range(3)]
    each = [sample_images(offsets, planes[k], points[:, list(axes)]) for k, axes in enumerate(PLANE_AXES)]
    return torch.cat(each, 1).amax(1)
