"""BiRefNet (MIT licence), a network that cuts subjects out of any background, when its weights are already on this machine.

Nothing here ever downloads: the weights are looked up in the Hugging Face hub cache or in a folder given by path.
Zheng et al. 2024, Bilateral Reference for High-Resolution Dichotomous Image Segmentation, https://arxiv.org/abs/2401.03407
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import WeightsError

REPOSITORY = "ZhengPeng7/BiRefNet"
FOLDER_VARIABLE = "TETRAVIEW_BIREFNET"
"""Environment variable with a folder of BiRefNet weights, in place of the hub cache."""

INPUT_PX = 1024
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def find_birefnet() -> Path | None:
    """The folder of BiRefNet's weights on this machine, or None; never uses the network and does not import torch.

    None, too, where the library that loads them (transformers, an option) is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        folder = Path(named)
        return folder if _is_complete(folder) else None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(REPOSITORY, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


@functools.lru_cache(maxsize=1)
def load_birefnet(folder: Path) -> Any:
    """The network, on the CPU and in evaluation mode.

    Args:
        folder: With `config.json`, `model.safetensors` and the model's own Python files (its `auto_map`), as in the hub cache.

    Raises:
        WeightsError: Anything is missing or of another kind; names the folder.
    """
    from transformers import AutoConfig
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
        reference = config.auto_map["AutoModelForImageSegmentation"]
        network = get_class_from_dynamic_module(reference, str(folder), local_files_only=True)
        if not hasattr(network, "all_tied_weights_keys"):
            # transformers 5 expects what `post_init` sets; BiRefNet's published code does not call it.
            network.all_tied_weights_keys = {}
        return network.from_pretrained(folder, config=config, local_files_only=True).float().eval()
    except Exception as error:  # the folder holds Python code of its own, which may fail in any way
        raise WeightsError(f"The BiRefNet weights in {folder} cannot be loaded ({error}): download them again.") from error


def segment_birefnet(rgb: npt.NDArray[np.uint8], folder: Path) -> npt.NDArray[np.float32]:
    """Coverage of the subject.

    Args:
        rgb: uint8 [H, W, 3].
        folder: As in `load_birefnet`.

    Returns:
        float32 [1024, 1024], 0..1: the photo squeezed to a square.

    Raises:
        WeightsError: The network cannot be loaded.
    """
    import torch

    network = load_birefnet(folder)
    shrinks = max(rgb.shape[:2]) > INPUT_PX
    square = cv2.resize(rgb, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    pixels = (square.astype(np.float32) / 255.0 - _MEAN) / _STD
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()  # [1, 3, 1024, 1024]
    with torch.inference_mode():
        coverage = network(batch)[-1].sigmoid()[0, 0]  # the last of its outputs is the finest
    return np.asarray(coverage.float().numpy(), np.float32)
