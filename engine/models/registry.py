"""The shipped weights: path, size and SHA-256 of each file, so that a damaged or replaced file is never used.

`weights/registry.json` holds them by path below `weights/`; `scripts/register_weights.py` writes it after an export.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ..errors import WeightsError

SHIPPED_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
STARTER_WEIGHTS = SHIPPED_WEIGHTS / "starter"
STARTER_MODEL = STARTER_WEIGHTS / "reconstructor"
STARTER_GENERATOR = STARTER_WEIGHTS / "generator"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
CONFIG_FILE = "config.json"
REGISTRY_FILE = "registry.json"
WEIGHT_SUFFIXES = (".safetensors", ".npz")
SUFFIXES = (*WEIGHT_SUFFIXES, ".json", ".tsv", ".txt")
"""Suffixes of the files that a model is read from: weights, then settings and words."""


@dataclass(frozen=True)
class Registered:
    """A file as it was when it was registered: hex SHA-256 and size in bytes."""

    sha256: str
    bytes: int


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_to_register(root: Path = SHIPPED_WEIGHTS) -> list[Path]:
    """Every file of weights, and of settings that belong to them, below `root`."""
    return sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES and path != root / REGISTRY_FILE)


def write_registry(root: Path = SHIPPED_WEIGHTS) -> Mapping[str, Registered]:
    """Register all files below `root` as they are now; returns them by path."""
    found = {
        path.relative_to(root).as_posix(): Registered(sha256_of(path), path.stat().st_size) for path in files_to_register(root)
    }
    text = json.dumps({name: asdict(entry) for name, entry in found.items()}, indent=1)
    (root / REGISTRY_FILE).write_text(text + "\n", encoding="utf-8")
    return found


@cache
def read_registry(root: Path = SHIPPED_WEIGHTS) -> Mapping[str, Registered]:
    """The registered files below `root`, by path; read once.

    Raises:
        WeightsError: The registry is missing or damaged.
    """
    try:
        described = json.loads((root / REGISTRY_FILE).read_text(encoding="utf-8"))
        return {name: Registered(**entry) for name, entry in described.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError("The list of Tetraview's weights is missing or damaged: install the extension again.") from error


def check_files(files: Iterable[Path], root: Path | None = None) -> dict[Path, str]:
    """Compare files with the hashes that are known of them: those that ship, and those that the Hugging Face hub's cache holds.

    Other files are somebody's own, and only hashed.

    Args:
        files: Everything that a model is read from: weights, settings, vocabularies.
        root: Folder of the registered files; by default `SHIPPED_WEIGHTS`.

    Returns:
        The SHA-256 of each.

    Raises:
        WeightsError: One is missing, or is not what was registered or downloaded; one that ships is not registered.
    """
    root = root or SHIPPED_WEIGHTS
    hashes = {}
    for path in files:
        resolved = path.resolve()
        own = resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else None
        named, remedy = f"The file {path.name} in {path.parent}", "download it again"
        if own is not None:
            named, remedy = f"Tetraview's own file {own}", "install the extension again"
        try:
            hashes[path] = sha256_of(path)
        except OSError as error:
            raise WeightsError(f"{named} cannot be read ({error.strerror}): {remedy}.") from error
        if own is not None:
            registered = read_registry(root).get(own)
            whole = registered is not None and registered.sha256 == hashes[path]
        else:
            whole = resolved.parent.name != "blobs" or _is_blob(resolved, hashes[path])
        if not whole:
            raise WeightsError(f"{named} is damaged or was replaced: {remedy}.")
    return hashes


def registered_below(folder: Path, root: Path | None = None) -> list[Path]:
    """The files that a folder must have because they are registered; none if the folder does not ship.

    Raises:
        WeightsError: The registry is missing or damaged.
    """
    root, resolved = root or SHIPPED_WEIGHTS, folder.resolve()
    if not resolved.is_relative_to(root):
        return []
    registered = (root / name for name in read_registry(root))
    return [folder / path.relative_to(resolved) for path in registered if path.is_relative_to(resolved)]


def _is_blob(path: Path, sha256: str) -> bool:
    """Whether a file of the hub's cache is what its name says: by its SHA-256, or by Git's hash, which small files have."""
    if len(path.name) == 64:
        return path.name == sha256
    content = path.read_bytes() if len(path.name) == 40 else b""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return len(path.name) != 40 or path.name == git
