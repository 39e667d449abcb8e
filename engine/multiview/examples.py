"""Retrieval: begin from the stored example that is nearest to the prompt, or to the known views, instead of from blobs.

A small denoiser knows how things look in detail better than how they are built. So the bank holds small pictures of objects,
all of them CC0, with their captions; the views of the nearest one, brought to the colours that are asked for or seen, and
noised no further than the denoiser finds back from, are where it begins.

Blattmann et al. 2022, Retrieval-Augmented Diffusion Models, https://arxiv.org/abs/2204.11824; beginning from a noised picture:
Meng et al. 2022, SDEdit, https://arxiv.org/abs/2108.01073
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError
from ..types import VIEW_NAMES
from .colours import NAMED_COLOURS, alike, nearest_names, repaint, split_colours, to_lab, to_rgb
from .text.encoder import StarterTextEncoder, TokenTable
from .text.tokenizer import SPECIAL_TOKENS, StarterTokenizer

UInt8Array = npt.NDArray[np.uint8]

FOLDER = "examples"
PICTURES_FILE, CAPTIONS_FILE = "examples.safetensors", "examples.json"
LOW_POLY = re.compile(r"\blow[\s-]?poly\b", re.IGNORECASE)
STYLE_WORDS = re.compile(r"\b(low[\s-]?poly|studio light|style)\b|[^\w\s'-]", re.IGNORECASE)
NOT_NOUNS = {
    "a",
    "an",
    "the",
    "of",
    "with",
    "and",
    "or",
    "in",
    "on",
    "at",
    "for",
    "to",
    "by",
    "some",
    "simple",
    "nice",
    "beautiful",
}

MIN_SIMILARITY = 0.42
"""Below it no example is near enough, and painting begins from blobs."""

COVERED_SHARE = 0.7
"""How much it counts that the caption says what the prompt says; the rest: that it says nothing else."""

STYLE_BONUS, COLOUR_BONUS, TYPICAL_BONUS = 0.05, 0.04, 0.06
"""What the style, the colour and a common outline count beside the similarity of the words."""

CLOSE = 0.04
"""Examples so near to the best one are as good: the seed chooses among them."""

STRENGTH = 0.06
"""Level of noise at which the denoiser takes over. From further up, the shipped one loses the object."""

LIKE_STRENGTH = 0.1
"""The same where views are known: an object that looks alike from one side may differ from the others."""

MAX_DISTANCE = 0.3
"""Above it no example looks enough like the known views, and painting begins from blobs."""

PROMPT_SHARE = 0.25
"""What a prompt of the same words takes off the distance."""

THUMBNAIL_PX = 10
CHANNEL_WEIGHTS = np.array((0.08, 0.08, 0.08, 0.76), np.float32)
"""Of red, green, blue and alpha in a distance: the outline says most, and colours are brought over afterwards."""

MAIN_SHARE = 0.12
"""Share of an object's pixels that a colour needs to be the one that is replaced."""


@dataclass(frozen=True)
class Example:
    """Where painting begins.

    Attributes:
        views: uint8 [4, S, S, 4], straight alpha, in the colour that the prompt asks for.
        caption: Of the example, as the bank has it.
        similarity: Of caption and prompt, at most 1; of pictures, 1 minus their distance.
        strength: Level of noise to begin from, in (0, 1].
    """

    views: UInt8Array
    caption: str
    similarity: float
    strength: float


@dataclass(frozen=True)
class Entry:
    """An example as the bank describes it.

    Attributes:
        id: Of the object in the data set.
        caption: The whole caption; style words tell low-poly objects.
        noun: The noun phrase, with the category.
        colours: Keys of `NAMED_COLOURS`, the most frequent first.
        typical: How much its outline is like that of the others of its noun, 0..1.
    """

    id: str
    caption: str
    noun: str
    colours: tuple[str, ...]
    typical: float

    @property
    def low_poly(self) -> bool:
        return bool(LOW_POLY.search(self.caption))


class ExampleBank:
    """Small pictures with captions.

    Args:
        entries: One an example.
        pictures: WebP bytes of each: the 2x2 grid of views, RGBA.
        thumbnails: uint8 [N, 4, THUMBNAIL_PX, THUMBNAIL_PX, 4]: each one's views from afar, premultiplied.
        tokenizer, table: Of the generator's text encoder: what words mean.
    """

    def __init__(
        self, entries: list[Entry], pictures: list[bytes], thumbnails: UInt8Array, tokenizer: StarterTokenizer, table: TokenTable
    ) -> None:
        if not len(entries) == len(pictures) == len(thumbnails):
            raise ValueError(f"pictures: expected {len(entries)}, one for each entry, got {len(pictures)} and {len(thumbnails)}")
        self.entries, self.pictures, self.thumbnails = entries, pictures, thumbnails
        self._tokenizer, self._table = tokenizer, table
        self._low_poly = torch.tensor([entry.low_poly for entry in entries])
        self._typical = torch.tensor([entry.typical for entry in entries])
        rows = [self._rows(entry.noun) for entry in entries]
        self._weights = torch.zeros(len(rows), max((len(row) for row in rows), default=1) or 1)
        self._rows_of_all = torch.zeros(*self._weights.shape, self._table.values.shape[1])
        for index, row in enumerate(rows):
            self._rows_of_all[index, : len(row)], self._weights[index, : len(row)] = _unit(row)

    @classmethod
    def exists(cls, folder: str | Path) -> bool:
        """Whether the generator in `folder` has a bank."""
        return (Path(folder) / FOLDER / PICTURES_FILE).is_file()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The bank of the generator in `folder`.

        Raises:
            WeightsError: It is missing or damaged.
        """
        folder = Path(folder)
        try:
            tensors = load_file(folder / FOLDER / PICTURES_FILE)
            described = json.loads((folder / FOLDER / CAPTIONS_FILE).read_text(encoding="utf-8"))
            entries = [Entry(**{**entry, "colours": tuple(entry["colours"])}) for entry in described]
            data, ends = tensors["pictures"].numpy().tobytes(), tensors["ends"].tolist()
            thumbnails = tensors["thumbnails"].numpy()
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(f"The examples in {folder / FOLDER} are missing or damaged: get the weights again.") from error
        pictures = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        text_encoder = StarterTextEncoder.from_pretrained(str(folder / "text_encoder"), local_files_only=True)
        return cls(entries, pictures, thumbnails, StarterTokenizer.from_pretrained(folder / "tokenizer"), text_encoder.table)

    def __len__(self) -> int:
        return len(self.entries)

    def pick(self, prompt: str, seed: int = 0) -> Example | None:
        """The example to begin from, or None if none is near enough.

        Args:
            prompt: What to paint.
            seed: 0 takes the nearest; others choose among those that are about as near.
        """
        scores = self.similarities(prompt)
        if not len(scores) or float(scores.max()) < MIN_SIMILARITY:
            return None
        wanted, _ = split_colours(prompt)
        ranked = scores + TYPICAL_BONUS * self._typical
        ranked += STYLE_BONUS * (self._low_poly == bool(LOW_POLY.search(prompt)))
        ranked += COLOUR_BONUS * torch.tensor([_colour_match(wanted, entry.colours) for entry in self.entries])
        order = ranked.argsort(descending=True, stable=True)
        close = order[: max(1, int((ranked >= ranked[order[0]] - CLOSE).sum()))]
        index = int(close[0] if seed == 0 else close[np.random.default_rng(seed).integers(len(close))])
        views = in_colours(self.views(index), wanted, self.entries[index].colours)
        return Example(views, self.entries[index].caption, float(scores[index]), STRENGTH)

    def like(self, known: Mapping[str, UInt8Array], prompt: str = "", seed: int = 0) -> Example | None:
        """The example that looks most like the known views, or None if none is near enough.

        Args:
            known: uint8 [S, S, 4] each, straight alpha, keyed by a name of `VIEW_NAMES`; at least one.
            prompt: What the object is; may be empty.
            seed: 0 takes the nearest; others choose among those that are about as near.
        """
        columns = [VIEW_NAMES.index(name) for name in known]
        seen = np.stack([thumbnail(view) for view in known.values()]).astype(np.float32) / 255
        stored = self.thumbnails[:, columns].astype(np.float32) / 255
        covered = np.maximum(seen[None, ..., 3], stored[..., 3])
        away = (np.abs(seen - stored) * CHANNEL_WEIGHTS).sum(-1) * covered
        distance = torch.from_numpy(away.sum((1, 2, 3)) / covered.sum((1, 2, 3)).clip(1e-6))
        if not len(distance) or float(distance.min()) > MAX_DISTANCE:
            return None
        ranked = distance - PROMPT_SHARE * self.similarities(prompt)
        order = ranked.argsort(stable=True)
        close = order[: max(1, int((ranked <= ranked[order[0]] + CLOSE / 2).sum()))]
        index = int(close[0] if seed == 0 else close[np.random.default_rng(seed).integers(len(close))])
        views = in_tones(self.views(index), known)
        return Example(views, self.entries[index].caption, 1 - float(distance[index]), LIKE_STRENGTH)

    def views(self, index: int) -> UInt8Array:
        """The four views of an example, uint8 [4, S, S, 4], straight alpha."""
        with Image.open(io.BytesIO(self.pictures[index])) as picture:
            grid = np.asarray(picture.convert("RGBA"), np.uint8)
        side = grid.shape[0] // 2
        return np.stack([grid[y : y + side, x : x + side] for y in (0, side) for x in (0, side)])

    def similarities(self, prompt: str) -> Tensor:
        """How near each example's noun is to the prompt's, float32 [N], at most 1; 0 where the prompt has no noun.

        Each word meets its nearest counterpart, and rare words count more than frequent ones.
        """
        rows = self._rows(prompt)
        if not len(rows):
            return torch.zeros(len(self.entries))
        units, weights = _unit(rows)
        cosines = torch.einsum("pd,ncd->npc", units, self._rows_of_all)
        cosines = cosines.masked_fill(self._weights[:, None] == 0, -1.0)
        covered = (cosines.amax(2) * weights).sum(1) / weights.sum()
        said = (cosines.amax(1) * self._weights).sum(1) / self._weights.sum(1).clamp(min=1e-6)
        return COVERED_SHARE * covered + (1 - COVERED_SHARE) * said

    def _rows(self, text: str) -> Tensor:
        """Rows of the words that are neither colours nor style, float32 [W, D]; of the colours, if there is nothing else."""
        _, rest = split_colours(STYLE_WORDS.sub(" ", text))
        for words in (rest, text):
            tokens = self._tokenizer.tokenize(" ".join(word for word in words.split() if word.lower() not in NOT_NOUNS))
            numbers = [self._tokenizer.numbers[token] for token in tokens]
            numbers = [number for number in numbers if number >= len(SPECIAL_TOKENS)]
            if numbers:
                return self._table(torch.tensor(numbers)).float()
        return torch.zeros(0, self._table.values.shape[1])


def thumbnail(view: UInt8Array) -> UInt8Array:
    """A view [S, S, 4] from afar, premultiplied, uint8 [THUMBNAIL_PX, THUMBNAIL_PX, 4]."""
    alpha = view[..., 3:].astype(np.uint16)
    premultiplied = np.concatenate([(view[..., :3] * alpha // 255).astype(np.uint8), view[..., 3:]], -1)
    bands = [Image.fromarray(premultiplied[..., band]) for band in range(4)]  # bands alone: Pillow would premultiply once more
    return np.stack([np.asarray(band.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)) for band in bands], -1)


def in_tones(views: UInt8Array, known: Mapping[str, UInt8Array]) -> UInt8Array:
    """Views [4, S, S, 4] with their mean colour (Lab) moved to that of the known views; alpha as it was."""
    own = np.concatenate([views[VIEW_NAMES.index(name)].reshape(-1, 4) for name in known])
    aim = np.concatenate([view.reshape(-1, 4) for view in known.values()])
    if not ((own[:, 3] >= 128).any() and (aim[:, 3] >= 128).any()):
        return views
    means = [to_lab(colours[colours[:, 3] >= 128][None, :, :3])[0].mean(0) for colours in (own, aim)]
    strip = np.ascontiguousarray(views[..., :3].reshape(-1, views.shape[2], 3))
    return np.concatenate([to_rgb(to_lab(strip) + (means[1] - means[0])).reshape(views[..., :3].shape), views[..., 3:]], -1)


def in_colours(views: UInt8Array, wanted: tuple[str, ...], colours: tuple[str, ...]) -> UInt8Array:
    """Views in the colours that are asked for: those that they lack take the place of the ones they have most of.

    Args:
        views: uint8 [4, S, S, 4], straight alpha.
        wanted: Keys of `NAMED_COLOURS`.
        colours: Those that the object is said to have.

    Returns:
        uint8 [4, S, S, 4]; alpha as it was.
    """
    missing = [name for name in wanted if name not in colours]
    kept = {name for name in wanted if name in colours}
    if not missing:
        return views
    side = views.shape[1]
    strip = np.ascontiguousarray(views[..., :3].reshape(-1, side, 3))  # [4 S, S, 3]
    solid = views[..., 3].reshape(-1, side) >= 128
    if not solid.any():
        return views
    names = list(NAMED_COLOURS)
    seen = nearest_names(strip)
    counts = np.bincount(seen[solid], minlength=len(names)) / solid.sum()
    free = [int(i) for i in counts.argsort()[::-1] if counts[i] >= MAIN_SHARE and names[int(i)] not in kept]
    for name, index in zip(missing, free or [int(counts.argmax())], strict=False):
        aim = to_lab(np.array([[NAMED_COLOURS[name]]], np.uint8))[0, 0]
        strip = repaint(strip, alike(strip, (seen == index) & solid) & solid, aim, soft=True)
    return np.concatenate([strip.reshape(views[..., :3].shape), views[..., 3:]], -1)


def _colour_match(wanted: tuple[str, ...], colours: tuple[str, ...]) -> float:
    """Share of the wanted colours that an example has; its main colour counts in full, the others half."""
    if not wanted:
        return 0.0
    return sum(1.0 if name == colours[:1][0] else 0.5 for name in wanted if name in colours) / len(wanted)


def _unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows and their lengths, which tell how much a word says."""
    lengths: Any = rows.norm(dim=1)
    return rows / lengths.clamp(min=1e-6)[:, None], lengths
