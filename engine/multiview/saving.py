"""Save and load a pipeline with our own components.

diffusers finds a component's class by the name of its module, which is `tetraview...` on the command line and
`bl_ext.<repository>.tetraview...` in Blender, and knows only the tokenizers of transformers. So the index names our own
components without a library (`"tokenizer": [null, "StarterTokenizer"]`): diffusers passes over them, and this class saves and
loads them by an explicit table.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from ..errors import WeightsError
from .autoencoder import PatchAutoencoder
from .text.encoder import StarterTextEncoder
from .text.tokenizer import StarterTokenizer

OWN_COMPONENTS: dict[str, Any] = {cls.__name__: cls for cls in (PatchAutoencoder, StarterTextEncoder, StarterTokenizer)}
INDEX_FILE = DiffusionPipeline.config_name


class SavedPipeline(DiffusionPipeline):
    """A `DiffusionPipeline` whose autoencoder and text components may be our own."""

    _optional_components = ["vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]  # noqa: RUF012 (as diffusers has it)

    def register_modules(self, **kwargs: Any) -> None:
        """Set components by name; our own are entered in the index without a library."""
        super().register_modules(**kwargs)
        own = {name: (None, type(part).__name__) for name, part in kwargs.items() if type(part).__name__ in OWN_COMPONENTS}
        self.register_to_config(**own)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write every component to a folder of its own, and `model_index.json`.

        Args:
            save_directory: Made if it does not exist.
            args, kwargs: As in `DiffusionPipeline.save_pretrained`.
        """
        self.register_modules(**self.components)  # components may have been replaced since
        for name, component in self.components.items():
            if type(component).__name__ in OWN_COMPONENTS:
                component.save_pretrained(str(Path(save_directory) / name))
        super().save_pretrained(save_directory, *args, **kwargs)
        forget_origin(Path(save_directory))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Load a pipeline; never over the network unless `local_files_only=False` is given.

        Args:
            pretrained_model_name_or_path: The folder; the name of a pipeline on the Hub if it is in the local cache.
            kwargs: As in `DiffusionPipeline.from_pretrained`: `torch_dtype`, `variant`, components by name, and so on.

        Raises:
            WeightsError: The folder holds no pipeline, or not all of one.
        """
        folder = Path(pretrained_model_name_or_path)
        own = load_own_components(folder, kwargs) if folder.is_dir() else {}
        kwargs.setdefault("local_files_only", True)
        try:
            return super().from_pretrained(str(pretrained_model_name_or_path), **own, **kwargs)
        except OSError as error:
            raise WeightsError(f"The generator weights in {folder} cannot be read: download them again.") from error


def load_own_components(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The components in `folder` that are of our own classes, and not among `arguments` already.

    Raises:
        WeightsError: The index or a component cannot be read.
    """
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"There are no generator weights in {folder}: choose the folder with {INDEX_FILE}.") from error
    dtype = {key: arguments[key] for key in ("dtype", "torch_dtype") if isinstance(arguments.get(key), torch.dtype)}
    own = {}
    for name, entry in index.items():
        component = OWN_COMPONENTS.get(entry[1]) if isinstance(entry, list) and len(entry) == 2 else None
        if component is None or name in arguments:
            continue
        options = dtype if issubclass(component, torch.nn.Module) else {}
        try:
            own[name] = component.from_pretrained(str(folder / name), **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"The {name.replace('_', ' ')} in {folder} cannot be read: download the weights again.") from error
    return own


def forget_origin(folder: Path) -> None:
    """Take out of a saved pipeline's settings the folder that its parts were loaded from: it says nothing elsewhere."""
    for path in [folder / INDEX_FILE, *folder.glob("*/*config.json")]:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
