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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..cameras import CANONICAL_RIG, Rig
from ..errors import WeightsError
from ..multiview.text.encoder import StarterTextEncoder, TokenTable
from ..multiview.text.tokenizer import StarterTokenizer
from .colours import NAMED_COLOURS, alike, nearest_names, repaint, to_lab
from .noun_similarity import NounIndex, RelatedNouns
from .outline_similarity import choose, outline_distances
from .prompts import LOW_POLY, MATERIALS, read_prompt
from .translation import WordList
from .understanding import PromptReader
from .unseen_views import unseen_views

UInt8Array = npt.NDArray[np.uint8]

FOLDER = "examples"
PICTURES_FILE, CAPTIONS_FILE, RELATED_NOUNS_FILE = "examples.safetensors", "examples.json", "kin.json"
WORDS_FILE = "words.tsv"
MIN_SIMILARITY = 0.5
"""Similarity below which nothing like the prompt is known, and no example is used."""

FAR_SIMILARITY = 0.75
"""Similarity below which the artist is told what the nearest known thing is."""

STYLE_BONUS = 0.07
"""Score, beside the similarity of the words, of an example in the requested style."""

COLOUR_BONUS = 0.06
"""Score of an example in the requested colours."""

MATERIAL_BONUS = 0.1
"""Score of an example in a colour of the requested material."""

TYPICAL_BONUS = 0.12
"""Score of a common outline."""

DETAIL_BONUS = 0.04
"""Score of detail inside the outline."""

PALE_MALUS = 0.2
"""Penalty of an object that is white on white."""

SOLIDITY_BONUS = 0.3
"""Score of a perfect mesh over one that is all torn."""

SAME_KIND = 0.88
"""Share of the best similarity above which an example counts as the same kind and may gain by its solidity."""

USUAL_SOLIDITY = 0.8
"""Solidity of an example that has not been measured."""

PALE = 0.4
"""Contrast below which an object is hard to see on white."""

CLOSE = 0.04
"""Examples within this distance of the best one are equivalent: the seed chooses among them."""

STRENGTH = 0.06
"""Noise level at which denoising starts. From a higher level, the shipped denoiser loses the object."""

LIKE_STRENGTH = 0.06
"""The same, if views are known."""

MAX_DISTANCE, MAX_NAMED_DISTANCE = 0.05, 0.15
"""Distance from the known views above which an example does not look alike: without a prompt, and if the prompt names it."""

NAMED_SIMILARITY = 0.8
"""Similarity of the nouns from which on a prompt names an example."""

PROMPT_SHARE = 0.25
"""Reduction of the distance by a prompt of the same words."""

MAIN_SHARE = 0.12
"""Share of an object's pixels that a colour needs to be replaced by the requested one."""


@dataclass(frozen=True)
class Example:
    """The example that painting starts from.

    Attributes:
        views: uint8 [4, S, S, 4], straight alpha, in the colour that the prompt asks for.
        caption: The example's caption, as stored in the bank.
        similarity: Similarity of caption and prompt, at most 1; for pictures, 1 minus their distance.
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
        id: The object's id in the data set.
        caption: The whole caption; style words tell low-poly objects.
        noun: The noun phrase.
        colours: Keys of `NAMED_COLOURS`, the most frequent first.
        typical: Similarity of its outline to others of its noun, 0..1.
        tags: Further words.
        head: The word of the noun that says what it is; empty for the last one.
        contrast: Contrast against white, 0..1.
        detail: Amount of detail inside its outline, 0..1.
        solidity: Agreement of the object with the mesh made of its views, 0..1.
    """

    id: str
    caption: str
    noun: str
    colours: tuple[str, ...]
    typical: float
    tags: str = ""
    head: str = ""
    contrast: float = 1.0
    detail: float = 0.5
    solidity: float = USUAL_SOLIDITY

    @property
    def low_poly(self) -> bool:
        return bool(LOW_POLY.search(self.caption))


class ExampleBank:
    """Small pictures with captions.

    Args:
        entries: One per example.
        pictures: WebP bytes of each: the 2x2 grid of views, RGBA.
        thumbnails: uint8 [N, 4, THUMBNAIL_PX, THUMBNAIL_PX, 4]: each one's views from afar, premultiplied.
        tokenizer, table: The tokenizer and word vectors of the generator's text encoder.
        related: Words that may stand for the nouns of the bank.
        words: Words of other languages; None for none.
    """

    def __init__(
        self, entries: list[Entry], pictures: list[bytes], thumbnails: UInt8Array, tokenizer: StarterTokenizer, table: TokenTable,
        related: RelatedNouns | None = None, words: WordList | None = None,
    ) -> None:  # fmt: skip
        if not len(entries) == len(pictures) == len(thumbnails):
            raise ValueError(f"pictures: expected {len(entries)}, one for each entry, got {len(pictures)} and {len(thumbnails)}")
        self.entries, self.pictures, self.thumbnails = entries, pictures, thumbnails
        self._nouns = NounIndex(
            [entry.noun for entry in entries], [entry.head for entry in entries], [entry.tags for entry in entries],
            related or {}, tokenizer, table,
        )  # fmt: skip
        named = [word for entry in entries for word in f"{entry.noun} {entry.tags}".lower().split()]
        self.reader = PromptReader(named, related or {}, tokenizer.numbers, words)
        self._low_poly = torch.tensor([entry.low_poly for entry in entries])
        self._bonus = TYPICAL_BONUS * torch.tensor([entry.typical for entry in entries])
        self._bonus += DETAIL_BONUS * torch.tensor([entry.detail for entry in entries])
        self._solidity = torch.tensor([entry.solidity for entry in entries])
        self._pale = PALE_MALUS * (1 - torch.tensor([entry.contrast for entry in entries]) / PALE).clamp(min=0)

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
            ends, thumbnails = tensors["ends"].tolist(), tensors["thumbnails"].numpy()
            data = tensors["pictures"].numpy().tobytes()
            if tensors["ends"].is_floating_point() or ends != sorted(ends) or len(data) != ends[-1] or len(ends) != len(entries):
                raise ValueError(
                    f"pictures of {len(data)} bytes do not end at {ends[-1:]}, one for each of {len(entries)} entries"
                )
            related_file = folder / FOLDER / RELATED_NOUNS_FILE
            stored = json.loads(related_file.read_text(encoding="utf-8")) if related_file.is_file() else {}
            related = {noun: dict(near) for noun, near in stored.items()}
            words_file = folder / FOLDER / WORDS_FILE
            words = WordList.from_file(words_file) if words_file.is_file() else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise WeightsError(f"The examples in {folder / FOLDER} are missing or damaged: get the weights again.") from error
        pictures = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        text_encoder = StarterTextEncoder.from_pretrained(str(folder / "text_encoder"), local_files_only=True)
        tokenizer = StarterTokenizer.from_pretrained(folder / "tokenizer")
        return cls(entries, pictures, thumbnails, tokenizer, text_encoder.table, related, words)

    def __len__(self) -> int:
        return len(self.entries)

    def pick(self, prompt: str, seed: int = 0) -> Example | None:
        """The example to start from, or None if none is similar enough.

        Args:
            prompt: The prompt.
            seed: 0 takes the best; other seeds choose among those about as good.
        """
        parsed = read_prompt(prompt)
        scores = self._nouns.similarities(parsed)
        if not len(scores) or float(scores.max()) < MIN_SIMILARITY:
            return None
        ranked = scores + self._bonus + STYLE_BONUS * (self._low_poly == parsed.low_poly)
        ranked += COLOUR_BONUS * torch.tensor([_colour_match(parsed.colours, entry.colours) for entry in self.entries])
        if not parsed.colours:
            ranked -= self._pale
            ranked += MATERIAL_BONUS * torch.tensor([_made_of(parsed.materials, entry.colours) for entry in self.entries])
        ranked += self._solidity_bonus(ranked, scores)
        index = nearest(ranked, CLOSE, seed)
        entry = self.entries[index]
        wanted = parsed.colours
        if not wanted and parsed.materials and not _made_of(parsed.materials, entry.colours):
            wanted = MATERIALS[parsed.materials[0]][:1]
        views = in_colours(self.views(index), wanted, entry.colours)
        return Example(views, entry.caption, float(scores[index]), STRENGTH)

    def _solidity_bonus(self, ranked: Tensor, scores: Tensor) -> Tensor:
        """Score that each example gains or loses by its solidity, float32 [N].

        Solidity is compared with the otherwise best example. Examples of another kind can only lose, so none wins by it.

        Args:
            ranked: float32 [N], everything else.
            scores: float32 [N], similarities of the words.
        """
        best = int(ranked.argmax())
        gain = SOLIDITY_BONUS * (self._solidity - self._solidity[best])
        return torch.where(scores >= SAME_KIND * scores[best], gain, gain.clamp(max=0))

    def like(self, known: Mapping[str, UInt8Array], prompt: str = "", seed: int = 0, rig: Rig = CANONICAL_RIG) -> Example | None:
        """The known views and, with the help of an example that truly looks alike if there is one, the others.

        Args:
            known: uint8 [S, S, 4] each, straight alpha, keyed by a name of `VIEW_NAMES`; at least one.
            prompt: What the object is; may be empty.
            seed: 0 takes the best; other seeds choose among those about as good.
            rig: The cameras of the known views.

        Returns:
            The views, with the example's caption, or none if no example looks alike; None if the known views show nothing.
        """
        from ..photos.framing import resized

        if not any((view[..., 3] >= 128).any() for view in known.values()):
            return None
        distance, similar = outline_distances(self.thumbnails, known), self.similarities(prompt).numpy()
        named = similar >= NAMED_SIMILARITY
        alike = np.flatnonzero((named & (distance <= MAX_NAMED_DISTANCE)) if named.any() else distance <= MAX_DISTANCE)
        if not len(alike):
            return Example(unseen_views(known, rig=rig), "", 0.0, LIKE_STRENGTH)
        ranked = np.asarray(distance - PROMPT_SHARE * similar, np.float32)[alike]
        found = choose(self.thumbnails[alike], known, ranked, CLOSE, seed)
        index, px = int(alike[found.index]), next(iter(known.values())).shape[0]
        example = np.stack([resized(view, px) for view in self.views(index)])
        views = unseen_views(known, example, found.is_round)
        return Example(views, self.entries[index].caption, 1 - float(distance[index]), LIKE_STRENGTH)

    def views(self, index: int) -> UInt8Array:
        """The four views of an example, uint8 [4, S, S, 4], straight alpha."""
        with Image.open(io.BytesIO(self.pictures[index])) as picture:
            grid = np.asarray(picture.convert("RGBA"), np.uint8)
        side = grid.shape[0] // 2
        return np.stack([grid[y : y + side, x : x + side] for y in (0, side) for x in (0, side)])

    def similarities(self, prompt: str) -> Tensor:
        """Similarity of each example's noun to the prompt's, float32 [N], at most 1; 0 if the prompt has no noun."""
        return self._nouns.similarities(read_prompt(prompt))


def nearest(ranked: Tensor, close: float, seed: int) -> int:
    """Index of the best, or of one of those that are worse by less than `close`, if the seed is not 0."""
    order = ranked.argsort(descending=True, stable=True)
    among = order[: max(1, int((ranked >= ranked[order[0]] - close).sum()))]
    return int(among[0] if seed == 0 else among[np.random.default_rng(seed).integers(len(among))])


def in_colours(views: UInt8Array, wanted: tuple[str, ...], colours: tuple[str, ...]) -> UInt8Array:
    """Views in the colours that are asked for: those that they lack take the place of the ones they have most of.

    Args:
        views: uint8 [4, S, S, 4], straight alpha.
        wanted: Keys of `NAMED_COLOURS`.
        colours: Colours named in the example's caption.

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
    return sum(1.0 if name == colours[0] else 0.5 for name in wanted if name in colours) / len(wanted)


def _made_of(materials: tuple[str, ...], colours: tuple[str, ...]) -> float:
    """Whether an example has a colour of the materials asked for: 1 if it is its main one, a half if another, 0 if none is."""
    fitting = {colour for material in materials for colour in MATERIALS[material]}
    return 1.0 if colours and colours[0] in fitting else 0.5 if fitting & set(colours) else 0.0
