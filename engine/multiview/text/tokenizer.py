"""Prompts to token numbers: pure Python, no network, no dependency but torch for the tensor it returns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import WeightsError

VOCABULARY_FILE = "vocab.txt"
PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
SPECIAL_TOKENS = (PAD, UNKNOWN, START)
"""The first entries of every vocabulary: their numbers are 0, 1 and 2."""

MAX_CHARACTERS = 2000
"""A prompt is cut here before anything else: more than 24 tokens can hold, and a bound on the time a pasted book takes."""

_POSSESSIVE = re.compile(r"['\u2019]s\b")
_WORD = re.compile(r"[^\W_]+")


def split_words(text: str) -> list[str]:
    """Lower-case words of a text: no accents, punctuation and hyphens taken as spaces ("Low-poly café's" -> low, poly, cafe)."""
    plain = _POSSESSIVE.sub("", text[:MAX_CHARACTERS].casefold())
    plain = unicodedata.normalize("NFKD", plain).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return _WORD.findall(plain)


class StarterTokenizer:
    """Longest-match tokens over words, phrases and word-pieces.

    At each word the longest phrase of the vocabulary that starts there wins ("traffic light"), then the whole word, then
    word-pieces as BERT cuts them (first "footstool", else "foot", "##stool"). A word with letters of another script is [UNK], and
    so is a run of such words.

    Args:
        entries: The vocabulary in the order of its numbers, starting with `SPECIAL_TOKENS`. "##" marks a piece inside a word.
        model_max_length: Tokens of a prompt, [CLS] included; what is over is cut off.

    Raises:
        ValueError: The special tokens are not the first entries, or an entry occurs twice.
    """

    def __init__(self, entries: Sequence[str], model_max_length: int = 24) -> None:
        if tuple(entries[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise ValueError(f"entries: expected to start with {SPECIAL_TOKENS}, got {tuple(entries[: len(SPECIAL_TOKENS)])}")
        self.entries = tuple(entries)
        self.numbers = {entry: number for number, entry in enumerate(self.entries)}
        if len(self.numbers) != len(self.entries):
            raise ValueError(f"entries: {len(self.entries) - len(self.numbers)} occur twice")
        self.model_max_length = model_max_length
        self._longest_entry = max(len(entry) for entry in self.entries)
        self._longest_phrase = max(entry.count(" ") + 1 for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Token numbers, int64 [B, model_max_length]: [CLS], the tokens, 0 for padding."""
        rows = torch.zeros(len(prompts), self.model_max_length, dtype=torch.int64)
        for row, prompt in zip(rows, prompts, strict=True):
            tokens = [START, *self.tokenize(prompt)][: self.model_max_length]
            row[: len(tokens)] = torch.tensor([self.numbers[token] for token in tokens])
        return rows

    def tokenize(self, prompt: str) -> list[str]:
        """The tokens of a prompt without [CLS], as entries of the vocabulary; not cut to length."""
        words = split_words(prompt)
        tokens: list[str] = []
        start = 0
        while start < len(words):
            for count in range(min(self._longest_phrase, len(words) - start), 1, -1):
                phrase = " ".join(words[start : start + count])
                if phrase in self.numbers:
                    tokens.append(phrase)
                    break
            else:
                count = 1
                pieces = self._pieces(words[start])
                if pieces != [UNKNOWN] or tokens[-1:] != [UNKNOWN]:
                    tokens += pieces
            start += count
        return tokens

    def _pieces(self, word: str) -> list[str]:
        """One word, longest piece first; [UNK] if any part of it is unknown."""
        pieces, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            for end in range(min(len(word), start + self._longest_entry), start, -1):
                if mark + word[start:end] in self.numbers:
                    break
            else:
                return [UNKNOWN]
            pieces.append(mark + word[start:end])
            start = end
        return pieces

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `vocab.txt`, one entry a line, into `folder` (made if need be)."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / VOCABULARY_FILE).write_text("\n".join(self.entries) + "\n", encoding="utf-8", newline="\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> StarterTokenizer:
        """The tokenizer whose `vocab.txt` is in `folder`.

        Raises:
            WeightsError: The file is missing or is not such a vocabulary.
        """
        path = Path(folder) / VOCABULARY_FILE
        try:
            return cls(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        except FileNotFoundError as error:
            raise WeightsError(f"The text encoder's vocabulary is missing: {path}.") from error
        except ValueError as error:
            raise WeightsError(f"{path} is not a vocabulary of the starter ({error}).") from error
