"""Parse a prompt into the thing, its further words, colours, materials and style."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..multiview.text.tokenizer import split_words
from .colours import split_colours

LOW_POLY = re.compile(r"\blow[\s-]?poly(gonal)?\b", re.IGNORECASE)
_STYLE = re.compile(r"\b(low[\s-]?poly(gonal)?|studio light(ing)?|style|game asset|3d model|render(ing)?|model)\b", re.IGNORECASE)
_PARTS = re.compile(
    r"[,;:.!?()\n]+|\b(?:with|on|in|at|for|by|from|under|near|beside|holding|made of|full of|that|which)\b", re.IGNORECASE
)
_AMOUNT = re.compile(r"^.*\b(?:set|pair|piece|bunch|kind|sort|type|picture|group)s? of\b", re.IGNORECASE)
_OF = re.compile(r"\bof\b", re.IGNORECASE)
SMALL_WORDS = frozenset({
    "a", "an", "the", "of", "with", "and", "or", "in", "on", "at", "for", "to", "by", "from", "some", "one", "two", "very",
    "simple", "nice", "beautiful", "cute",
})  # fmt: skip

MATERIALS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("wooden", "wood", "oak", "walnut", "timber", "rustic"), ("brown", "dark brown", "beige", "orange")),
    **dict.fromkeys(("metal", "metallic", "steel", "iron", "chrome", "aluminium"), ("gray", "light gray", "dark gray")),
    **dict.fromkeys(("stone", "concrete", "granite", "rocky"), ("gray", "light gray", "dark gray", "beige")),
    **dict.fromkeys(("gold", "brass", "gilded"), ("yellow", "orange", "beige")),
    **dict.fromkeys(("silver", "silvery"), ("light gray", "gray", "white")),
    **dict.fromkeys(("copper", "bronze"), ("brown", "orange")),
    **dict.fromkeys(("rusty", "rusted"), ("brown", "dark brown", "dark red")),
    **dict.fromkeys(("clay", "terracotta"), ("brown", "orange", "dark red")),
    **dict.fromkeys(("leather",), ("brown", "dark brown", "black")),
    **dict.fromkeys(("marble", "porcelain", "ceramic", "snowy"), ("white", "light gray", "beige")),
    **dict.fromkeys(("brick",), ("dark red", "red", "brown", "orange")),
    **dict.fromkeys(("glass", "ice", "icy", "crystal"), ("light blue", "teal", "white")),
    **dict.fromkeys(("wicker", "bamboo", "straw", "cardboard", "sandy"), ("beige", "brown", "yellow")),
    **dict.fromkeys(("mossy", "leafy"), ("green", "dark green", "olive green")),
}  # fmt: skip
"""Words for materials, and the colours of each, the likeliest first."""


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt, parsed.

    Attributes:
        thing: Words of the noun phrase, lower case, the last one its head; empty if only colours are asked for.
        rest: The remaining words.
        colours: Keys of `NAMED_COLOURS`.
        materials: Keys of `MATERIALS`.
        low_poly: Whether the prompt asks for the low-poly style.
    """

    thing: tuple[str, ...]
    rest: tuple[str, ...]
    colours: tuple[str, ...]
    materials: tuple[str, ...]
    low_poly: bool


def read_prompt(prompt: str) -> ParsedPrompt:
    """Parse a prompt. A word for a material that is the head ("a stone") is a thing; so is a colour that stands alone."""
    plain = _STYLE.sub(" ", prompt)
    colours, uncoloured = split_colours(plain)
    parts = [_AMOUNT.sub("", part) for part in _PARTS.split(uncoloured)]
    phrases = [words for part in parts for piece in _OF.split(part) if (words := _content(piece))]
    if not phrases:
        return ParsedPrompt(_content(plain), (), colours, (), bool(LOW_POLY.search(prompt)))
    materials = [word for words in phrases for word in words[:-1] if word in MATERIALS]
    materials += [words[-1] for words in phrases[1:] if words[-1] in MATERIALS]
    thing = tuple(word for word in phrases[0][:-1] if word not in MATERIALS) + phrases[0][-1:]
    rest = tuple(word for words in phrases[1:] for word in words if word not in MATERIALS)
    return ParsedPrompt(thing, rest, colours, tuple(dict.fromkeys(materials)), bool(LOW_POLY.search(prompt)))


def _content(text: str) -> tuple[str, ...]:
    return tuple(word for word in split_words(text) if word not in SMALL_WORDS)
