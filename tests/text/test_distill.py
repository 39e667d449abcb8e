"""Distilling the table: a small WordNet, a tiny sentence encoder of the real class, and the table that comes out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tetraview.engine.cli import main
from tetraview.engine.errors import EngineError
from tetraview.engine.multiview.text import StarterTextEncoder, StarterTokenizer, new_text_encoder
from tetraview.engine.multiview.text.tokenizer import SPECIAL_TOKENS
from tetraview.engine.training.text.distill import (
    DistillConfig,
    distill,
    encode_entries,
    frequency_weights,
    load_sentence_encoder,
    reduce_rows,
)
from tetraview.engine.training.text.lexicon import Lexicon, choose_entries, count_pieces, read_noun_definitions
from tetraview.engine.training.text.synonyms import PAIRS, score_synonyms, usable_pairs
from torch import Tensor

NOUNS = """\
  1 licence text, as the true files have it
00000010 06 n 02 sofa 0 settee 0 001 @ 00000020 n 0000 | an upholstered seat for more than one person; "they sat on the sofa"
00000020 08 n 02 chest 0 thorax 0 000 | the part of the body between the neck and the diaphragm
00000030 06 n 01 chest 1 000 | box with a lid; used for storage
00000040 18 n 01 London 0 000 | the capital
00000050 07 n 02 crimson 0 deep_red 0 000 | a deep and vivid red color
00000060 09 n 01 idea 0 000 | a thought
00000070 06 n 02 traffic_light 0 stoplight 0 000 | a visual signal to control the flow of traffic
00000080 05 n 01 xqzwvkjy 0 000 | a beast whose name is no common word
"""
INDEX = """\
  1 licence text
sofa n 1 1 @ 1 1 00000010
settee n 1 1 @ 1 0 00000010
chest n 2 1 @ 2 2 00000020 00000030
london n 1 1 @ 1 1 00000040
crimson n 1 1 @ 1 1 00000050
idea n 1 1 @ 1 1 00000060
traffic_light n 1 1 @ 1 1 00000070
xqzwvkjy n 1 1 @ 1 1 00000080
"""
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = ("the", "red", "sofa", "smith", "1994", "traffic", "light", "chest", "idea", "\u0434\u0430")
SPECIALS = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = [*SPECIALS, "!", *LETTERS, *WORDS, *(f"##{c}" for c in LETTERS), "##tee", "##94", "crim", "##son"]
TEXTS = ["a red sofa", "traffic light", "traffic light", "spacetruck"]


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wordnet")
    (folder / "data.noun").write_text(NOUNS)
    (folder / "index.noun").write_text(INDEX)
    (folder / "noun.exc").write_text("feet foot\n")
    for part in ("verb", "adj", "adv"):
        (folder / f"data.{part}").write_text("  1 licence text\n00000001 00 a 01 odd(p) 0 000 | strange\n")
    return folder


@pytest.fixture(scope="module")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("sentence_encoder")
    (folder / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    return folder


def write_pack(path: Path, captions: Sequence[str]) -> None:
    """A pack without meshes: only its metas are read."""
    metas = [
        {"id": str(i), "caption": c, "caption_short": c, "category": "object", "tags": c.split()} for i, c in enumerate(captions)
    ]
    meta = np.frombuffer(json.dumps(metas).encode(), np.uint8)
    np.savez(path, meta=meta, **dict.fromkeys(("pos", "uv", "tri", "tex"), np.zeros(0, np.uint8)))


def test_definitions_are_of_what_one_can_see(wordnet: Path) -> None:
    found = read_noun_definitions(wordnet)
    assert found["settee"] == (6, ["settee, sofa: an upholstered seat for more than one person"])
    assert found["chest"] == (8, ["chest, thorax: the part of the body between the neck and the", "chest: box with a lid"])
    assert found["crimson"] == (7, ["crimson, deep red: a deep and vivid red color"])
    assert found["traffic light"][0] == 6
    assert not {"london", "idea"} & set(found)


def test_entries_are_words_pieces_and_phrases_worth_keeping(wordnet: Path) -> None:
    lexicon = choose_entries(PIECES, TEXTS, wordnet, common=37)  # 36 letters and digits, and "the"
    entries = set(lexicon.entries)
    assert len(entries) == len(lexicon.entries)
    assert {"the", "sofa", "settee", "idea", "crimson", "spacetruck", "traffic light", "##tee", "##7", "a"} <= entries
    assert not {"smith", "1994", "##94", "\u0434\u0430", "!", "[unused0]", "[CLS]", "xqzwvkjy", "london", "deep red"} & entries
    assert set(lexicon.definitions) == {"sofa", "settee", "chest", "crimson", "traffic light"}
    assert lexicon.entries.index("the") < lexicon.entries.index("red") < lexicon.entries.index("settee")


def test_pieces_are_counted_as_the_tokenizer_cuts_them() -> None:
    tokenizer = StarterTokenizer([*SPECIAL_TOKENS, *(p for p in PIECES if p.isascii() and "[" not in p)])
    for word in ("sofa", "settee", "idealight", "x1994"):
        assert count_pieces(word, set(PIECES) - {"1994", "##94"}) >= len(tokenizer.tokenize(word)) > 0
    assert count_pieces("\u0436", set(PIECES)) == 1000


def test_the_encoder_means_over_tokens_whatever_the_batch(sentence_encoder: Path) -> None:
    texts = ["red", "the red sofa and the traffic light", "sofa", "chest"]
    together = load_sentence_encoder(sentence_encoder, 4, torch.float32)(texts)
    single = load_sentence_encoder(sentence_encoder, 1, torch.float32)(texts)
    assert together.shape == (4, 32)
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)


def test_rows_keep_the_nearness_of_the_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    low_rank = torch.randn(200, 6, generator=generator) @ torch.randn(6, 40, generator=generator)
    alone = torch.nn.functional.normalize(low_rank, dim=1)
    lexicon = Lexicon([f"w{i}" for i in range(200)])
    rows = reduce_rows(alone, torch.zeros_like(alone), lexicon, DistillConfig(dim=8))
    assert rows.shape == (203, 8) and bool((rows[:3] == 0).all())
    weights = frequency_weights(lexicon, 1e-3)
    torch.testing.assert_close(rows[3:].square().mean(1).sqrt(), weights)
    assert bool((weights.diff() > 0).all()) and 0 < float(weights[0]) < 0.01 and float(weights[-1]) < 1
    centred = torch.nn.functional.normalize(alone - alone.mean(0), dim=1)
    kept = torch.nn.functional.normalize(rows[3:], dim=1)
    assert float((kept @ kept.T - centred @ centred.T).abs().mean()) < 0.03


def test_definitions_bring_words_together() -> None:
    others = [f"w{i}" for i in range(20)]
    own = {word: [f"what {word} is"] for word in others}  # the definitions' mean, which is taken off, must not be the sofa's
    lexicon = Lexicon(["sofa", "settee", *others], {"sofa": ["seat"], "settee": ["seat"], **own})
    texts_seen = ["sofa", "settee", "seat", *others, *(text for [text] in own.values())]
    directions = {text: torch.eye(64)[i] for i, text in enumerate(texts_seen)}

    def encode(texts: Sequence[str]) -> Tensor:
        return torch.stack([directions[text] for text in texts])

    def nearness(share: float) -> float:
        rows = reduce_rows(*encode_entries(lexicon, encode), lexicon, DistillConfig(dim=21, definition_share=share))[3:]
        return float(torch.cosine_similarity(rows[0], rows[1], dim=0))

    assert nearness(0.0) < 0.1 < 0.4 < nearness(0.5) < 0.6 < 0.9 < nearness(0.9)


def test_synonyms_are_scored_against_the_words_of_the_captions() -> None:
    words = ["sofa", "red", "car", "tree", "blue", "house", "cat", "dog"]
    asked = usable_pairs(set(words) | {"hound"})
    assert ("settee", ("sofa",)) in asked and "hound" not in dict(asked) and ("canine", ("dog",)) in asked
    place = {word: i for i, word in enumerate(words)}

    def perfect(texts: Sequence[str]) -> np.ndarray:
        return np.eye(8, dtype=np.float32)[
            [place.get(t, place.get(dict(usable_pairs(words)).get(t, ("",))[0], 0)) for t in texts]
        ]

    best = score_synonyms(perfect, words)
    assert (best.top1, best.top5, best.missed) == (1.0, 1.0, ()) and best.asked == len(usable_pairs(words))
    worst = score_synonyms(lambda texts: -perfect(texts) if len(texts) != len(words) else perfect(texts), words)
    assert worst.top1 == 0 and worst.top5 < 1 and worst.missed
    assert len({word for word, _ in PAIRS}) == len(PAIRS) >= 40


def test_distilling_end_to_end(wordnet: Path, sentence_encoder: Path, tmp_path: Path) -> None:
    write_pack(tmp_path / "train_00.npz", ["a red sofa", "traffic light", "red chest"])
    config = DistillConfig(dim=16)
    scores = distill(sentence_encoder, wordnet, tmp_path, tmp_path / "text", config)
    assert set(scores) == {"table", "encoder"} and scores["table"].asked == scores["encoder"].asked >= 3
    encoder, tokenizer = new_text_encoder(tmp_path / "text" / "table", hidden=24, layers=1, heads=2)
    assert tokenizer.tokenize("the traffic light settee") == ["the", "traffic light", "settee"]
    with torch.no_grad():
        assert encoder(tokenizer(["a red settee", ""])).shape == (2, 24, 24)
    distill(sentence_encoder, wordnet, tmp_path, tmp_path / "again", config)
    files = [path.relative_to(tmp_path / "text") for path in (tmp_path / "text").rglob("*") if path.is_file()]
    assert len(files) == 5
    for name in files:
        assert (tmp_path / "text" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    start = StarterTextEncoder.from_pretrained(tmp_path / "text" / "text_encoder")
    assert torch.equal(start.table.values, encoder.table.values)
    assert StarterTokenizer.from_pretrained(tmp_path / "text" / "tokenizer").entries == tokenizer.entries


def test_what_is_missing_is_named(wordnet: Path, sentence_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no packs train_\*\.npz"):
        distill(sentence_encoder, wordnet, tmp_path, tmp_path / "out")
    write_pack(tmp_path / "train_00.npz", ["a red sofa"])
    with pytest.raises(EngineError, match="no sentence encoder"):
        distill(tmp_path, wordnet, tmp_path, tmp_path / "out")
    with pytest.raises(EngineError, match="no WordNet"):
        distill(sentence_encoder, tmp_path, tmp_path, tmp_path / "out")


def test_the_command_makes_the_table(wordnet: Path, sentence_encoder: Path, tmp_path: Path) -> None:
    write_pack(tmp_path / "train_00.npz", ["a red sofa", "traffic light", "red chest"])
    arguments = [
        "train",
        "text",
        "--data",
        tmp_path,
        "--sentence-encoder",
        sentence_encoder,
        "--wordnet",
        wordnet,
        "--out",
        tmp_path,
    ]
    assert main([str(argument) for argument in arguments]) == 0
    encoder, tokenizer = new_text_encoder(tmp_path / "text" / "table")
    with torch.no_grad():
        assert encoder(tokenizer(["a red sofa"])).isfinite().all()
    assert arguments[4] == "--sentence-encoder"
    arguments[5] = tmp_path / "nothing"
    assert main([str(argument) for argument in arguments]) != 0
