"""Find words that may stand for the bank's nouns, by WordNet: "cask" for "barrel", "hatchet" for "axe".

WordNet: Miller 1995. Read from its plain files (index.noun, data.noun), as Debian's `wordnet-base` installs them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import EngineError
from ..text.lexicon import ANY_SENSE, ARTIFACT, FIRST_SENSE, count_pieces

SAME = 0.97
"""Similarity of two words with one meaning; the same word is 1."""

NARROWER, BROADER, SIBLING = (0.9, 0.83, 0.76), (0.84, 0.74), 0.57
"""Similarity of a word to a hypernym, by the steps between them ("hatchet" to "axe"); to a hyponym ("aircraft" to "aeroplane");
and to a sibling under one hypernym ("toadstool" to "mushroom")."""

DEFINED = 0.72
"""Similarity to a cousin in whose definition the word occurs ("toadstool: ... contrasting with the edible mushroom")."""

COMPOUND = 0.95
"""Similarity of a compound to its last word, if it is a kind of it: "treasure chest" to "chest"."""

LATER_SENSE, RARE_SENSE = 0.98, 0.95
"""Factor per earlier meaning of a word, and a further factor for each meaning from the third on: a dog is also a sausage, but
hardly ever."""

FAMILY, KINDS = 40, 250
"""Number of words under a hypernym above which they are not siblings, and above which the hypernym is too broad to use."""

KEPT, PIECES, PIECES_IF_NEAR = 5, 2, 4
"""Nouns of the bank that a word leads to, at most; and word-pieces that it may fall into: Latin names fall into more, but a
word of the same meaning may be one."""


@dataclass(frozen=True)
class Meaning:
    """A synset: its words, most usual first, the wider meanings it falls under, and its definition."""

    file: int
    lemmas: tuple[str, ...]
    wider: tuple[str, ...]
    definition: str


class WordNet:
    """The nouns.

    Args:
        folder: Folder of `index.noun` and `data.noun`.

    Raises:
        EngineError: The files are not there.
    """

    def __init__(self, folder: Path) -> None:
        try:
            data = (folder / "data.noun").read_text(encoding="utf-8").splitlines()
            index = (folder / "index.noun").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise EngineError(f"There is no WordNet in {folder}: it needs index.noun and data.noun.") from error
        self.meanings: dict[str, Meaning] = {}
        self.narrower: dict[str, list[str]] = defaultdict(list)
        for line in data:
            if line.startswith("  "):
                continue  # the licence
            head, _, definition = line.partition(" | ")
            fields = head.split()
            count = int(fields[3], 16)
            links = fields[5 + 2 * count :]
            wider = tuple(links[4 * i + 1] for i in range(int(fields[4 + 2 * count])) if links[4 * i] == "@")
            lemmas = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
            self.meanings[fields[0]] = Meaning(int(fields[1]), lemmas, wider, definition.partition('; "')[0].lower())
            for other in wider:
                self.narrower[other].append(fields[0])
        self._senses: dict[str, list[str]] = {}
        for line in index:
            if not line.startswith("  "):
                fields = line.split()
                self._senses[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]

    def senses(self, word: str) -> list[str]:
        """Keys of all meanings of a word, the most usual first."""
        return self._senses.get(word, [])

    def seen(self, word: str) -> list[tuple[str, float]]:
        """Meanings of a word that one can see, with what is left of each after the earlier ones; else of its singular."""
        for form in (word, *singulars(word)):
            found = [
                (key, LATER_SENSE**rank * rare(rank))
                for rank, key in enumerate(self.senses(form))
                if self.meanings[key].file in ANY_SENSE or (rank == 0 and self.meanings[key].file in FIRST_SENSE)
            ]
            if found:
                return found
        return []

    def below(self, key: str, depth: int) -> Iterator[tuple[str, int]]:
        """Narrower meanings with their distance, 1 up to `depth`."""
        level, known = [key], {key}
        for distance in range(1, depth + 1):
            level = [other for one in level for other in self.narrower[one] if other not in known]
            known.update(level)
            yield from ((other, distance) for other in dict.fromkeys(level))

    def above(self, key: str, depth: int) -> Iterator[tuple[str, int]]:
        """Wider meanings with their distance, 1 up to `depth`, as long as they say enough."""
        level = [key]
        for distance in range(1, depth + 1):
            level = [other for one in level for other in self.meanings[one].wider if self._says_enough(other)]
            yield from ((other, distance) for other in dict.fromkeys(level))

    def _says_enough(self, key: str) -> bool:
        return sum(1 for _ in zip(self.below(key, 20), range(KINDS + 1), strict=False)) <= KINDS

    def near(self, key: str) -> Iterator[tuple[str, float]]:
        """Meanings whose words may stand for this one, and how near they are; it is its own nearest."""
        yield key, SAME
        if self.meanings[key].file != ARTIFACT or self._says_enough(key):
            yield from ((other, NARROWER[steps - 1]) for other, steps in self.below(key, len(NARROWER)))
        yield from ((other, BROADER[steps - 1]) for other, steps in self.above(key, len(BROADER)))
        for parent, _ in self.above(key, 1):
            if len(self.narrower[parent]) <= FAMILY:
                yield from ((other, SIBLING) for other in self.narrower[parent] if other != key)
        for parent, _ in self.above(key, 1):
            for other, _ in self.below(parent, 2):
                words = set(re.findall("[a-z]+", self.meanings[other].definition))
                if other != key and words & set(self.meanings[key].lemmas):
                    yield other, DEFINED


def related_nouns(nouns: Iterable[str], wordnet: WordNet, vocabulary: set[str]) -> dict[str, dict[str, float]]:
    """For each word that may stand for some of the bank's nouns: those nouns, and how near each is, in (0, 1).

    Args:
        nouns: Words and phrases of the bank, lower case.
        wordnet: Tells which words are related.
        vocabulary: Words and word-pieces ("##s").
    """
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for noun in sorted(set(nouns)):
        for key, left in wordnet.seen(noun):
            for other, near in wordnet.near(key):
                for lemma in wordnet.meanings[other].lemmas:
                    if not re.fullmatch("[a-z]+( [a-z]+){0,2}", lemma) or lemma == noun:
                        continue
                    most = PIECES_IF_NEAR if near in (SAME, DEFINED) else PIECES
                    if any(count_pieces(part, vocabulary) > most for part in lemma.split()):
                        continue
                    ranks = [rank for rank, sense in enumerate(wordnet.senses(lemma)) if sense == other]
                    score = near * left * rare(ranks[0]) if ranks else 0.0
                    if lemma.endswith(f" {noun}") and score >= NARROWER[-1] * LATER_SENSE**4:
                        score = COMPOUND
                    if score > found[lemma].get(noun, 0.0):
                        found[lemma][noun] = round(score, 2)
    return {
        lemma: dict(sorted(nouns_of.items(), key=lambda pair: (-pair[1], pair[0]))[:KEPT])
        for lemma, nouns_of in sorted(found.items())
        if nouns_of
    }


def rare(rank: int) -> float:
    """Factor of a word's meaning of this rank, from 0, for being rare."""
    return RARE_SENSE ** max(0, rank - 1)


def singulars(word: str) -> list[str]:
    """Possible singulars of a plural, the likeliest first; empty for other words."""
    if word.endswith("ies") and len(word) > 4:
        return [word[:-3] + "y"]
    if word.endswith("ves"):
        return [word[:-3] + "f", word[:-3] + "fe", word[:-1]]
    if word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return [word[:-2], word[:-1]]
    return [word[:-1]] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else []
