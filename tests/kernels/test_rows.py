"""Weighted sums of rows, and their gradient, against the plain way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.kernels.rows import weighted_rows, weighted_rows_gradient


def plain(table, index, weight):
    return (table[index] * weight[..., None]).sum(1)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 30),
    channels=st.integers(1, 9),
    samples=st.integers(0, 50),
    taps=st.integers(1, 12),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_and_gradients_are_those_of_the_plain_way(dtype, rows, channels, samples, taps, seed):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(rows, channels, generator=generator, dtype=dtype, requires_grad=True)
    index = torch.randint(0, rows, (samples, taps), generator=generator)
    weight = torch.rand(samples, taps, generator=generator, dtype=dtype)
    gradient = torch.randn(samples, channels, generator=generator, dtype=dtype)
    ours, theirs = weighted_rows(table, index, weight), plain(table, index, weight)
    torch.testing.assert_close(ours, theirs)
    (got,) = torch.autograd.grad(ours, table, gradient)
    (expected,) = torch.autograd.grad(theirs, table, gradient) if samples else (torch.zeros_like(table),)
    torch.testing.assert_close(got, expected)


def test_the_operators_hold_what_torch_asks_of_them():
    table = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    index, weight = torch.randint(0, 7, (5, 4)), torch.rand(5, 4, dtype=torch.float64)
    torch.library.opcheck(torch.ops.tetraview.weighted_rows, (table, index, weight))
    torch.library.opcheck(torch.ops.tetraview.weighted_rows_gradient, (torch.randn(5, 3), index, weight.float(), 7))
    assert torch.autograd.gradcheck(lambda t: weighted_rows(t, index, weight), (table,))
    compiled = torch.compile(lambda t: weighted_rows(t, index, weight).square().sum(), backend="aot_eager", fullgraph=True)
    (got,) = torch.autograd.grad(compiled(table), table)
    (expected,) = torch.autograd.grad(plain(table, index, weight).square().sum(), table)
    torch.testing.assert_close(got, expected)


def test_half_precision_is_summed_in_float32():
    table = torch.zeros(2, 3, dtype=torch.bfloat16, requires_grad=True)
    index, weight = torch.zeros(4096, 1, dtype=torch.long), torch.full((4096, 1), 0.125, dtype=torch.bfloat16)
    (got,) = torch.autograd.grad(weighted_rows(table, index, weight), table, torch.ones(4096, 3, dtype=torch.bfloat16))
    assert got.dtype == torch.bfloat16
    assert got.tolist() == [[512.0] * 3, [0.0] * 3]  # in bfloat16 a sum of eighths would stop at 32


def test_weights_and_indices_take_no_gradient():
    weight = torch.rand(5, 4, requires_grad=True)
    assert not weighted_rows(torch.randn(7, 3), torch.randint(0, 7, (5, 4)), weight).requires_grad


@pytest.mark.parametrize("row", [-1, 7])
def test_a_row_that_does_not_exist_is_refused_not_written(row):
    index = torch.tensor([[0, row]])
    with pytest.raises(IndexError, match=r"rows 0\.\.6"):
        weighted_rows_gradient(torch.ones(1, 3), index, torch.ones(1, 2), 7)
