"""A sentence encoder's knowledge of words as a static table of a few megabytes.

Every entry of the vocabulary goes through the encoder on its own, and so do the definitions of the nouns; PCA makes the vectors
short, and frequent words, which say little, are made small (smooth inverse frequency, the frequency taken from the rank by Zipf's
law). Model2Vec: Tulkens & van Dongen 2024; SIF: Arora et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...dataset.packs import read_metas
from ...errors import EngineError
from ...multiview.text.encoder import new_text_encoder, save_table
from ...multiview.text.tokenizer import SPECIAL_TOKENS, StarterTokenizer, split_words
from .lexicon import Lexicon, caption_texts, choose_entries
from .synonyms import SynonymScore, score_synonyms

SentenceEncoder = Callable[[Sequence[str]], Tensor]
"""Texts to float32 [N, D]."""


@dataclass(frozen=True)
class DistillConfig:
    """Settings of the table.

    Attributes:
        dim: Length of a row.
        definition_share: Share of an entry's definitions in its vector; the rest is the entry on its own.
        sif: The a of a / (a + p), p the frequency of a word.
        batch: Texts encoded at once.
        seed: Seed of the untrained transformer.
    """

    dim: int = 112
    definition_share: float = 0.6
    sif: float = 1e-3
    batch: int = 256
    seed: int = 0


def load_sentence_encoder(folder: str | Path, batch: int = 256, dtype: torch.dtype = torch.bfloat16) -> SentenceEncoder:
    """A BERT-like sentence encoder with mean pooling (sentence-transformers' all-MiniLM-L6-v2), read from a folder.

    Args:
        folder: Holds config.json, vocab.txt or tokenizer.json, and the weights.
        batch: Texts at once; sorted by length, so little is padding.
        dtype: Type of the computation.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).to(dtype).eval()

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Tensor:
        lengths = [len(ids) for ids in tokenizer(list(texts), truncation=True, max_length=64)["input_ids"]]
        order = sorted(range(len(texts)), key=lambda i: lengths[i])
        vectors = torch.zeros(len(texts), model.config.hidden_size)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            inputs = tokenizer([texts[i] for i in chosen], padding=True, truncation=True, max_length=64, return_tensors="pt")
            outputs = model(**inputs).last_hidden_state.float()  # [n, L, D]
            mask = inputs["attention_mask"][..., None].float()
            vectors[chosen] = (outputs * mask).sum(1) / mask.sum(1)
        return vectors

    return encode


def encode_entries(lexicon: Lexicon, encode: SentenceEncoder) -> tuple[Tensor, Tensor]:
    """Unit vectors float32 [V, D] of the entries on their own and of their definitions (0 where an entry has none)."""
    alone = torch.nn.functional.normalize(encode([entry.removeprefix("##") for entry in lexicon.entries]), dim=1)
    texts = [(i, text) for i, entry in enumerate(lexicon.entries) for text in lexicon.definitions.get(entry, ())]
    defined = torch.zeros_like(alone)
    if texts:
        vectors = torch.nn.functional.normalize(encode([text for _, text in texts]), dim=1)
        defined.index_add_(0, torch.tensor([i for i, _ in texts]), vectors)
    return alone, torch.nn.functional.normalize(defined, dim=1)


def frequency_weights(lexicon: Lexicon, sif: float) -> Tensor:
    """float32 [V] in 0..1: small for frequent words. An entry's rank is its place in the lexicon."""
    rank = torch.arange(1, len(lexicon.entries) + 1, dtype=torch.float32)
    frequency = (1 / rank) / (1 / rank).sum()
    return sif / (sif + frequency)


def reduce_rows(alone: Tensor, defined: Tensor, lexicon: Lexicon, config: DistillConfig) -> Tensor:
    """The table.

    Args:
        alone, defined: From `encode_entries`, [V, D].
        lexicon: Its entries are the rows.
        config: See there.

    Returns:
        float32 [3 + V, dim], the special tokens' rows 0. Elements of a rare word's row have a mean square of about 1.
    """
    has = (defined.abs().amax(1, keepdim=True) > 0).float()
    alone, defined = alone - alone.mean(0), (defined - defined.sum(0) / has.sum().clamp(min=1)) * has
    mixed = alone + has * config.definition_share * (defined - alone)
    mixed = torch.nn.functional.normalize(mixed, dim=1)
    mixed = mixed - mixed.mean(0)
    _, directions = torch.linalg.eigh(mixed.T @ mixed)  # ascending
    rows = torch.nn.functional.normalize(mixed @ directions.flip(1)[:, : config.dim], dim=1) * config.dim**0.5
    rows = rows * frequency_weights(lexicon, config.sif)[:, None]
    return torch.cat([torch.zeros(len(SPECIAL_TOKENS), rows.shape[1]), rows])


def mean_rows(folder: str | Path) -> Callable[[Sequence[str]], npt.NDArray[np.float32]]:
    """Texts to the mean of their rows in a saved table, float32 [N, D]; 0 for a text without words."""
    encoder, tokenizer = new_text_encoder(folder)

    @torch.inference_mode()
    def vectors_of(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        ids = tokenizer(texts)
        words = ids >= len(SPECIAL_TOKENS)
        total = (encoder.table(ids) * words[..., None]).sum(1) / words.sum(1, keepdim=True).clamp(min=1)
        return np.asarray(total.numpy(), np.float32)

    return vectors_of


def read_caption_texts(data: Path) -> list[str]:
    """Every text of the training packs (`train_*.npz`) in a folder.

    Raises:
        EngineError: There are none.
    """
    packs = sorted(data.glob("train_*.npz"))
    if not packs:
        raise EngineError(f"There are no packs train_*.npz in {data}.")
    return [text for pack in packs for text in caption_texts(read_metas(pack))]


def distill(
    sentence_encoder: Path, wordnet: Path, data: Path, out: Path, config: DistillConfig | None = None
) -> dict[str, SynonymScore]:
    """Make the table and measure it.

    Args:
        sentence_encoder: Folder of the encoder, with its `vocab.txt`.
        wordnet: Folder of WordNet's files.
        data: Folder of the training packs.
        out: Gets `table/` (the table and its vocabulary), and an encoder to start training from: `text_encoder/`, its transformer
            untrained, and `tokenizer/`.
        config: None for the starter's.

    Returns:
        Scores on unseen synonyms of the "table" and of the sentence "encoder" itself.

    Raises:
        EngineError: Something needed is missing.
    """
    config = config or DistillConfig()
    texts = read_caption_texts(data)
    try:
        pieces = (sentence_encoder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise EngineError(f"There is no sentence encoder in {sentence_encoder}: it needs vocab.txt.") from error
    lexicon = choose_entries(pieces, texts, wordnet)
    encode = load_sentence_encoder(sentence_encoder, config.batch)
    rows = reduce_rows(*encode_entries(lexicon, encode), lexicon, config)
    save_table(out / "table", StarterTokenizer([*SPECIAL_TOKENS, *lexicon.entries]), rows)
    torch.manual_seed(config.seed)
    encoder, tokenizer = new_text_encoder(out / "table")
    encoder.save_pretrained(out / "text_encoder")
    tokenizer.save_pretrained(out / "tokenizer")
    words = sorted({word for text in texts for word in split_words(text) if word.isascii()})
    return {
        "table": score_synonyms(mean_rows(out / "table"), words),
        "encoder": score_synonyms(lambda asked: np.asarray(encode(asked).numpy(), np.float32), words),
    }
