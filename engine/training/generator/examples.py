"""`python -m tetraview train examples`: the bank of small pictures from which painting may begin.

Only objects whose licence is CC0 go in, no scans, and of each family and caption one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file

from ...dataset.packs import read_metas
from ...errors import InvalidRequestError
from ...multiview.colours import NAMED_COLOURS
from ...multiview.examples import CAPTIONS_FILE, FOLDER, PICTURES_FILE, thumbnail
from .grid_cache import UNLIT, GridCache

LICENCE = "CC0-1.0"
OUTLINE_PX, MIN_KIND = 24, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `train examples`."""
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the object packs: tells the licences")
    parser.add_argument("--cache", required=True, metavar="DIR", help="rendered grids (the `grids_train` of another stage)")
    parser.add_argument("--out", required=True, metavar="DIR", help="the generator; its folder `examples` is written")
    parser.add_argument("--quality", type=int, default=45, metavar="N", help="of the WebP pictures (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Write the bank and print its size."""
    packs = sorted(Path(args.data).glob("train_*.npz"))
    if not packs:
        raise InvalidRequestError(f"No train_*.npz in {args.data}: give --data the folder of the object packs.")
    free = {str(meta["id"]) for pack in packs for meta in read_metas(pack) if meta["licence"] == LICENCE and not meta.get("scan")}
    count, size = write_bank(GridCache(Path(args.cache)), free, Path(args.out) / FOLDER, args.quality)
    print(f"{count} examples, {size} bytes in {Path(args.out) / FOLDER}")
    return 0


def write_bank(grids: GridCache, ids: set[str], folder: Path, quality: int) -> tuple[int, int]:
    """Write the bank's two files.

    Args:
        grids: Rendered views; their unlit appearance is used.
        ids: Of the objects that may go in.
        folder: Made if need be.
        quality: Of the WebP pictures, 0..100.

    Returns:
        Number of examples, and bytes of both files.
    """
    appearance, pictures, thumbnails, entries = grids.kinds.index(UNLIT), [], [], []
    indices = list(chosen(grids, ids))
    outlines = np.stack([outline(np.array(grids.views(index, appearance))) for index in indices])
    nouns = [str(grids.meta[index]["appearances"][appearance]["caption_short"]) for index in indices]
    for index, typical in zip(indices, typicality(outlines, nouns), strict=True):
        meta = grids.meta[index]
        entries.append({**describe(meta, meta["appearances"][appearance]), "typical": round(float(typical), 3)})
        front, right, back, left = views = np.array(grids.views(index, appearance))
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
        if meta["id"] in ids and entry.get("caption_short") and key not in seen:
            seen.add(key)
            yield index


def outline(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Alpha of the views [4, S, S, 4], seen from afar: float32 [4, OUTLINE_PX, OUTLINE_PX]."""
    small = [Image.fromarray(view[..., 3]).resize((OUTLINE_PX, OUTLINE_PX), Image.Resampling.BOX) for view in views]
    return np.stack([np.asarray(image, np.float32) / 255 for image in small])


def typicality(outlines: npt.NDArray[np.float32], nouns: list[str]) -> npt.NDArray[np.float32]:
    """How much each outline [N, ...] overlaps the mean outline of its noun, float32 [N] in 0..1; a half for a lone one."""
    result = np.full(len(nouns), 0.5, np.float32)
    for noun in set(nouns):
        same = np.array([other == noun for other in nouns])
        if same.sum() < MIN_KIND:
            continue
        mean = outlines[same].mean(0)
        both = np.minimum(outlines[same], mean).sum((1, 2, 3)) / np.maximum(outlines[same], mean).sum((1, 2, 3)).clip(1e-6)
        low, high = both.min(), both.max()
        result[same] = (both - low) / max(high - low, 1e-6)
    return result


def describe(meta: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The `Entry` of an object as JSON."""
    noun = str(entry["caption_short"])
    extra = [str(tag) for tag in entry.get("tags") or [] if tag != "colour-variant" and tag not in noun.split()]
    colours = [name for name, share in entry.get("colours") or [] if name in NAMED_COLOURS and share >= 0.1]
    return {"id": str(meta["id"]), "caption": str(entry["caption"]), "noun": " ".join([noun, *extra[:3]]), "colours": colours}
