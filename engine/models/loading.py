"""Loaded weights: the reconstructor and the four-view generator, kept in memory from job to job, with their hashes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import WeightsError
from .integrity import load_network, load_parts, quiet_loading, require_every_weight, require_settings
from .registry import CONFIG_FILE, SUFFIXES, WEIGHT_SUFFIXES, WEIGHTS_FILE, check_files, registered_below

if TYPE_CHECKING:
    from ..imaging.views import FourViews
    from ..multiview.pipeline import FourViewPipeline
    from ..reconstructor import Field, Reconstructor
    from ..retrieval.example_bank import ExampleBank

logger = logging.getLogger(__name__)

GENERATOR_INDEX, EXAMPLES_FOLDER = "model_index.json", "examples"

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class LoadedModel:
    """A reconstructor on its device, with the hash of its weights."""

    reconstructor: Reconstructor
    device: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class LoadedGenerator:
    """A four-view generator on its device, the folder it came from, and the hash of each of its weight files."""

    pipeline: FourViewPipeline
    folder: Path
    device: str
    sha256: Mapping[str, str]

    @cached_property
    def examples(self) -> ExampleBank | None:
        """The stored examples that painting may begin from, read when first asked for; None where the folder has none.

        Raises:
            WeightsError: They are damaged.
        """
        if not (self.folder / EXAMPLES_FOLDER).is_dir():
            return None
        from ..retrieval.example_bank import ExampleBank

        return ExampleBank.from_pretrained(self.folder) if ExampleBank.exists(self.folder) else None


class ModelCache:
    """Keeps the models of the last job in memory for the next one; each is loaded when it is first asked for."""

    def __init__(self) -> None:
        self._reconstructor: _Kept[LoadedModel] = _Kept(load_reconstructor)
        self._generator: _Kept[LoadedGenerator] = _Kept(load_generator)

    def get(self, folder: Path, device: str) -> LoadedModel:
        """The reconstructor of a folder on a device, loaded only if it, the file or the device changed.

        Raises:
            WeightsError: No weights there, or they cannot be read.
        """
        require_reconstructor(folder)
        return self._reconstructor.get(folder, device, reconstructor_files(folder))

    def has(self, folder: Path, device: str) -> bool:
        """Whether `get` would find it in memory."""
        return self._reconstructor.has(folder, device)

    def get_generator(self, folder: Path, device: str) -> LoadedGenerator:
        """The four-view generator of a folder on a device, loaded only if it, a file or the device changed.

        Raises:
            WeightsError: No weights there, or they cannot be read.
        """
        require_generator(folder)
        return self._generator.get(folder, device, generator_files(folder))

    def has_generator(self, folder: Path, device: str) -> bool:
        """Whether `get_generator` would find it in memory."""
        return self._generator.has(folder, device)


class _Kept(Generic[Loaded]):
    """The last thing that was loaded, and what from."""

    def __init__(self, load: Callable[[Path, str], Loaded]) -> None:
        self._load = load
        self._key: tuple[str, str, tuple[int, ...]] | None = None
        self._loaded: Loaded | None = None

    def get(self, folder: Path, device: str, files: list[Path]) -> Loaded:
        key = (str(folder.resolve()), device, tuple(_changed(file) for file in files))
        if self._loaded is None or self._key != key:
            self._loaded, self._key = None, None  # free the old one first
            self._loaded, self._key = self._load(folder, device), key
        return self._loaded

    def has(self, folder: Path, device: str) -> bool:
        return self._key is not None and self._key[:2] == (str(folder.resolve()), device)


def require_reconstructor(folder: Path) -> None:
    """Raise `WeightsError`, in one sentence, if a folder holds no reconstructor."""
    if not (folder / WEIGHTS_FILE).is_file() or not (folder / CONFIG_FILE).is_file():
        raise WeightsError(f"There are no reconstructor weights in {folder}: it needs config.json and {WEIGHTS_FILE}.")


def takes_fewer_views(folder: Path) -> bool:
    """Whether the reconstructor in a folder was trained on fewer than four views too; False if it cannot be read."""
    try:
        return int(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("condition_channels", 0)) > 0
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return False


def require_generator(folder: Path) -> None:
    """Raise `WeightsError`, in one sentence, if a folder holds no four-view generator."""
    if not (folder / GENERATOR_INDEX).is_file():
        raise WeightsError(
            f"There are no generator weights in {folder}: give all four photos, or choose the folder with {GENERATOR_INDEX}."
        )


def reconstructor_files(folder: Path) -> list[Path]:
    """Every file that a reconstructor is read from."""
    return [folder / CONFIG_FILE, folder / WEIGHTS_FILE]


def generator_files(folder: Path) -> list[Path]:
    """Every file that a generator is read from: its index and components, the stored examples it may start from, and their words.

    Raises:
        WeightsError: It is one that ships, and the registry is missing or damaged.
    """
    found = {path for path in folder.glob("*/*") if path.suffix in SUFFIXES}
    return sorted({folder / GENERATOR_INDEX, *found, *registered_below(folder)})


def load_reconstructor(folder: Path, device: str) -> LoadedModel:
    """The reconstructor in a folder, ready to infer.

    Raises:
        WeightsError: It cannot be read, or is not what ships.
    """
    from ..reconstructor import Reconstructor

    hashes = check_files(reconstructor_files(folder))
    reconstructor = load_network(Reconstructor, folder, "reconstructor weights").to(device)
    return LoadedModel(reconstructor, device, _by_name(folder, hashes))


def load_generator(folder: Path, device: str) -> LoadedGenerator:
    """The four-view generator in a folder, ready to paint: in float16 on a GPU if it is of the full size, else in float32.

    Raises:
        WeightsError: It cannot be read, or is not what ships.
    """
    import torch

    from ..multiview.pipeline import FourViewPipeline

    hashes = check_files(generator_files(folder))
    require_settings([folder / GENERATOR_INDEX, *folder.glob("*/*config.json")])
    full_size = (folder / "text_encoder_2").is_dir()
    dtype = torch.float16 if full_size and device != "cpu" else torch.float32
    try:
        with quiet_loading():
            parts = load_parts(folder, folder / GENERATOR_INDEX, dtype) if full_size else {}
            pipeline = FourViewPipeline.from_pretrained(folder, torch_dtype=dtype, **parts)
        if full_size:
            _require_lengths(pipeline, folder)
        elif not registered_below(folder):
            _require_starter(pipeline, folder)
    except WeightsError:
        logger.info("cannot load %s", folder, exc_info=True)
        raise
    except Exception as error:  # diffusers, safetensors and json each have their own
        logger.info("cannot load %s", folder, exc_info=True)
        raise WeightsError(f"The generator weights in {folder} cannot be read: download them again.") from error
    pipeline.to(device)  # a graphics card without room for it says so itself
    pipeline.set_progress_bar_config(disable=True)
    return LoadedGenerator(pipeline, folder, device, _by_name(folder, hashes))


def field_of_views(model: LoadedModel, views: FourViews) -> Field:
    """The field that the model sees in the known views, of which there is at least one."""
    return model.reconstructor.encode(views.rgba, views.rig, views.known)


def _require_starter(pipeline: FourViewPipeline, folder: Path) -> None:
    """Raise `ValueError` if a weight of a generator of the starter's layout is missing or no number, or words lack their rows."""
    for name, part in (("unet", pipeline.unet), ("vae", pipeline.vae), ("text_encoder", pipeline.text_encoder)):
        require_every_weight(part, folder / name / WEIGHTS_FILE)
    words, rows = len(pipeline.tokenizer), int(pipeline.text_encoder.config["vocab_size"])
    if words != rows:
        raise ValueError(f"{folder}: {words} entries of the vocabulary for {rows} rows of the table")


def _require_lengths(pipeline: FourViewPipeline, folder: Path) -> None:
    """Raise `ValueError` if a tokenizer of a full-size generator makes prompts of a length that its text encoder cannot read."""
    for number in ("", "_2"):
        length = getattr(pipeline, f"tokenizer{number}").model_max_length
        longest = getattr(pipeline, f"text_encoder{number}").config.max_position_embeddings
        if not isinstance(length, int) or not 1 <= length <= longest:
            raise ValueError(f"{folder}: tokenizer{number} makes {length} tokens for a text encoder of {longest}")


def _by_name(folder: Path, hashes: Mapping[Path, str]) -> dict[str, str]:
    """Hashes of the weights in a folder, by the folder's name and the path below it; settings and words are left out."""
    return {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": digest
        for path, digest in hashes.items()
        if path.suffix in WEIGHT_SUFFIXES
    }


def _changed(path: Path) -> int:
    """When a file was last changed, in nanoseconds; 0 if it is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0
