"""Weighted sums of a table's rows: what every bilinear sample of channels-last features is, and its gradient for the table.

On a CPU the gradient is a product with a sparse matrix (scipy's, one thread): some six times faster than PyTorch's, which sorts
the indices first, and the same in every run.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """The sum of K weighted rows for each of N samples. A custom operator, so that torch.compile keeps it whole.

    Args:
        table: float [T, C].
        index: int64 [N, K], 0..T-1.
        weight: [N, K], of the table's type; takes no gradient.

    Returns:
        [N, C], of the table's type. Gradients flow to the table, summed in float32 (float64 for float64).
    """
    return _weighted_rows(table, index, weight.detach())


@torch.library.custom_op("tetraview::weighted_rows", mutates_args=())
def _weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


@_weighted_rows.register_fake
def _(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    return table.new_empty(len(index), table.shape[1])


@torch.library.custom_op("tetraview::weighted_rows_gradient", mutates_args=())
def weighted_rows_gradient(gradient: Tensor, index: Tensor, weight: Tensor, rows: int) -> Tensor:
    """The gradient of `weighted_rows` for its table, from that of its samples.

    Args:
        gradient: float [N, C].
        index, weight: [N, K], as there.
        rows: Number of rows of the table, T.

    Returns:
        float32 [T, C], float64 if the gradient is.

    Raises:
        IndexError: A row does not exist.
    """
    accumulator = torch.float64 if gradient.dtype == torch.float64 else torch.float32
    gradient, weight = gradient.to(accumulator), weight.to(accumulator)
    if gradient.device.type == "cpu":
        from scipy.sparse import csr_array

        samples, taps = index.shape
        if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < rows):  # scipy would write there
            raise IndexError(f"index: expected rows 0..{rows - 1}, got {int(index.min())}..{int(index.max())}")
        starts = torch.arange(0, samples * taps + 1, taps)
        parts = (weight.reshape(-1).numpy(), index.reshape(-1).numpy(), starts.numpy())
        return torch.from_numpy(csr_array(parts, shape=(samples, rows)).T @ gradient.numpy())
    table = gradient.new_zeros(rows, gradient.shape[1])
    for tap in range(index.shape[1]):
        table.index_add_(0, index[:, tap], gradient * weight[:, tap, None])
    return table


@weighted_rows_gradient.register_fake
def _(gradient: Tensor, index: Tensor, weight: Tensor, rows: int) -> Tensor:
    accumulator = torch.float64 if gradient.dtype == torch.float64 else torch.float32
    return gradient.new_empty((rows, gradient.shape[1]), dtype=accumulator)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    table, index, weight = inputs
    ctx.save_for_backward(index, weight)
    ctx.rows, ctx.dtype = len(table), table.dtype


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    index, weight = ctx.saved_tensors
    return weighted_rows_gradient(gradient.contiguous(), index, weight, ctx.rows).to(ctx.dtype), None, None


_weighted_rows.register_autograd(_backward, setup_context=_remember)
