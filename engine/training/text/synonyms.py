"""Measure how well word vectors know synonyms: words that the training captions never use, and the caption words they mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("settee", ("sofa", "couch")), ("automobile", ("car", "sedan")), ("lorry", ("truck",)), ("crimson", ("red",)),
    ("scarlet", ("red",)), ("azure", ("blue",)), ("emerald", ("green",)), ("footstool", ("stool",)),
    ("bookrack", ("bookshelf", "bookcase")), ("refrigerator", ("fridge",)), ("steed", ("horse",)), ("canine", ("dog",)),
    ("feline", ("cat",)), ("hound", ("dog",)), ("kitten", ("cat",)), ("bunny", ("rabbit",)), ("hog", ("pig",)),
    ("doughnut", ("donut",)), ("hamburger", ("burger",)), ("maize", ("corn",)), ("toadstool", ("mushroom",)),
    ("boulder", ("rock", "stone")), ("shrub", ("bush",)), ("tombstone", ("gravestone",)), ("cask", ("barrel",)),
    ("casket", ("coffin", "chest")), ("handgun", ("pistol",)), ("firearm", ("gun", "rifle", "pistol")), ("hatchet", ("axe",)),
    ("dagger", ("knife",)), ("spade", ("shovel",)), ("spacecraft", ("spaceship",)), ("cottage", ("house",)),
    ("citadel", ("castle", "fortress", "fort")), ("armoire", ("wardrobe",)), ("lavatory", ("toilet", "bathroom")),
    ("tap", ("faucet",)), ("rug", ("carpet",)), ("telly", ("television", "tv")), ("notebook", ("laptop", "book")),
    ("bicycle", ("bike",)), ("motorcycle", ("motorbike",)), ("aeroplane", ("plane", "airplane")), ("vessel", ("ship", "boat")),
    ("mug", ("cup",)), ("cranium", ("skull",)), ("elixir", ("potion",)), ("aubergine", ("eggplant",)), ("bucket", ("pail",)),
    ("staircase", ("stairs",)), ("chaise", ("chair", "lounge")), ("cot", ("bed",)), ("loo", ("toilet",)), ("ashen", ("gray",)),
    ("violet", ("purple",)), ("trash can", ("trashcan",)), ("pail", ("bucket",)), ("hoover", ("vacuum",)),
)  # fmt: skip
"""A word, and the answers that count. Which of them can be asked depends on the captions: see `usable_pairs`."""


@dataclass(frozen=True)
class SynonymScore:
    """Shares, 0..1, over `asked` words whose best answer, or one of whose five best, is right; and the words missed at five."""

    top1: float
    top5: float
    asked: int
    missed: tuple[str, ...]


def usable_pairs(caption_words: Collection[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The pairs whose question is no caption word and one of whose answers is."""
    return [(word, known) for word, answers in PAIRS if word not in caption_words
            and (known := tuple(a for a in answers if a in caption_words))]  # fmt: skip


def score_synonyms(
    vectors_of: Callable[[Sequence[str]], npt.NDArray[np.float32]], caption_words: Sequence[str], centre: bool = True
) -> SynonymScore:
    """Ask every usable pair: which caption words are nearest (cosine) to the unseen word?

    Args:
        vectors_of: Words to vectors [N, D].
        caption_words: The possible answers.
        centre: Take the mean of the answers' vectors off first, which helps any encoder whose vectors share a direction.
    """
    pairs = usable_pairs(frozenset(caption_words))
    questions, answers = vectors_of([word for word, _ in pairs]), vectors_of(caption_words)
    if centre:
        mean = answers.mean(0)
        questions, answers = questions - mean, answers - mean
    questions = questions / np.linalg.norm(questions, axis=1, keepdims=True).clip(1e-9)
    answers = answers / np.linalg.norm(answers, axis=1, keepdims=True).clip(1e-9)
    best = np.argsort(-questions @ answers.T, axis=1, kind="stable")[:, :5]
    first = sum(caption_words[row[0]] in right for (_, right), row in zip(pairs, best, strict=True))
    wrong = [word for (word, right), row in zip(pairs, best, strict=True) if not {caption_words[i] for i in row} & set(right)]
    return SynonymScore(first / len(pairs), 1 - len(wrong) / len(pairs), len(pairs), tuple(wrong))
