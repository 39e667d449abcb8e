"""Read prompts in other languages: a list of words for the bank's things, colours and materials, and light stemming.

The list holds dictionary forms. Endings are cut from both sides before they are compared, so that inflected forms are found;
Chinese, which has no spaces, is cut into the longest known words, and German compounds into their known parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..multiview.text.tokenizer import split_words

LANGUAGES = {"ru": "Russian", "de": "German", "fr": "French", "es": "Spanish", "zh": "Chinese"}
LONGEST_PHRASE = 3
MIN_STEM, MIN_PART = 3, 3
"""Letters that stay of a word when its ending is cut, and letters of a part of a German compound."""

_ENDINGS = {
    "ru": (
        "иями ями ами ыми ими его ого ему ому ыи ии ои еи ая яя ое ее ые ие ую юю ом ем ою ею ых их ым им "  # noqa: RUF001
        "ах ях ов ев ам ям а я о е ы и у ю ь"  # noqa: RUF001
    ),
    "de": "ern en em er es e n s",
    "fr": "es s x e",
    "es": "es as os s a o e",
    "zh": "",
}  # fmt: skip
_CUT = {code: tuple(sorted(set(text.split()), key=len, reverse=True)) for code, text in _ENDINGS.items()}
_FLEETING = re.compile(r"[ое](?=[^аеиоуыэюя]$)")  # noqa: RUF001
"""A vowel that comes and goes before the last consonant of a Russian stem: "замок", "замка"."""


@dataclass(frozen=True)
class Translation:
    """A prompt in English.

    Attributes:
        text: The prompt, its known words in English; the prompt itself if it is English.
        language: Key of `LANGUAGES`; empty for English.
        unknown: Words that the list lacks.
    """

    text: str
    language: str
    unknown: tuple[str, ...]


class WordList:
    """Words of other languages for English ones.

    Args:
        rows: English text, and for each language of `LANGUAGES` its words or phrases, keyed by the language.
    """

    def __init__(self, rows: list[tuple[str, dict[str, list[str]]]]) -> None:
        self._whole: dict[str, dict[str, str]] = {code: {} for code in LANGUAGES}
        self._stems: dict[str, dict[str, str]] = {code: {} for code in LANGUAGES}
        for english, words in rows:
            for code, phrases in words.items():
                for phrase in phrases:
                    plain = split_words(phrase)
                    self._whole[code].setdefault(" ".join(plain), english)
                    self._stems[code].setdefault(" ".join(stem(word, code) for word in plain), english)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the list: a header of languages, then one English text a line with its words, separated by tabs and commas.

        Raises:
            OSError: The file cannot be read.
            ValueError: A line has another number of columns.
        """
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        codes = header.split("\t")[1:]
        rows = []
        for line in lines:
            english, *cells = line.split("\t")
            words = {code: cell.split(", ") for code, cell in zip(codes, cells, strict=True) if cell != "-"}
            rows.append((english, words))
        return cls(rows)

    def translate(self, prompt: str, is_english: Callable[[str], bool]) -> Translation:
        """The prompt in English, by the language that knows most of its words.

        Args:
            prompt: The prompt.
            is_english: Whether English has a word.
        """
        words = split_words(prompt)
        english = sum(map(is_english, words))
        best = Translation(prompt, "", tuple(word for word in words if not is_english(word)))
        # Words that are English, too, are read as English only if they stand alone: "pan", but "chaise rouge".
        most = max(english - 0.5, 0.0) if english < len(words) or len(words) > 1 else float(english)
        for code in LANGUAGES:
            parts, count = self._read(words, code)
            if count > most:
                unknown = tuple(word for word, text in parts if text is None and not is_english(word))
                text = " ".join(text or word for word, text in parts if text or is_english(word))
                best, most = Translation(text, code, unknown), count
        return best

    def _read(self, words: list[str], code: str) -> tuple[list[tuple[str, str | None]], int]:
        """Words with their English, None where the list lacks them, and the number of words that it has."""
        if code == "zh":
            return self._read_chinese(words)
        parts: list[tuple[str, str | None]] = []
        known = start = 0
        while start < len(words):
            for count in range(min(LONGEST_PHRASE, len(words) - start), 0, -1):
                some = words[start : start + count]
                text = self._find(some, code)
                if text is not None:
                    break
            parts.append((" ".join(some), text))
            known += count if text is not None else 0
            start += count
        return parts, known

    def _find(self, words: list[str], code: str) -> str | None:
        found = self._find_form(words, code)
        return self._compound(words[0]) if found is None and code == "de" and len(words) == 1 else found

    def _find_form(self, words: list[str], code: str) -> str | None:
        """English of words as they stand, else without their endings, else without two: "grün" itself seems to end in one."""
        forms = [words]
        for _ in range(2):
            forms.append([stem(word, code) for word in forms[-1]])
        whole, stems = self._whole[code], self._stems[code]
        keys = [" ".join(form) for form in forms]
        return next((found for key in keys if (found := whole.get(key) or stems.get(key))), None)

    def _compound(self, word: str) -> str | None:
        """English of a German compound of two known parts ("Holzstuhl")."""
        for cut in range(MIN_PART, len(word) - MIN_PART + 1):
            last = self._find_form([word[cut:]], "de")
            first = self._find_form([word[:cut]], "de")
            if last and first:
                return f"{first} {last}"
        return None

    def _read_chinese(self, words: list[str]) -> tuple[list[tuple[str, str | None]], int]:
        """The longest known words, left to right; each run of characters counts as a word."""
        listed, parts, known = self._whole["zh"], list[tuple[str, str | None]](), 0
        longest = max(map(len, listed), default=0)
        for run in words:
            start, found = 0, False
            while start < len(run):
                for end in range(min(len(run), start + longest), start, -1):
                    if run[start:end] in listed:
                        break
                text = listed.get(run[start:end])
                found = found or text is not None
                parts.append((run[start:end], text))
                start = end
            known += found
        return parts, known


def stem(word: str, code: str) -> str:
    """The word without its ending; what is left need not be a word."""
    for ending in _CUT[code]:
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM:
            word = word.removesuffix(ending)
            break
    return _FLEETING.sub("", word) if code == "ru" and len(word) > MIN_STEM else word
