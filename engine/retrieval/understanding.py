"""Which words of a prompt are understood: English ones, those of other languages by the word list, and near misses."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import InvalidRequestError
from ..multiview.text.tokenizer import split_words
from .colours import split_colours
from .prompts import MATERIALS, SMALL_WORDS, read_prompt
from .translation import LANGUAGES, WordList

MIN_TYPO_LETTERS = 4
NOUN_LIKENESS, TYPO_LIKENESS = 0.75, 0.86
"""Likeness (difflib's ratio) of a misspelt word to the noun of the bank, or to the other known word, that it is read as."""

SHOWN_CHARACTERS = 40
"""Length to which a prompt is cut in a message."""


@dataclass(frozen=True)
class Reading:
    """A prompt as it is understood.

    Attributes:
        text: The prompt in English, misspelt words mended.
        unknown: Words that are not understood.
        names_thing: Whether the word that says what the object is is understood.
        is_changed: Whether `text` has other words than the prompt.
    """

    text: str
    unknown: tuple[str, ...]
    names_thing: bool
    is_changed: bool

    @property
    def note(self) -> str:
        """A sentence for the artist if the prompt was not understood word for word; else ""."""
        if self.unknown:
            return f'Understood "{self.text}", but not {_quoted(self.unknown)}: say it in other words if it matters.'
        return f'Understood the prompt as "{self.text}".' if self.is_changed else ""

    def require_thing(self, prompt: str) -> None:
        """Raise `InvalidRequestError`, in one sentence, if nothing is named."""
        if not self.names_thing:
            shown = prompt.strip() if len(prompt.strip()) <= SHOWN_CHARACTERS else prompt.strip()[:SHOWN_CHARACTERS] + "..."
            spoken = ", ".join(list(LANGUAGES.values())[:-1]) + f" or {list(LANGUAGES.values())[-1]}"
            raise InvalidRequestError(
                f'No word of "{shown}" names a thing that is known: '
                f"write what it is in English, {spoken}, such as: a red armchair."
            )


class PromptReader:
    """Reads prompts.

    Args:
        nouns: Words of the bank, the likeliest corrections of a misspelt one.
        related: Words that may stand for them.
        vocabulary: English words with a meaning, and word-pieces.
        words: Words of other languages; None for none.
    """

    def __init__(
        self, nouns: Collection[str], related: Collection[str], vocabulary: Collection[str], words: WordList | None = None
    ) -> None:
        self._nouns = tuple(dict.fromkeys(nouns))
        self._related, self._vocabulary, self._words = frozenset((*nouns, *related)), vocabulary, words

    def read(self, prompt: str) -> Reading:
        """The prompt as it is understood."""
        text, language = prompt, ""
        unknown: tuple[str, ...] = ()
        if self._words is not None:
            translation = self._words.translate(prompt, self._is_listed)
            text, language = translation.text, translation.language
            unknown = translation.unknown if language else ()
        if not language:
            text = self._corrected(prompt)
            unknown = tuple(word for word in split_words(text) if not self._is_known(word))
        thing = read_prompt(text).thing
        is_phrase = any(" ".join(thing[i:]) in self._related for i in range(len(thing)))
        named = is_phrase or (bool(thing) and self._is_known(thing[-1]))
        return Reading(text, tuple(dict.fromkeys(unknown)), named, split_words(text) != split_words(prompt))

    def _is_listed(self, word: str) -> bool:
        """Whether English has a word: a narrow sense that leaves words of other languages to them."""
        return word in self._related or word in SMALL_WORDS or word in MATERIALS or bool(split_colours(word)[0])

    def _is_known(self, word: str) -> bool:
        return self._is_listed(word) or word.isdigit() or (len(word) > 1 and word.isascii() and word in self._vocabulary)

    def _corrected(self, prompt: str) -> str:
        """The prompt with each misspelt word replaced by the known word that is most like it."""
        text = prompt
        for word in dict.fromkeys(split_words(prompt)):
            if len(word) < MIN_TYPO_LETTERS or not word.isascii() or not word.isalpha() or self._is_known(word):
                continue
            if word.endswith("s") and self._is_known(word[:-1]):
                continue
            found = _most_alike(word, self._nouns, NOUN_LIKENESS) or _most_alike(word, self._related, TYPO_LIKENESS)
            if found:
                text = " ".join(found if part == word else part for part in split_words(text))
        return text


def _most_alike(word: str, known: Collection[str], likeness: float) -> str:
    """The known word of the same first letter and nearly the same length that is most like a misspelt one; "" if none is."""
    near = [other for other in known if other[:1] == word[0] and other.isalpha() and abs(len(other) - len(word)) <= 1]
    return next(iter(difflib.get_close_matches(word, sorted(near), 1, likeness)), "")


def _quoted(words: Collection[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)
