"""Latents of all grids, computed once with the frozen autoencoder and kept as float16 memory maps.

One file a shard of the grid cache, `shard_<n>.npy` float16 [n, A, 2, 4, C, h, h]: scaled latents of each object, appearance,
hand (as is, mirrored) and view. The whole grid is encoded, as the pipeline does it, and cut into its cells.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from ...multiview.autoencoder import PatchAutoencoder
from ...multiview.grid import grid_to_views, views_to_grid
from ..loop import autocast
from .grid_cache import GridCache
from .pixels import to_pixels

MIRRORED_ORDER = [0, 3, 2, 1]
"""The views of the mirrored object: its right view is the left one, mirrored."""

Autoencoder: TypeAlias = PatchAutoencoder | AutoencoderTiny | AutoencoderKL


def fingerprint(vae: torch.nn.Module) -> str:
    """A short hash of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(vae.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def encode_grids(vae: Autoencoder, image: Tensor) -> Tensor:
    """Scaled latents [B, C, h, h] of images [B, channels, H, H] in -1..1; of a distribution, its mode."""
    encoded = vae.encode(image)
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    return latents.float() * vae.config["scaling_factor"]


def build_latents(
    vae: Autoencoder, grids: GridCache, folder: Path, device: torch.device, *, batch: int = 8, bf16: bool = False
) -> Iterator[Path]:
    """Encode what is missing; yields each shard's file. Latents of other weights or grids are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    vae = vae.to(device, memory_format=torch.channels_last).eval()
    grid_settings = json.loads((grids.folder / "config.json").read_text())
    record, settings = folder / "config.json", {"autoencoder": fingerprint(vae), "grids": grid_settings}
    if not record.exists() or json.loads(record.read_text()) != settings:
        for stale in folder.glob("shard_*.npy"):
            stale.unlink()
        record.write_text(json.dumps(settings))
    channels = int(vae.config["in_channels"])
    for shard in grids.shards:
        path = folder / f"{shard.name}.npy"
        if path.exists():
            continue
        source = grids.shard_grids(shard.name)
        flat = source.reshape(-1, *source.shape[2:])  # [n A, 4, px, px, 4]
        parts = []
        for start in range(0, len(flat), batch):
            pixels = to_pixels(flat[start : start + batch], channels)  # [b, 4, channels, px, px]
            both = torch.stack([pixels, pixels[:, MIRRORED_ORDER].flip(-1)], 1).flatten(0, 1)  # [2b, 4, ...]
            with autocast(device, bf16):
                latents = encode_grids(vae, views_to_grid(both).to(device, memory_format=torch.channels_last))
            parts.append(grid_to_views(latents).unflatten(0, (-1, 2)).half().cpu().numpy())  # [b, 2, 4, C, h, h]
        encoded = np.concatenate(parts)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.save(stream, encoded.reshape(*source.shape[:2], *encoded.shape[1:]))
        os.replace(partial, path)
        yield path


class LatentCache:
    """Read access to the latents of the grids in `grids`, in its order."""

    def __init__(self, folder: Path, grids: GridCache) -> None:
        self.grids = grids
        self._shards = {shard.name: np.load(folder / f"{shard.name}.npy", mmap_mode="r") for shard in grids.shards}

    def __len__(self) -> int:
        return len(self.grids)

    def cells(self, index: int, appearance: int, mirrored: bool) -> npt.NDArray[np.float16]:
        """Latents of the four views, float16 [4, C, h, h]."""
        shard, row = self.grids.items[index]
        return self._shards[shard][row, appearance, int(mirrored)]
