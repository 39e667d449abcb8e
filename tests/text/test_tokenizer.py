"""The starter's tokenizer: what it cuts a prompt into, and that nothing a person can paste makes it fail."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine.errors import WeightsError
from tetraview.engine.multiview.text import StarterTokenizer
from tetraview.engine.multiview.text.tokenizer import SPECIAL_TOKENS, UNKNOWN, split_words

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = (
    "red",
    "arm",
    "armchair",
    "foot",
    "low",
    "poly",
    "low poly",
    "traffic",
    "light",
    "traffic light",
    "traffic light pole",
    "sofa",
)
PIECES = ("##s", "##stool", "##chair", *(f"##{c}" for c in LETTERS if c != "s"))
TOKENIZER = StarterTokenizer([*SPECIAL_TOKENS, *LETTERS, *WORDS, *PIECES])


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("red armchair", ["red", "armchair"]),
        ("RED  Armchairs!", ["red", "armchair", "##s"]),
        ("footstool", ["foot", "##stool"]),
        ("rede", ["red", "##e"]),
        ("a low-poly sofa, red", ["a", "low poly", "sofa", "red"]),
        ("a low_poly sofa", ["a", "low poly", "sofa"]),
        ("traffic light", ["traffic light"]),
        ("traffic light pole", ["traffic light pole"]),
        ("light traffic", ["light", "traffic"]),
        ("the sofa's arm", ["t", "##h", "##e", "sofa", "arm"]),
        ("rød sofa", [UNKNOWN, "sofa"]),  # a stroke is no accent
        ("röd sofà", ["r", "##o", "##d", "sofa"]),
        ("\uff32\uff25\uff24", ["red"]),  # full-width letters
        ("красный диван sofa 椅子", [UNKNOWN, "sofa", UNKNOWN]),
        ("", []),
        (" ,.-_'\u200b\ufe0f ", []),
    ],
)
def test_what_a_prompt_is_cut_into(prompt: str, tokens: list[str]) -> None:
    assert TOKENIZER.tokenize(prompt) == tokens


def test_numbers_begin_with_the_start_token_and_end_in_padding() -> None:
    ids = TOKENIZER(["red sofa", ""])
    assert ids.shape == (2, 24) and ids.dtype == torch.int64
    assert ids[0, :4].tolist() == [2, TOKENIZER.numbers["red"], TOKENIZER.numbers["sofa"], 0]
    assert ids[1].tolist() == [2] + [0] * 23


def test_a_very_long_prompt_is_cut_quickly() -> None:
    begun = time.process_time()
    ids = TOKENIZER(["red sofa " * 100_000, "x" * 1_000_000, "\ufdfa" * 1_000_000])
    assert time.process_time() - begun < 2
    assert ids.shape == (3, 24) and bool((ids[:2] != 0).all())
    assert ids[0].tolist() == TOKENIZER(["red sofa " * 12])[0].tolist()


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_text_gives_numbers_of_the_vocabulary(prompts: list[str]) -> None:
    ids = TOKENIZER(prompts)
    assert ids.shape == (len(prompts), 24)
    assert bool((ids[:, 0] == 2).all()) and bool(((ids >= 0) & (ids < len(TOKENIZER))).all())
    ended = (ids == 0).long().cumsum(1) > 0
    assert bool((ids[ended] == 0).all())  # padding only at the end
    assert torch.equal(ids, TOKENIZER(prompts))


@given(st.lists(st.sampled_from([*WORDS, "zebra", "x9"]), max_size=8))
def test_the_tokens_of_known_letters_spell_the_words(words: list[str]) -> None:
    spelled = " ".join(TOKENIZER.tokenize(" ".join(words))).replace(" ##", "")
    assert spelled == " ".join(words)


@given(st.text(max_size=60))
def test_words_do_not_depend_on_case_or_on_punctuation_around(text: str) -> None:
    words = split_words(text)
    assert split_words(" ".join(words)) == words
    assert split_words(f"... {text} !") == words


def test_round_trip(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path / "tokenizer")
    loaded = StarterTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert loaded.entries == TOKENIZER.entries
    assert b"\r" not in (tmp_path / "tokenizer" / "vocab.txt").read_bytes()


def test_a_missing_or_foreign_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"missing: .*vocab\.txt"):
        StarterTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[unused0]\n[UNK]\n")
    with pytest.raises(WeightsError, match="expected to start with"):
        StarterTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "red", "red"]))
    with pytest.raises(WeightsError, match="1 occur twice"):
        StarterTokenizer.from_pretrained(tmp_path)
