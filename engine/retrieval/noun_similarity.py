"""Similarity of the nouns of stored examples to the noun of a prompt, by word vectors and by WordNet.

The word vectors place "sofa" near "couch", but also near "pillow"; WordNet (read by `train examples`) knows that a settee is a
sofa. The greater of the two similarities counts, and the noun counts more than the words that describe it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..multiview.text.encoder import TokenTable
from ..multiview.text.tokenizer import SPECIAL_TOKENS, StarterTokenizer
from .prompts import ParsedPrompt

RelatedNouns = Mapping[str, Mapping[str, float]]
"""A word, and the nouns of the bank that it may stand for, each with how near it is, in (0, 1)."""

HEAD_SHARE = 0.75
"""Weight of the head of the noun phrase; the words before it get the rest."""

COVERED_SHARE = 0.8
"""Weight of the prompt's words being found in the example; the rest is for the example's words being in the prompt."""

BESIDE, TAGGED = 0.9, 0.86
"""Factors of a match with a word that is not the example's head, and with one of its tags."""

VARIANT = 0.3
"""Weight of words that only name a variant, if a head is given ("spaceship fernando flamingo")."""

MEANING_SHARE = 0.25
"""Influence of the word vectors on related words: they know the usual meaning of a word."""

LONGEST_PHRASE = 3

PHRASES = frozenset({"corn dog", "hot dog", "swimming pool", "pool table"})
"""Names of things that are no kind of their last word."""


class NounIndex:
    """The nouns of the examples, as words with meanings.

    Args:
        nouns: Each example's noun phrase; its last word is the head unless `heads` says otherwise.
        heads: The word of each noun phrase that says what the example is; empty if that is the last word.
        tags: Further words of each example, which count less.
        related: Nouns that each word may stand for; may be empty.
        tokenizer, table: The tokenizer and word vectors.
    """

    def __init__(
        self, nouns: Sequence[str], heads: Sequence[str], tags: Sequence[str], related: RelatedNouns,
        tokenizer: StarterTokenizer, table: TokenTable,
    ) -> None:  # fmt: skip
        self._related, self._tokenizer, self._table = related, tokenizer, table
        self._numbers: dict[str, int] = {}
        noun_words = [self.words(noun.lower().split()) for noun in nouns]
        tag_words = [
            [word for word in self.words(text.lower().split()) if word not in own]
            for text, own in zip(tags, noun_words, strict=True)
        ]
        for words in (*noun_words, *tag_words):
            for word in words:
                self._numbers.setdefault(word, len(self._numbers))
        self._known = list(self._numbers)
        self._units, lengths = self._vectors(self._known)
        self._noun_ids, self._tag_ids = self._padded(noun_words), self._padded(tag_words)
        self._lengths = torch.cat([lengths, torch.zeros(1)])[self._noun_ids]
        share = torch.zeros(self._noun_ids.shape)
        for row, (words, head) in enumerate(zip(noun_words, heads, strict=True)):
            place = words.index(head) if head in words else len(words) - 1
            share[row, : len(words)] = BESIDE
            if words:
                share[row, place] = 1.0
            if head in words:
                self._lengths[row, [i for i in range(len(words)) if i != place]] *= VARIANT
        self._head_share = share

    def similarities(self, parsed: ParsedPrompt) -> Tensor:
        """Similarity of each example to the prompt, float32 [N], at most 1; 0 if the prompt names no thing."""
        thing, rest = self.words(parsed.thing), self.words(parsed.rest)
        if not thing:
            return torch.zeros(len(self._noun_ids))
        beside = thing[-1].split()[:-1] if thing[-1] not in self._numbers else []  # of a phrase that the bank does not know
        others = [*thing[:-1], *beside, *rest]
        near = self._nearness([thing[-1], *others])  # [P, U + 1]
        by_noun, by_tag = near[:, self._noun_ids], near[:, self._tag_ids]  # [P, N, C]
        head = torch.maximum((by_noun[0] * self._head_share).amax(1), TAGGED * by_tag[0].amax(1))
        covered = head
        if others:
            _, weights = self._vectors(others)
            best = torch.maximum(by_noun[1:].amax(2), by_tag[1:].amax(2))
            described = (best * weights[:, None]).sum(0) / weights.sum().clamp(min=1e-6)
            covered = HEAD_SHARE * head + (1 - HEAD_SHARE) * described
        stated = (by_noun.amax(0) * self._lengths).sum(1) / self._lengths.sum(1).clamp(min=1e-6)
        return COVERED_SHARE * covered + (1 - COVERED_SHARE) * stated

    def words(self, plain: Sequence[str]) -> list[str]:
        """Words grouped into the phrases that have related nouns or a meaning of their own, the longest first."""
        grouped, start = [], 0
        while start < len(plain):
            for count in range(min(LONGEST_PHRASE, len(plain) - start), 0, -1):
                phrase = " ".join(plain[start : start + count])
                if count == 1 or phrase in self._related or phrase in PHRASES or phrase in self._tokenizer.numbers:
                    break
            grouped.append(phrase)
            start += count
        return grouped

    def _nearness(self, words: Sequence[str]) -> Tensor:
        """Similarity of each word to each word of the bank, float32 [P, U + 1], at most 1; the last column is padding and 0."""
        units, _ = self._vectors(words)
        near = (units @ self._units.T).clamp(min=0)
        for row, word in enumerate(words):
            related = self._related.get(word, {})
            for other, share in related.items():
                if other in self._numbers:
                    column = self._numbers[other]
                    by_table = float(near[row, column])
                    near[row, column] = max(by_table, share * (1 - MEANING_SHARE + MEANING_SHARE * by_table))
            if word in self._numbers:
                near[row, self._numbers[word]] = 1.0
        return torch.cat([near, torch.zeros(len(words), 1)], 1)

    def _vectors(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Unit rows [W, D] and their lengths [W], which tell how much a word says; zeros for a word without a meaning."""
        rows = torch.zeros(len(words), self._table.values.shape[1])
        for index, word in enumerate(words):
            numbers = [self._tokenizer.numbers[token] for token in self._tokenizer.tokenize(word)]
            numbers = [number for number in numbers if number >= len(SPECIAL_TOKENS)]
            if numbers:
                rows[index] = self._table(torch.tensor(numbers)).float().mean(0)
        lengths = rows.norm(dim=1)
        return rows / lengths.clamp(min=1e-6)[:, None], lengths

    def _padded(self, groups: Sequence[Sequence[str]]) -> Tensor:
        """Numbers of words, int64 [N, C]; the number after the last word for padding."""
        width = max((len(words) for words in groups), default=0) or 1
        numbers = torch.full((len(groups), width), len(self._numbers))
        for row, words in enumerate(groups):
            numbers[row, : len(words)] = torch.tensor([self._numbers[word] for word in words], dtype=torch.int64)
        return numbers
