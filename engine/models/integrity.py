"""Load networks, and see that their files are whole: settings that are settings, every weight, and only numbers in them.

Loaders of diffusers fill in what a file lacks, pass over what it has too much, and take settings of the wrong kind for the name
of a model on the network. What ships is known by its hash (`registry`); the rest is for weights of somebody's own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import WeightsError
from .registry import CONFIG_FILE, WEIGHTS_FILE, registered_below

if TYPE_CHECKING:
    import torch
    from diffusers.models.modeling_utils import ModelMixin
    from torch import nn

    Network = TypeVar("Network", bound=ModelMixin)

logger = logging.getLogger(__name__)

_NETWORKS = {"UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny", "CLIPTextModel", "CLIPTextModelWithProjection"}


def load_network(kind: type[Network], folder: Path, called: str) -> Network:
    """A network of ours, in float32, on the CPU and in evaluation mode.

    Args:
        kind: Its class.
        folder: With `config.json` and `diffusion_pytorch_model.safetensors`, both checked by `check_files`.
        called: What the weights are called in the message: "reconstructor weights".

    Raises:
        WeightsError: The files are damaged or of another network.
    """
    import torch

    try:
        require_settings([folder / CONFIG_FILE])
        with quiet_loading():
            network: Network = kind.from_pretrained(str(folder), torch_dtype=torch.float32, local_files_only=True)
        if not registered_below(folder):
            require_every_weight(network, folder / WEIGHTS_FILE)
    except Exception as error:  # diffusers, safetensors and json each have their own
        logger.info("cannot load %s", folder, exc_info=True)
        raise WeightsError(f"The {called} in {folder} cannot be read: download them again.") from error
    network.eval().requires_grad_(False)
    return network


def require_settings(files: Iterable[Path]) -> None:
    """Raise `WeightsError`, naming the file, if one of the settings is not what settings are: names with values."""
    for path in files:
        try:
            whole = isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
        except (OSError, ValueError, RecursionError):
            whole = False
        if not whole:
            raise WeightsError(f"The settings {path.name} in {path.parent} are damaged: download them again.")


def require_every_weight(network: nn.Module, path: Path) -> None:
    """Compare a network with the file that it was loaded from.

    Args:
        network: With its weights, on the CPU.
        path: Its safetensors file.

    Raises:
        ValueError: The file lacks weights or has others, or they are not finite numbers; names the first.
        SafetensorError: The file cannot be read.
    """
    from safetensors import safe_open

    state = network.state_dict()
    with safe_open(path, "pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    if differing := sorted(state.keys() ^ kinds.keys()):
        raise ValueError(f"{path} and the network differ in {len(differing)} weights: {differing[0]}")
    for name, tensor in state.items():
        if tensor.is_floating_point() and ("F" not in kinds[name] or not bool(tensor.isfinite().all())):
            raise ValueError(f"{path} has no numbers for {name}")


def load_parts(folder: Path, index: Path, dtype: torch.dtype) -> dict[str, nn.Module]:
    """The networks of a pipeline that diffusers and transformers have the classes of: they would fill in what the files lack.

    Args:
        folder: Of the pipeline.
        index: Its settings, which name library and class of each part.
        dtype: Of the weights.

    Raises:
        ValueError: A file lacks weights, or has some of another shape.
    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    parts = {}
    for name, entry in json.loads(index.read_text(encoding="utf-8")).items():
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in libraries or entry[1] not in _NETWORKS:
            continue
        kind = getattr(libraries[entry[0]], entry[1])
        options = {"torch_dtype": dtype, "local_files_only": True, "output_loading_info": True}
        parts[name], found = kind.from_pretrained(str(folder / name), **options)
        if lacking := [*found["missing_keys"], *found["mismatched_keys"]]:
            raise ValueError(f"{folder / name} lacks {len(lacking)} weights: {lacking[0]}")
    return parts


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Without the progress bars of diffusers and transformers, and their remarks on weights and settings."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = diffusers_logging, transformers_logging
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)  # what they call errors is raised as well
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `torch_dtype` is called `dtype` in later versions
            yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()
