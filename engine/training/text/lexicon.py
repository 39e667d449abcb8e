"""The entries of the starter's vocabulary, and the texts given to the sentence encoder for each.

Entries are words, word-pieces ("##s") and a few phrases ("traffic light"). They come from three lists: the sentence encoder's own
word-piece vocabulary, the captions of the training objects, and the nouns of WordNet that name something one can see. Such a noun
also gets a definition, because a sentence encoder that meets "settee" on its own has only three odd pieces to go by.

WordNet: Miller 1995. Read from its plain files (data.noun, index.noun, ...), as Debian's `wordnet-base` installs them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import EngineError
from ...multiview.text.tokenizer import SPECIAL_TOKENS, split_words

ANIMAL, ARTIFACT, ATTRIBUTE, BODY, FOOD, OBJECT, PERSON, PLANT, SHAPE, SUBSTANCE = 5, 6, 7, 8, 13, 17, 18, 20, 25, 27
"""Numbers of WordNet's noun files (lexnames(5WN)) whose members can be seen."""

ANY_SENSE = frozenset({ANIMAL, ARTIFACT, FOOD, PLANT})
FIRST_SENSE = frozenset({BODY, OBJECT, PERSON, SHAPE, SUBSTANCE})
DEFINITION_WORDS = 10
SENSES = 2
"""Senses of a noun that are defined, at most: a chest is a part of the body and a box."""

MAX_PIECES = {ARTIFACT: 4, FOOD: 3, ATTRIBUTE: 3, SHAPE: 3, ANIMAL: 2, BODY: 2, PLANT: 2}
"""Word-pieces that a noun may fall into and still be common enough to keep; 1 for the other files. Latin names fall into many."""


@dataclass
class Lexicon:
    """Chosen entries, the most frequent first within each list.

    Attributes:
        entries: Words, pieces and phrases, without the special tokens.
        definitions: Entry to one or two short texts that define it, for nouns one can see.
    """

    entries: list[str]
    definitions: dict[str, list[str]] = field(default_factory=dict)


def caption_texts(metas: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every text that training may use as a prompt: captions, short captions, categories, tags."""
    return [text for meta in metas for text in (meta["caption"], meta["caption_short"], meta["category"], *meta["tags"])]


def read_noun_definitions(wordnet: Path) -> dict[str, tuple[int, list[str]]]:
    """Nouns one can see.

    Args:
        wordnet: Folder of `index.noun` and `data.noun`.

    Returns:
        Lower-case lemma (spaces between words) to the number of the noun file of its first sense that one can see, and its
        first two such senses, each as "lemma, other lemmas: gloss".

    Raises:
        EngineError: The files are not there.
    """
    try:
        data = (wordnet / "data.noun").read_text(encoding="utf-8").splitlines()
        index = (wordnet / "index.noun").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise EngineError(f"There is no WordNet in {wordnet}: it needs index.noun and data.noun.") from error
    synsets = {}
    for line in data:
        if line.startswith("  "):
            continue  # the licence
        head, _, gloss = line.partition(" | ")
        fields = head.split(" ")
        lemmas = [fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))]
        synsets[fields[0]] = (int(fields[1]), lemmas, gloss.split(";")[0].strip(" ():"))
    found: dict[str, tuple[int, list[str]]] = {}
    for line in index:
        if line.startswith("  "):
            continue
        fields = line.split()
        lemma = fields[0].replace("_", " ")
        for sense, offset in enumerate(fields[-int(fields[2]) :]):
            number, lemmas, gloss = synsets[offset]
            colour = number == ATTRIBUTE and "color" in gloss
            if lemma in lemmas and (number in ANY_SENSE or colour or (sense == 0 and number in FIRST_SENSE)):
                others = [other for other in lemmas if other != lemma][:2]
                text = ", ".join([lemma, *others]) + ": " + " ".join(gloss.split()[:DEFINITION_WORDS])
                texts = found.setdefault(lemma, (number, []))[1]
                texts.append(text)
                if len(texts) == SENSES:
                    break
    return found


def read_lower_case_words(wordnet: Path) -> set[str]:
    """Single words of all four parts of speech that WordNet does not write with a capital, and irregular forms (mice, ran)."""
    words: set[str] = set()
    for part in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):
                fields = line.split(" ", 4 + 2 * 64)
                words.update(re.sub(r"\(.*\)$", "", fields[4 + 2 * i]) for i in range(int(fields[3], 16)))
        exceptions = wordnet / f"{part}.exc"
        if exceptions.exists():
            words.update(line.split()[0] for line in exceptions.read_text(encoding="utf-8").splitlines() if line)
    return {word for word in words if re.fullmatch("[a-z]+", word)}


def is_form_of(word: str, known: set[str]) -> bool:
    """Whether `word` or what it is regularly made from (chairs, painted, wooden) is known."""
    if word in known:
        return True
    for ending, bases in (("s", ("",)), ("es", ("",)), ("ies", ("y",)), ("ed", ("", "e")), ("ing", ("", "e")), ("er", ("", "e")),
                          ("est", ("", "e")), ("ly", ("",))):  # fmt: skip
        if word.endswith(ending) and any(word[: -len(ending)] + base in known for base in bases):
            return True
    return False


def choose_entries(pieces: Sequence[str], texts: Iterable[str], wordnet: Path, common: int = 1000) -> Lexicon:
    """The starter's vocabulary.

    Args:
        pieces: The sentence encoder's word-piece vocabulary (lower-cased BERT), frequent words first.
        texts: Every text of the training objects.
        wordnet: Folder of WordNet's files.
        common: Whole words of `pieces` kept without asking WordNet (the, with, his).

    Raises:
        EngineError: WordNet's files are not there.
    """
    nouns = read_noun_definitions(wordnet)
    known = read_lower_case_words(wordnet)
    counts: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for text in texts:
        words = split_words(text)
        counts.update(words)
        pairs.update(" ".join(words[i : i + n]) for n in (2, 3) for i in range(len(words) - n + 1))

    whole = [piece for piece in pieces if re.fullmatch("[a-z]+|[0-9]{1,2}", piece)]
    kept = dict.fromkeys(
        word for i, word in enumerate(whole) if i < common or len(word) == 1 or word in counts or is_form_of(word, known)
    )
    kept.update(dict.fromkeys(word for word, _ in counts.most_common() if word.isascii()))
    available = set(pieces)
    for lemma, (number, _) in nouns.items():
        words = lemma.split(" ")
        if re.fullmatch("[a-z]+", lemma):
            if len(lemma) > 2 and count_pieces(lemma, available) <= MAX_PIECES.get(number, 1):
                kept.setdefault(lemma)
        elif re.fullmatch("[a-z]+( [a-z]+){1,2}", lemma) and (
            pairs[lemma] >= 2 or (number in (ARTIFACT, FOOD) and len(words) == 2 and all(word in counts for word in words))
        ):
            kept.setdefault(lemma)
    kept.update(dict.fromkeys(piece for piece in pieces if re.fullmatch("##([a-z]+|[0-9])", piece)))
    for special in SPECIAL_TOKENS:
        kept.pop(special, None)
    return Lexicon(list(kept), {entry: nouns[entry][1] for entry in kept if entry in nouns})


def count_pieces(word: str, available: set[str]) -> int:
    """Word-pieces that greedy longest-first matching makes of a word; a large number if it cannot."""
    start = count = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if ("##" if start else "") + word[start:end] in available:
                break
        else:
            return 1000
        start, count = end, count + 1
    return count
