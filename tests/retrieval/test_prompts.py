"""Prompts taken apart, and which nouns are near to them."""

from __future__ import annotations

import pytest
import torch
from tetraview.engine.retrieval.noun_similarity import NounIndex
from tetraview.engine.retrieval.prompts import read_prompt

from ..tiny_generators import random_text_encoder, spelling_tokenizer

NOUNS = ("horse", "statue", "truck", "fire", "barrel", "chest", "gold", "treasure", "frog")


@pytest.mark.parametrize(
    ("prompt", "thing", "rest"),
    [
        ("a wooden barrel", ("barrel",), ()),
        ("an old horse with a saddle, low poly", ("old", "horse"), ("saddle",)),
        ("a bowl of fruit", ("bowl",), ("fruit",)),
        ("a set of dark red chairs", ("chairs",), ()),
        ("a stone", ("stone",), ()),
        ("a table made of wood", ("table",), ()),
        ("Two nice Café-tables on grass.", ("cafe", "tables"), ("grass",)),
        ("red", ("red",), ()),
        ("", (), ()),
        ("!?", (), ()),
    ],
)
def test_the_thing_and_the_rest(prompt, thing, rest):
    parsed = read_prompt(prompt)
    assert (parsed.thing, parsed.rest) == (thing, rest)


def test_colours_materials_and_style():
    parsed = read_prompt("a golden metal chair of oak, low-poly style")
    assert parsed.colours == ("yellow",) and set(parsed.materials) == {"metal", "oak"}
    assert parsed.low_poly and parsed.thing == ("chair",)
    assert read_prompt("a stone").materials == () and not read_prompt("a stone").low_poly


@pytest.fixture(scope="module")
def words():
    tokenizer = spelling_tokenizer(NOUNS)
    torch.manual_seed(0)
    return tokenizer, random_text_encoder(len(tokenizer), table_dim=64, hidden=16, layers=1, heads=2).table


def similarities(words, prompt, nouns, heads=None, tags=None, related=None):
    empty = [""] * len(nouns)
    return NounIndex(nouns, heads or empty, tags or empty, related or {}, *words).similarities(read_prompt(prompt))


def test_the_head_counts_most(words):
    horse, statue = similarities(words, "a horse statue", ["horse", "statue"])
    assert statue > horse + 0.2


def test_a_given_head_makes_the_other_words_count_less(words):
    last, first = similarities(words, "a truck", ["truck frog", "truck frog"], ["", "truck"])
    assert first > last + 0.1


def test_tags_count_less_than_the_noun_and_more_than_nothing(words):
    noun, tag, none = similarities(words, "a horse", ["horse", "statue", "statue"], tags=["", "horse", ""])
    assert noun > tag + 0.1 and tag > none + 0.1


def test_kin_stand_for_a_noun_the_nearer_the_better(words):
    related = {"cask": {"barrel": 0.97, "chest": 0.6}}
    barrel, chest, frog = similarities(words, "a cask", ["barrel", "chest", "frog"], related=related)
    assert barrel > chest > frog and barrel > 0.6


def test_a_phrase_that_the_bank_does_not_know_is_also_its_words(words):
    related = {"treasure chest": {"chest": 0.95}}
    gold, plain = similarities(words, "a treasure chest", ["chest treasure", "chest"], ["chest", "chest"], related=related)
    assert gold > plain


def test_words_are_grouped_into_phrases(words):
    index = NounIndex(["fire truck"], [""], [""], {"fire truck": {"truck": 0.9}}, *words)
    assert index.words(("big", "fire", "truck")) == ["big", "fire truck"]
    assert float(index.similarities(read_prompt("a fire truck"))[0]) == pytest.approx(1.0, abs=1e-5)


def test_nothing_asked_for(words):
    assert similarities(words, "", ["horse"]).tolist() == [0.0]
