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
REGISTRY_FILE = "registry.json"
SUFFIXES = (".safetensors", ".json", ".tsv", ".txt")
"""Suffixes of the files that a model is read from."""


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


def check_shipped(files: Iterable[Path], root: Path = SHIPPED_WEIGHTS) -> dict[Path, str]:
    """Compare files with the registry; files that lie elsewhere are somebody's own, and only hashed.

    Args:
        files: Files of weights.
        root: Folder of the registered weights.

    Returns:
        The SHA-256 of each.

    Raises:
        WeightsError: One that ships is missing, is not registered, or is not what was registered.
    """
    hashes = {}
    for path in files:
        resolved = path.resolve()
        ships = resolved.is_relative_to(root)
        try:
            hashes[path] = sha256_of(path)
        except OSError as error:
            raise WeightsError(f"The weights {path.name} in {path.parent} cannot be read ({error.strerror}).") from error
        if not ships:
            continue
        name = resolved.relative_to(root).as_posix()
        registered = read_registry(root).get(name)
        if registered is None or registered.sha256 != hashes[path]:
            raise WeightsError(f"Tetraview's own weights {name} are damaged or were replaced: install the extension again.")
    return hashes
