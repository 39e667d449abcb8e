"""A plain Triton triplane sampler to compare with: planes channels-last, a block of points by all channels, atomics per tap.

Written as one would at first: no vector atomics but Triton's own choice, nothing shared between points, no sorting. Needs
Triton and an NVIDIA GPU; importing this module fails without Triton.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_VALUES = 2048
"""Points times channels of a block of four warps."""


@triton.jit
def _forward(
    planes, batch_index, points, samples, count, height, width,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    channel = tl.arange(0, PADDED)
    here = n < count
    thing = tl.load(batch_index + n, mask=here, other=0)
    total = tl.zeros((POINTS, PADDED), dtype=tl.float32)
    for k in tl.static_range(3):
        u = tl.load(points + n * 3 + k // 2, mask=here, other=9.0)  # axes 0, 0, 1 along the columns
        v = tl.load(points + n * 3 + (k + 3) // 2, mask=here, other=9.0)  # axes 1, 2, 2 along the rows
        x = (u + 1.0) * (width * 0.5) - 0.5
        y = (v + 1.0) * (height * 0.5) - 0.5
        x0 = tl.floor(x)
        y0 = tl.floor(y)
        for t in tl.static_range(4):
            column = x0 + (t % 2)
            row = y0 + (t // 2)
            weight = (1.0 - tl.abs(x - column)) * (1.0 - tl.abs(y - row))
            inside = here & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            texel = ((thing * 3 + k) * height + row.to(tl.int64)) * width + column.to(tl.int64)
            mask = inside[:, None] & (channel < CHANNELS)[None, :]
            value = tl.load(planes + texel[:, None] * CHANNELS + channel[None, :], mask=mask, other=0.0)
            total += value.to(tl.float32) * weight[:, None]
    mask = here[:, None] & (channel < CHANNELS)[None, :]
    tl.store(samples + n[:, None] * CHANNELS + channel[None, :], total.to(samples.dtype.element_ty), mask=mask)


@triton.jit
def _backward(
    gradients, batch_index, points, plane_gradients, count, height, width,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    channel = tl.arange(0, PADDED)
    here = n < count
    thing = tl.load(batch_index + n, mask=here, other=0)
    mask = here[:, None] & (channel < CHANNELS)[None, :]
    gradient = tl.load(gradients + n[:, None] * CHANNELS + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    for k in tl.static_range(3):
        u = tl.load(points + n * 3 + k // 2, mask=here, other=9.0)
        v = tl.load(points + n * 3 + (k + 3) // 2, mask=here, other=9.0)
        x = (u + 1.0) * (width * 0.5) - 0.5
        y = (v + 1.0) * (height * 0.5) - 0.5
        x0 = tl.floor(x)
        y0 = tl.floor(y)
        for t in tl.static_range(4):
            column = x0 + (t % 2)
            row = y0 + (t // 2)
            weight = (1.0 - tl.abs(x - column)) * (1.0 - tl.abs(y - row))
            inside = here & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            texel = ((thing * 3 + k) * height + row.to(tl.int64)) * width + column.to(tl.int64)
            wanted = inside[:, None] & (channel < CHANNELS)[None, :]
            address = plane_gradients + texel[:, None] * CHANNELS + channel[None, :]
            tl.atomic_add(address, gradient * weight[:, None], mask=wanted, sem="relaxed")


def sample(planes: Tensor, batch_index: Tensor, points: Tensor) -> Tensor:
    """As `kernels.triplane.sample_triplanes`, summed, without a gradient: planes [B, 3, H, W, C], contiguous."""
    samples = planes.new_empty(len(points), planes.shape[-1])
    _launch(_forward, planes, batch_index, points, samples, planes.shape)
    return samples


def gradient(gradients: Tensor, batch_index: Tensor, points: Tensor, shape: torch.Size) -> Tensor:
    """The gradient for planes of `shape`, from that of the samples [N, C]."""
    table = torch.zeros(shape, dtype=torch.float32, device=gradients.device)
    _launch(_backward, gradients, batch_index, points, table, shape)
    return table.to(gradients.dtype)


def _launch(kernel, first: Tensor, batch_index: Tensor, points: Tensor, out: Tensor, shape: torch.Size) -> None:
    height, width, channels = shape[2:]
    padded = triton.next_power_of_2(channels)
    block = max(8, BLOCK_VALUES // padded)
    grid = (triton.cdiv(len(points), block),)
    sizes = (len(points), height, width)
    kernel[grid](first, batch_index, points, out, *sizes, CHANNELS=channels, PADDED=padded, POINTS=block, num_warps=4)
