"""BiRefNet (MIT licence), a network that cuts subjects out of any background, when its weights are already on this machine.

Nothing here ever downloads, and nothing that was downloaded is ever run: the weights are looked up in the Hugging Face hub cache
or in a folder given by path, and read by the network in `birefnet_network`.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import WeightsError
from ..models.registry import check_files

if TYPE_CHECKING:
    from .birefnet_network import BiRefNet

logger = logging.getLogger(__name__)

REPOSITORIES = ("ZhengPeng7/BiRefNet", "ZhengPeng7/BiRefNet_lite")
"""Where the hub cache may hold weights from, the better first."""
FOLDER_VARIABLE = "TETRAVIEW_BIREFNET"
"""Environment variable with a folder of BiRefNet weights, in place of the hub cache."""
BIREFNET_FILE = "model.safetensors"

INPUT_PX = 1024
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def find_birefnet() -> Path | None:
    """The folder of BiRefNet's weights on this machine, or None; never uses the network and does not import torch."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named) if (Path(named) / BIREFNET_FILE).is_file() else None
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    for repository in REPOSITORIES:
        cached = try_to_load_from_cache(repository, BIREFNET_FILE)
        if isinstance(cached, str):
            return Path(cached).parent
    return None


@functools.lru_cache(maxsize=1)
def load_birefnet(folder: Path) -> BiRefNet:
    """The network, on the CPU, in float32 and in evaluation mode; kept in memory.

    Args:
        folder: With `model.safetensors`: BiRefNet's, BiRefNet_lite's, or weights of another size with the same names.

    Raises:
        WeightsError: They cannot be read, are damaged, or are of another network; names the folder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from .birefnet_network import BiRefNet

    check_files([folder / BIREFNET_FILE])
    try:
        return BiRefNet.from_weights(load_file(folder / BIREFNET_FILE))
    except (OSError, ValueError, SafetensorError) as error:
        logger.info("cannot load %s", folder, exc_info=True)
        raise WeightsError(f"The BiRefNet weights in {folder} cannot be read: download them again.") from error


def segment_birefnet(rgb: npt.NDArray[np.uint8], folder: Path) -> npt.NDArray[np.float32]:
    """Coverage of the subject.

    Args:
        rgb: uint8 [H, W, 3].
        folder: As in `load_birefnet`.

    Returns:
        float32 [1024, 1024], 0..1: the photo squeezed to a square.

    Raises:
        WeightsError: The network cannot be loaded, or its weights give no coverage.
    """
    import torch

    network = load_birefnet(folder)
    shrinks = max(rgb.shape[:2]) > INPUT_PX
    square = cv2.resize(rgb, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    pixels = (square.astype(np.float32) / 255.0 - _MEAN) / _STD
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()  # [1, 3, 1024, 1024]
    with torch.inference_mode():
        coverage = network(batch)[0, 0].sigmoid()
    if not bool(coverage.isfinite().all()):
        raise WeightsError(f"The BiRefNet weights in {folder} are damaged: download them again.")
    return np.asarray(coverage.numpy(), np.float32)
