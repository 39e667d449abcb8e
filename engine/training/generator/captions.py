"""Prompts of one appearance, drawn as artists write them: in full, bare noun, with or without style, colour and category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .grid_cache import LIT, RECOLOURED
from .materials import with_article

LIT_WORDS = "studio light"
"""Style words of lit appearances; a prompt without them asks for the bare albedo that the reconstructor wants."""


@dataclass(frozen=True)
class CaptionConfig:
    """Shares of the forms.

    Attributes:
        dropout: Empty prompt, which classifier-free guidance needs.
        full, short, category: Weights of the whole caption, of the noun phrase, and of colours with the category or a tag.
        style: Share of whole captions that keep their style words (", low-poly style").
        article: Share of noun phrases with an article.
    """

    dropout: float = 0.1
    full: float = 0.65
    short: float = 0.25
    category: float = 0.1
    style: float = 0.6
    article: float = 0.5


def draw_caption(
    appearance: Mapping[str, Any], config: CaptionConfig, rng: np.random.Generator, *, name_light: bool = True
) -> str:
    """One prompt for an appearance (an entry of the cache's meta).

    Args:
        appearance: `kind`, `caption`, `caption_short`, `category`, `colours`, `tags`; any caption may be missing.
        config: Shares.
        rng: Random numbers.
        name_light: Whether captions name the light of lit appearances. Known views show the light without words.

    Returns:
        The prompt; empty for `config.dropout` of the draws.
    """
    if rng.random() < config.dropout:
        return ""
    caption = str(appearance.get("caption") or "")
    noun = str(appearance.get("caption_short") or "")
    body, _, style = caption.partition(", ")
    named_only = appearance.get("kind") == RECOLOURED  # "a banana" must not learn to be blue
    weights = np.array([config.full, 0.0 if named_only else config.short, config.category])
    form = int(rng.choice(3, p=weights / weights.sum()))
    prompt = body + (f", {style}" if style and rng.random() < config.style else "")
    if form == 1 and noun:
        prompt = with_article(f"a {noun}") if rng.random() < config.article and not noun.endswith("s") else noun
    elif form == 2:
        prompt = _colours_and_kind(appearance, rng) or prompt
    if name_light and appearance.get("kind") == LIT:
        prompt = f"{prompt}, {LIT_WORDS}" if prompt else LIT_WORDS
    return prompt


def _colours_and_kind(appearance: Mapping[str, Any], rng: np.random.Generator) -> str:
    """`gray and red vehicle`: up to two colours with the category or one of the tags; empty if there is neither."""
    kinds = [str(tag) for tag in appearance.get("tags") or [] if tag != "colour-variant"]
    if appearance.get("category") not in (None, "object", "misc", "miscellaneous"):
        kinds += [str(appearance["category"])] * max(1, len(kinds))
    if not kinds:
        return ""
    colours = [str(name) for name, share in (appearance.get("colours") or [])[:2] if share >= 0.2]
    return " and ".join(colours) + (" " if colours else "") + str(rng.choice(kinds))
