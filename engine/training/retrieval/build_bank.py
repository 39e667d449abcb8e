"""`python -m tetraview train examples`: the bank of small pictures from which painting may start.

It holds only CC0 objects, no scans, and one object per family and caption.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import ndimage

from ...dataset.packs import read_metas
from ...errors import InvalidRequestError
from ...models.loading import ModelCache
from ...models.registry import STARTER_MODEL
from ...multiview.text.tokenizer import StarterTokenizer
from ...retrieval.colours import NAMED_COLOURS, to_lab
from ...retrieval.example_bank import CAPTIONS_FILE, FOLDER, PICTURES_FILE, RELATED_NOUNS_FILE
from ...retrieval.outline_similarity import thumbnail
from ..generator.grid_cache import UNLIT, GridCache
from .kinship import WordNet, related_nouns
from .solidity import SolidityScores, score_missing, weights_sha256

LICENCE = "CC0-1.0"
OUTLINE_PX = 24
FAR_FROM_WHITE = 40.0
"""Lab units from white at which a pixel stands out in full."""

MUCH_DETAIL = 8.0
"""Steps of lightness (Lab units a pixel, 90th percentile inside the outline) of a picture that is full of detail."""

KIND_FIRST = re.compile(r"^(?:qt|qb|kk)-.*-([A-Za-z]+)[0-9]*_")
"""Ids that say first what it is and then which: "barrel_small_stack"; others are captioned in the right order."""

PARTS = re.compile(r"_guns_pack-(?:Barrel|Body|Cylinder|Grip|Handguard|Scope|Sight|Stock)_")
"""Ids of parts that are captioned as if they were whole."""

NOT_KINDS = frozenset({
    "food", "animal", "animated", "bathroom", "kitchen", "bedroom", "modular", "prop", "props", "primitive", "enemy", "building",
    "character", "weapon", "decor", "nature", "environment", "item", "large", "small", "base", "tile", "unit", "floor", "wall",
})  # fmt: skip
"""First words of such ids that say where a thing belongs rather than what it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `train examples`."""
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the object packs: tells the licences")
    parser.add_argument("--cache", required=True, metavar="DIR", help="rendered grids (the `grids_train` of another stage)")
    parser.add_argument("--out", required=True, metavar="DIR", help="the generator; its folder `examples` is written")
    parser.add_argument("--wordnet", metavar="DIR", help="WordNet's index.noun and data.noun: other words for the nouns (none)")
    parser.add_argument("--solidity", metavar="DIR", help="score how well examples reconstruct; scores are kept there (none)")
    parser.add_argument(
        "--reconstructor", metavar="DIR", default=str(STARTER_MODEL), help="reconstructor whose meshes are scored (the starter's)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="score at most N examples; the bank is written when none is left")
    parser.add_argument("--quality", type=int, default=45, metavar="N", help="WebP quality of the pictures (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Write the bank and print its size."""
    packs = sorted(Path(args.data).glob("train_*.npz"))
    if not packs:
        raise InvalidRequestError(f"No train_*.npz in {args.data}: give --data the folder of the object packs.")
    free = {str(meta["id"]) for pack in packs for meta in read_metas(pack) if meta["licence"] == LICENCE and not meta.get("scan")}
    folder, grids = Path(args.out) / FOLDER, GridCache(Path(args.cache))
    solidity: dict[str, float] = {}
    if args.solidity:
        ids = {str(grids.meta[index]["id"]) for index in chosen(grids, free)}
        solidity = scored(packs, grids, ids, Path(args.reconstructor), Path(args.solidity), args.limit)
        if missing := len(ids - solidity.keys()):
            print(f"{len(ids) - missing} of {len(ids)} examples are scored in {args.solidity}; the bank is not written yet")
            return 0
    count, size = write_bank(grids, free, folder, args.quality, solidity)
    if args.wordnet:
        tokenizer = StarterTokenizer.from_pretrained(Path(args.out) / "tokenizer")
        size += write_kin(folder, WordNet(Path(args.wordnet)), set(tokenizer.entries))
    print(f"{count} examples, {size} bytes in {folder}")
    return 0


def scored(
    packs: Sequence[Path], grids: GridCache, ids: Collection[str], reconstructor: Path, folder: Path, limit: int | None
) -> dict[str, float]:
    """Score the objects `ids` that have no score in `folder` yet, at most `limit`; returns all scores, 0..1, by id."""
    from tqdm import tqdm

    model = ModelCache().get(reconstructor, "cpu")
    scores = SolidityScores(folder, weights_sha256(model))
    missing = len(set(ids) - scores.solidity.keys())
    count = missing if limit is None else min(limit, missing)
    for _ in tqdm(itertools.islice(score_missing(packs, grids, ids, model, scores), count), total=count, unit="object"):
        pass
    return scores.solidity


def write_kin(folder: Path, wordnet: WordNet, vocabulary: set[str]) -> int:
    """Write which words may stand for the nouns of the bank in `folder`; returns the file's size in bytes."""
    entries = json.loads((folder / CAPTIONS_FILE).read_text(encoding="utf-8"))
    words = [f"{entry['noun']} | {entry['tags']}".lower().split() for entry in entries]
    nouns = {" ".join(row[i : i + n]) for row in words for n in (1, 2, 3) for i in range(len(row) - n + 1)}
    related = related_nouns((noun for noun in nouns if "|" not in noun), wordnet, vocabulary)
    lines = [f"{json.dumps(word)}:{json.dumps(near, separators=(',', ':'))}" for word, near in related.items()]
    (folder / RELATED_NOUNS_FILE).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return (folder / RELATED_NOUNS_FILE).stat().st_size


def write_bank(grids: GridCache, ids: set[str], folder: Path, quality: int, solidity: Mapping[str, float]) -> tuple[int, int]:
    """Write the bank's two files.

    Args:
        grids: Rendered views; their unlit appearance is used.
        ids: Ids of the objects that may go in.
        folder: Made if need be.
        quality: WebP quality of the pictures, 0..100.
        solidity: Solidity of objects, 0..1, by id; an object without a score gets none.

    Returns:
        Number of examples, and bytes of both files.
    """
    appearance, pictures, thumbnails, entries = grids.kinds.index(UNLIT), [], [], []
    indices = list(chosen(grids, ids))
    outlines = np.stack([outline(np.array(grids.views(index, appearance))) for index in indices])
    described = [describe(grids.meta[index], grids.meta[index]["appearances"][appearance]) for index in indices]
    heads = [entry["head"] or entry["noun"].lower().split()[-1] for entry in described]
    families = [str(grids.meta[index].get("family") or grids.meta[index]["id"]) for index in indices]
    nouns = [f"{entry['noun']} {entry['tags']}" for entry in described]
    for index, entry, typical in zip(indices, described, typicality(outlines, nouns, heads, families), strict=True):
        front, right, back, left = views = np.array(grids.views(index, appearance))
        entries.append(
            {
                **entry,
                "typical": round(float(typical), 3),
                "contrast": round(contrast(views), 3),
                "detail": round(detail(views), 3),
                **({"solidity": solidity[entry["id"]]} if entry["id"] in solidity else {}),
            }
        )
        thumbnails.append(np.stack([thumbnail(view) for view in views]))
        grid = np.concatenate([np.concatenate([front, right], 1), np.concatenate([back, left], 1)], 0)
        grid[grid[..., 3] == 0] = 255, 255, 255, 0
        stream = io.BytesIO()
        Image.fromarray(grid).save(stream, "WEBP", quality=quality, method=6, alpha_quality=60)
        pictures.append(stream.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    joined = torch.frombuffer(bytearray(b"".join(pictures)), dtype=torch.uint8)
    save_file(
        {
            "pictures": joined,
            "ends": torch.tensor(np.cumsum([len(picture) for picture in pictures])),
            "thumbnails": torch.from_numpy(np.stack(thumbnails)),
        },
        folder / PICTURES_FILE,
    )
    (folder / CAPTIONS_FILE).write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n", encoding="utf-8")
    for name in (PICTURES_FILE, CAPTIONS_FILE):
        os.chmod(folder / name, 0o644)  # safetensors leaves it to the owner alone
    return len(entries), sum((folder / name).stat().st_size for name in (PICTURES_FILE, CAPTIONS_FILE))


def chosen(grids: GridCache, ids: set[str]) -> Iterator[int]:
    """Indices of the objects that go in: one for each family, noun and main colour."""
    seen = set()
    for index, meta in enumerate(grids.meta):
        entry = meta["appearances"][0]
        main = entry["colours"][0][0] if entry.get("colours") else ""
        key = (meta.get("family") or meta["id"], entry.get("caption_short"), main)
        if meta["id"] in ids and not PARTS.search(meta["id"]) and entry.get("caption_short") and key not in seen:
            seen.add(key)
            yield index


def outline(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Alpha of the views [4, S, S, 4], seen from afar: float32 [4, OUTLINE_PX, OUTLINE_PX]."""
    small = [Image.fromarray(view[..., 3]).resize((OUTLINE_PX, OUTLINE_PX), Image.Resampling.BOX) for view in views]
    return np.stack([np.asarray(image, np.float32) / 255 for image in small])


def typicality(
    outlines: npt.NDArray[np.float32], nouns: Sequence[str], heads: Sequence[str], families: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Overlap of each outline [N, ...] with outlines of other families that share its head, float32 [N] in 0..1.

    The mean over the more alike half of them; a half where there is none.
    """
    result = np.full(len(nouns), 0.5, np.float32)
    said = [frozenset(noun.lower().split()) for noun in nouns]
    for index, (head, family) in enumerate(zip(heads, families, strict=True)):
        others = [i for i, words in enumerate(said) if head in words and families[i] != family]
        if others:
            low, high = np.minimum(outlines[others], outlines[index]), np.maximum(outlines[others], outlines[index])
            alike = np.sort(low.sum((1, 2, 3)) / high.sum((1, 2, 3)).clip(1e-6))
            result[index] = alike[len(alike) // 2 :].mean()
    return result


def contrast(views: npt.NDArray[np.uint8]) -> float:
    """Contrast of the object in the views [4, S, S, 4] against white, 0..1."""
    solid = views[views[..., 3] >= 128][None, :, :3]
    if not solid.size:
        return 0.0
    white = to_lab(np.full((1, 1, 3), 255, np.uint8))
    return float((np.linalg.norm(to_lab(solid) - white, axis=-1) / FAR_FROM_WHITE).clip(0, 1).mean())


def detail(views: npt.NDArray[np.uint8]) -> float:
    """Amount of detail inside the outlines of the views [4, S, S, 4], 0..1: 0 for one flat colour."""
    steps = []
    for view in views:
        lightness = to_lab(view[..., :3])[..., 0]
        inside = ndimage.binary_erosion(view[..., 3] >= 250, iterations=2)
        steps.append(np.hypot(*np.gradient(lightness))[inside])
    found = np.concatenate(steps)
    return float(min(np.percentile(found, 90) / MUCH_DETAIL, 1.0)) if found.size else 0.0


def describe(meta: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The `Entry` of an object as JSON, without what its picture says."""
    noun = str(entry["caption_short"])
    tags = [str(tag) for tag in entry.get("tags") or [] if tag != "colour-variant" and tag not in noun.split()]
    kind = KIND_FIRST.match(str(meta["id"]))
    head = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind[1]).split()[-1].lower() if kind else ""
    if head in NOT_KINDS or head not in (*noun.lower().split(), *tags):
        head = ""
    if head and head not in noun.lower().split():
        noun = f"{noun} {head}"
    colours = [name for name, share in entry.get("colours") or [] if name in NAMED_COLOURS and share >= 0.1]
    return {
        "id": str(meta["id"]), "caption": str(entry["caption"]), "noun": noun, "tags": " ".join(tags[:3]), "head": head,
        "colours": colours,
    }  # fmt: skip
