"""Sampling of three planes at points: the front of `triplane.cu`, with gradients for the planes alone.

Two custom operators of torch, so that `torch.compile` can trace them whole: forward and backward. Where nothing runs the kernels
(CPU, MPS, float64) the torch twin in `reference` is called directly and differentiated by torch itself.

Which backward, `mode`:
- "atomic": groups of lanes walk consecutive points and add up in registers while these fall in the same texels. One pass, and few
  atomics for ordered points (lattices, rays, pixels). Its last bits differ from run to run.
- "sorted": points are sorted by texel cell, once per plane; each texel then sums its points in order. No atomics, nothing to
  clear, bit-reproducible; costs three sorts, and reads each gradient four times.
- "auto": sorted if determinism is asked for, or if the gradient of one object's planes outgrows `L2_BYTES` and there are at least
  `SORTED_POINTS_PER_TEXEL` points a texel: atomics that miss the cache read and write memory each, whereas a sorted pass writes
  a texel once. Otherwise atomic: on planes that fit the cache sorting alone costs more than the atomics it saves. (One object's,
  for the points of an object usually follow each other.) Only sizes count: looking at the points would make the GPU wait.

There is no third, warp- or block-wide aggregation for unordered points. Two of the few points that share a warp meet in a cell
of a 64 x 64 plane once in hundreds of warps, so searching for them costs more than it saves; a plane does not fit a block's
shared memory (64 * 64 * 32 floats are 512 KiB), which has no native float atomics either; and "sorted" covers that case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import programs, reference
from .sources import Definitions, Program

STORAGE = {torch.float32: "float", torch.float16: "Half", torch.bfloat16: "Bfloat16"}
"""Types of planes that the kernels take; others take the twin."""

MODES = ("auto", "atomic", "sorted")

L2_BYTES = 40_000_000
"""Bytes of the L2 cache (50 MB on an H100) that a gradient may fill before its atomics go to memory."""

SORTED_POINTS_PER_TEXEL = 1.0

INT_LIMIT = 2**31 - 2**24
"""Offsets below it are computed in 32 bits."""

_BLOCK, _ATOMIC_BLOCK, _SORTED_BLOCK = 256, 128, 256
_ATOMIC_THREADS = 262_144  # as many are wanted before runs grow longer than one point
_LONGEST_RUN = 32


def _vector(dtype: torch.dtype, channels: int) -> int:
    """Channels that a lane reads at once: 16 bytes or the largest part of that which divides the channels."""
    return next(vector for vector in (8, 4, 2, 1) if vector * dtype.itemsize <= 16 and channels % vector == 0)


def _grad_lanes(channels: int) -> int:
    """Lanes that share a point in the backward pass."""
    return channels // 4 if channels % 4 == 0 else channels


def definitions(
    dtype: torch.dtype, channels: int, *, concat: bool = False, batched: bool = True, long_index: bool = False
) -> Definitions:
    """The macros that `triplane.cu` is compiled with."""
    return {
        "STORAGE": STORAGE[dtype],
        "CHANNELS": channels,
        "VECTOR": _vector(dtype, channels),
        "GRAD_VECTOR": channels // _grad_lanes(channels),
        "CONCAT": int(concat),
        "BATCHED": int(batched),
        "INDEX": "i64" if long_index else "int",
    }


VARIANTS: tuple[Definitions, ...] = (
    definitions(torch.float32, 32, batched=False),  # the starter's planes: one object, and training
    definitions(torch.float32, 32),
    definitions(torch.float16, 32, batched=False),
    definitions(torch.float16, 80, batched=False),  # the full-size planes
    definitions(torch.bfloat16, 80),
    definitions(torch.float32, 80, long_index=True),
    definitions(torch.float32, 40, concat=True),
    definitions(torch.float16, 24, concat=True),
    definitions(torch.bfloat16, 6),  # ragged
    definitions(torch.float32, 5, concat=True),
)
"""The definitions that shipped and full-size configurations ask for, and ragged ones: what is compiled for every architecture."""


def sample_triplanes(
    planes: Tensor,
    batch_index: Tensor,
    points: Tensor,
    concat: bool = False,
    *,
    mode: str = "auto",
) -> Tensor:
    """Features of world points from three axis-aligned planes, summed over the planes or side by side.

    CUDA twin of `reference.sample_triplanes`. Runs on the caller's current stream. Under autocast everything keeps its type.

    Args:
        planes: float [B, 3, H, W, C], channels-last, order xy, xz, yz, spanning [-1, 1]. float32, float16 or bfloat16 for the
            kernel, which sums in float32 and rounds once; other types take the twin.
        batch_index: int64 [N], 0..B-1. Not checked on a GPU: with several objects, points of one that is not there read zeros.
        points: float [N, 3], world; converted to float32. A plane reads zeros outside [-1, 1] and where a coordinate is not a
            number. Takes no gradient.
        concat: Whether the planes' samples are concatenated instead of summed.
        mode: The backward: "auto", "atomic" or "sorted", see above. `torch.use_deterministic_algorithms(True)` makes it
            "sorted", whose gradient is the same bit by bit in every run.

    Returns:
        float [N, C], the sum of the three planes' samples; [N, 3 * C] with `concat`. Type and device of planes.

    Raises:
        ValueError: A shape, dtype or device is wrong; names argument, expected and actual.

    Chan et al. 2022, Efficient Geometry-aware 3D Generative Adversarial Networks, https://arxiv.org/abs/2112.07945
    """
    _check(planes, batch_index, points)
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if planes.dtype not in STORAGE or not programs.may_run(planes.device):
        return reference.sample_triplanes(planes, batch_index, points, concat)
    if torch.are_deterministic_algorithms_enabled():
        mode = "sorted"
    return _sample(planes, batch_index, points.detach().float(), concat, mode)


# ---- the operators. Custom ones are what torch.compile traces without looking inside.


@torch.library.custom_op("tetraview::sample_triplanes", mutates_args=())
def _sample(planes: Tensor, batch_index: Tensor, points: Tensor, concat: bool, mode: str) -> Tensor:
    del mode
    program = _program(planes.dtype, planes.shape, len(points), concat, planes.device)
    if program is None:
        return reference.sample_triplanes(planes, batch_index, points, concat)
    batch, _, height, width, channels = planes.shape
    out = planes.new_empty(len(points), channels * (3 if concat else 1))
    lanes = channels // _vector(planes.dtype, channels)
    args = (_aligned(planes), batch_index.contiguous(), points.contiguous(), out, batch, height, width, len(points))
    program.launch("triplane_forward", _blocks(len(points) * lanes, _BLOCK), _BLOCK, args)
    return out


@_sample.register_fake
def _(planes: Tensor, batch_index: Tensor, points: Tensor, concat: bool, mode: str) -> Tensor:
    return planes.new_empty(points.shape[0], planes.shape[-1] * (3 if concat else 1))


@torch.library.custom_op("tetraview::sample_triplanes_backward", mutates_args=())
def _backward(gradient: Tensor, batch_index: Tensor, points: Tensor, shape: Sequence[int], concat: bool, mode: str) -> Tensor:
    program = _program(gradient.dtype, shape, len(points), concat, gradient.device)
    if program is None:
        return reference.triplane_gradient(gradient, batch_index, points, shape, concat)
    gradient, batch_index, points = _aligned(gradient), batch_index.contiguous(), points.contiguous()
    if mode == "sorted" or (mode == "auto" and _sorting_pays(shape, len(points))):
        return _backward_sorted(program, gradient, batch_index, points, shape)
    return _backward_atomic(program, gradient, batch_index, points, shape)


@_backward.register_fake
def _(gradient: Tensor, batch_index: Tensor, points: Tensor, shape: Sequence[int], concat: bool, mode: str) -> Tensor:
    return gradient.new_empty(shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool, str], output: Tensor) -> None:
    planes, batch_index, points, ctx.concat, ctx.mode = inputs
    ctx.shape = planes.shape
    ctx.save_for_backward(batch_index, points)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
    batch_index, points = ctx.saved_tensors
    return _backward(gradient, batch_index, points, ctx.shape, ctx.concat, ctx.mode), None, None, None, None


_sample.register_autograd(_gradients, setup_context=_setup_context)


def _backward_atomic(program: Program, gradient: Tensor, batch_index: Tensor, points: Tensor, shape: Sequence[int]) -> Tensor:
    batch, _, height, width, channels = shape
    count, lanes = len(points), _grad_lanes(channels)
    table = torch.zeros(list(shape), dtype=torch.float32, device=gradient.device)
    run = max(1, min(_LONGEST_RUN, count * lanes // _ATOMIC_THREADS))
    args = (gradient, batch_index, points, table, batch, height, width, count, run)
    program.launch("triplane_backward_atomic", _blocks(-(-count // run) * lanes, _ATOMIC_BLOCK), _ATOMIC_BLOCK, args)
    return table.to(gradient.dtype)


def _backward_sorted(program: Program, gradient: Tensor, batch_index: Tensor, points: Tensor, shape: Sequence[int]) -> Tensor:
    batch, _, height, width, channels = shape
    count, device = len(points), gradient.device
    n_cells = batch * (height + 1) * (width + 1)
    if n_cells >= 2**31 - 1:
        raise ValueError(f"planes: expected fewer than 2^31 texels of an axis pair to sort by, got {list(shape)}")
    cells = torch.empty(3, count, dtype=torch.int32, device=device)
    sizes = (batch, height, width, count)
    program.launch("triplane_cells", _blocks(count, _BLOCK), _BLOCK, (batch_index, points, cells, *sizes))
    cells, order = cells.sort(dim=1, stable=True)
    first = torch.arange(n_cells + 1, dtype=torch.int32, device=device).expand(3, -1).contiguous()
    start = torch.searchsorted(cells, first)  # [3, cells + 1], int64
    out = gradient.new_empty(list(shape))
    threads = out.numel() // channels * _grad_lanes(channels)
    args = (gradient, points, order, start, out, *sizes)
    program.launch("triplane_backward_sorted", _blocks(threads, _SORTED_BLOCK), _SORTED_BLOCK, args)
    return out


def _sorting_pays(shape: Sequence[int], count: int) -> bool:
    batch, planes, height, width, channels = shape
    return planes * height * width * channels * 4 > L2_BYTES and count >= SORTED_POINTS_PER_TEXEL * batch * height * width


def _program(dtype: torch.dtype, shape: Sequence[int], count: int, concat: bool, device: torch.device) -> Program | None:
    batch, three, height, width, channels = shape
    largest = max(batch * three * height * width * channels, count * max(3, channels * (3 if concat else 1)))
    macros = definitions(dtype, channels, concat=concat, batched=batch > 1, long_index=largest >= INT_LIMIT)
    return programs.program("triplane", macros, device)


def _blocks(threads: int, block: int) -> int:
    return -(-threads // block)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor, contiguous and at an address that vectors of 16 bytes may be read from."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % 16 else tensor


def _check(planes: Tensor, batch_index: Tensor, points: Tensor) -> None:
    if planes.ndim != 5 or planes.shape[1] != 3 or not planes.is_floating_point() or 0 in planes.shape:
        raise ValueError(f"planes: expected float [B, 3, H, W, C], got {_described(planes)}")
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"points: expected float [N, 3], got {_described(points)}")
    if batch_index.shape != points.shape[:1] or batch_index.dtype != torch.int64:
        raise ValueError(f"batch_index: expected int64 [{len(points)}], got {_described(batch_index)}")
    for name, tensor in (("batch_index", batch_index), ("points", points)):
        if tensor.device != planes.device:
            raise ValueError(f"{name}: expected on {planes.device} as planes, got on {tensor.device}")


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
