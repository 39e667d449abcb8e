"""The starter's text encoder: the frozen table, the transformer above it, and both on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.errors import WeightsError
from tetraview.engine.multiview.text import StarterTextEncoder, StarterTokenizer, new_text_encoder
from tetraview.engine.multiview.text.encoder import quantise_rows, save_table
from tetraview.engine.multiview.text.tokenizer import SPECIAL_TOKENS
from torch import Tensor

WORDS = ("sofa", "couch", "car", "red", "blue", "low", "poly")


def table_rows() -> Tensor:
    """[10, 16]; sofa and couch are near each other, nothing else is."""
    rows = torch.randn(len(SPECIAL_TOKENS) + len(WORDS), 16, generator=torch.Generator().manual_seed(0))
    rows[: len(SPECIAL_TOKENS)] = 0
    rows[4] = rows[3] + 0.3 * rows[4]
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_table(tmp_path / "table", StarterTokenizer([*SPECIAL_TOKENS, *WORDS]), table_rows())
    return tmp_path / "table"


@pytest.fixture
def pair(folder: Path) -> tuple[StarterTextEncoder, StarterTokenizer]:
    torch.manual_seed(1)
    return new_text_encoder(folder, hidden=24, layers=2, heads=3)


@given(st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_eight_bits_are_within_half_a_step(seed: int, size: float) -> None:
    rows = size * torch.randn(5, 12, generator=torch.Generator().manual_seed(seed))
    rows[2] = 0
    values, scale = quantise_rows(rows)
    assert values.dtype == torch.int8 and int(values.abs().max()) == 127
    assert bool(((values * scale[:, None] - rows).abs() <= 0.5001 * scale[:, None]).all())
    assert float(scale[2]) == 0 and bool((values[2] == 0).all())


def test_shape_mask_and_padding(pair: tuple[StarterTextEncoder, StarterTokenizer]) -> None:
    encoder, tokenizer = pair
    ids = tokenizer(["red sofa", "", "low poly blue car"])
    out = encoder(ids)
    assert out.shape == (3, 24, 24) and out.dtype == torch.float32
    mask = encoder.attention_mask(ids)
    assert mask.dtype == torch.bool and mask.sum(1).tolist() == [3, 1, 5]
    assert bool((out[~mask] == 0).all()) and bool((out[mask].abs().amax(1) > 0.1).all())


@given(st.lists(st.sampled_from(WORDS), max_size=10), st.integers(0, 10))
@settings(max_examples=20, deadline=None)
def test_padding_changes_nothing(words: list[str], padding: int) -> None:
    torch.manual_seed(2)
    encoder = StarterTextEncoder(10, 16, 24, 2, 3)
    encoder.table.values, encoder.table.scale = quantise_rows(table_rows())
    ids = StarterTokenizer([*SPECIAL_TOKENS, *WORDS])([" ".join(words)])[:, : len(words) + 1]
    padded = torch.cat([ids, torch.zeros(1, padding, dtype=torch.int64)], 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(padded)[:, : len(words) + 1], encoder(ids), rtol=1e-4, atol=1e-5)


def test_the_empty_prompt_differs_from_every_word_and_order_matters(pair: tuple[StarterTextEncoder, StarterTokenizer]) -> None:
    encoder, tokenizer = pair
    with torch.no_grad():
        empty, red, red_sofa, sofa_red = encoder(tokenizer(["", "red", "red sofa", "sofa red"]))
    assert float((empty[0] - red[0]).abs().max()) > 1e-4  # the start token has looked at the word
    assert float((red_sofa[1] - sofa_red[2]).abs().max()) > 1e-3
    assert float((red_sofa[0] - sofa_red[0]).abs().max()) > 1e-6


def test_what_is_near_in_the_table_is_near_at_the_start(pair: tuple[StarterTextEncoder, StarterTokenizer]) -> None:
    encoder, tokenizer = pair
    with torch.no_grad():
        sofa, couch, car = encoder(tokenizer(["sofa", "couch", "car"]))[:, 1]
    assert torch.cosine_similarity(sofa, couch, dim=0) > 0.9 > 0.5 > torch.cosine_similarity(sofa, car, dim=0)


def test_the_table_is_frozen_and_everything_else_learns(pair: tuple[StarterTextEncoder, StarterTokenizer]) -> None:
    encoder, tokenizer = pair
    before = encoder.table.values.clone(), encoder.table.scale.clone()
    names = {name for name, _ in encoder.named_parameters()}
    assert not any(name.startswith("table") for name in names)
    optimiser = torch.optim.AdamW(encoder.parameters(), 1e-2)
    ids = tokenizer(["red sofa", "blue car", ""])
    target = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(3))
    losses = []
    for _ in range(12):
        loss = (encoder(ids) - target)[encoder.attention_mask(ids)].square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in encoder.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(before[0], encoder.table.values) and torch.equal(before[1], encoder.table.scale)


def test_row_noise_is_relative_and_drawn_from_the_given_generator(pair: tuple[StarterTextEncoder, StarterTokenizer]) -> None:
    encoder, tokenizer = pair
    ids = tokenizer(["red sofa"])
    with torch.no_grad():
        plain, again = encoder(ids), encoder(ids)
        first = encoder(ids, row_noise=0.3, generator=torch.Generator().manual_seed(5))
        same = encoder(ids, row_noise=0.3, generator=torch.Generator().manual_seed(5))
        other = encoder(ids, row_noise=0.3, generator=torch.Generator().manual_seed(6))
        empty = encoder(tokenizer([""]), row_noise=0.3) - encoder(tokenizer([""]))
    assert torch.equal(plain, again) and torch.equal(first, same)
    assert not torch.allclose(first, other) and not torch.allclose(first, plain)
    assert torch.cosine_similarity(first[0, 2], plain[0, 2], dim=0) > 0.8
    assert bool((empty == 0).all())  # special tokens have no row to disturb


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip(pair: tuple[StarterTextEncoder, StarterTokenizer], tmp_path: Path, dtype: torch.dtype) -> None:
    encoder, tokenizer = pair
    encoder.to(dtype).save_pretrained(tmp_path / "encoder")
    loaded = StarterTextEncoder.from_pretrained(tmp_path / "encoder", torch_dtype=dtype)
    assert loaded.table.values.dtype == torch.int8 and torch.equal(loaded.table.values, encoder.table.values)
    assert loaded.dtype == dtype
    ids = tokenizer(["red sofa", "low poly car"])
    with torch.no_grad():
        assert torch.equal(loaded(ids), encoder(ids))
        assert loaded(ids).dtype == dtype


def test_half_precision_is_close(folder: Path) -> None:
    torch.manual_seed(1)
    encoder, tokenizer = new_text_encoder(folder, hidden=24, layers=2, heads=3)
    ids = tokenizer(["red sofa", ""])
    with torch.no_grad():
        exact = encoder(ids)
        torch.testing.assert_close(encoder.half()(ids).float(), exact, rtol=0.02, atol=0.02)


def test_wrong_shapes_are_refused(pair: tuple[StarterTextEncoder, StarterTokenizer]) -> None:
    encoder, _ = pair
    for shape in ((24,), (1, 25)):
        with pytest.raises(ValueError, match="input_ids: expected"):
            encoder(torch.zeros(shape, dtype=torch.int64))


def test_a_missing_damaged_or_foreign_table_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected 10"):
        save_table(folder, StarterTokenizer([*SPECIAL_TOKENS, *WORDS]), torch.zeros(4, 16))
    StarterTokenizer([*SPECIAL_TOKENS, "red"]).save_pretrained(folder)
    with pytest.raises(WeightsError, match="10 rows for 4 entries"):
        new_text_encoder(folder)
    (folder / "table.safetensors").write_bytes(b"not a table")
    with pytest.raises(WeightsError, match="missing or damaged"):
        new_text_encoder(folder)
    (folder / "table.safetensors").unlink()
    with pytest.raises(WeightsError, match="missing or damaged"):
        new_text_encoder(folder)
