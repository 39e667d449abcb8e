"""Cut a subject out of a busy background with the starter's own small network, trained on rendered objects; offline.

The network sees the photo at 160 px; where its subject is small it looks a second time, nearer. GrabCut then moves the doubtful
outline to the photo's own edges. Nothing here imports torch until a photo needs it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ..models.integrity import load_network
from ..models.registry import CONFIG_FILE, STARTER_WEIGHTS, WEIGHTS_FILE, check_files
from .plain import work_size

if TYPE_CHECKING:
    from .cutout_network import CutoutNetwork

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

STARTER_CUTOUT = STARTER_WEIGHTS / "cutout"
NEAR_SHARE = 0.7  # what the subject's longest side is of the second look's
_SURE_SUBJECT, _SURE_BACKGROUND = 0.98, 0.02
_OVERLAP_KEPT = 0.5  # GrabCut that leaves the network's mask by more than this has followed something else
_PART = 0.15  # of the largest part: a smaller separate part is no part of the subject


@dataclass(frozen=True)
class StarterCut:
    """Result of the network.

    Attributes:
        mask: bool [h, w], True on the subject, at working size; all False if it sees none.
        confidence: The overlap with the truth (intersection over union) that the network expects of its own mask, 0..1.
    """

    mask: BoolArray
    confidence: float


def find_starter_cutout() -> Path | None:
    """The folder of the network's weights, or None if the package came without them; does not import torch."""
    complete = (STARTER_CUTOUT / CONFIG_FILE).is_file() and (STARTER_CUTOUT / WEIGHTS_FILE).is_file()
    return STARTER_CUTOUT if complete else None


@functools.lru_cache(maxsize=1)
def load_starter_cutout(folder: Path) -> CutoutNetwork:
    """The network, on the CPU and in evaluation mode; kept in memory.

    Raises:
        WeightsError: The weights cannot be read, or are not what ships; names them.
    """
    import torch

    from .cutout_network import CutoutNetwork

    check_files([folder / CONFIG_FILE, folder / WEIGHTS_FILE])
    return load_network(CutoutNetwork, folder, "cut-out weights").to(memory_format=torch.channels_last)


def segment_starter(rgb: UInt8Array, folder: Path) -> StarterCut:
    """Separate the subject from any background.

    Args:
        rgb: uint8 [H, W, 3].
        folder: As in `load_starter_cutout`.

    Raises:
        WeightsError: The network cannot be loaded.
    """
    small = work_size(rgb)
    probability = subject_probability(small, load_starter_cutout(folder))
    coarse = main_parts(probability)
    if not coarse.any():
        return StarterCut(coarse, 0.0)
    kept = np.where(coarse | (probability < 0.5), probability, 1 - probability)  # clutter that was dropped is no doubt
    confidence = float(np.minimum(kept, coarse).sum() / np.maximum(kept, coarse).sum())
    return StarterCut(_refined(small, probability, coarse), confidence)


def subject_probability(rgb: UInt8Array, network: CutoutNetwork) -> Float32Array:
    """Probability that each pixel is the subject, float32 [h, w] for uint8 [h, w, 3]: on the whole photo, then on a crop."""
    height, width = rgb.shape[:2]
    probability = _look(rgb, network)
    found = main_parts(probability)
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    if len(rows) == 0:
        return probability
    side = max(len(range(rows[0], rows[-1] + 1)), len(range(columns[0], columns[-1] + 1))) / NEAR_SHARE
    if side > 0.9 * max(height, width) or side < 8:
        return probability
    middle_y, middle_x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    top, left = int(np.clip(middle_y - side / 2, 0, height)), int(np.clip(middle_x - side / 2, 0, width))
    near = np.s_[top : min(height, int(middle_y + side / 2)), left : min(width, int(middle_x + side / 2))]
    result = probability * 0.0
    result[near] = 0.5 * probability[near] + 0.5 * _look(rgb[near], network)
    return result


def main_parts(probability: Float32Array) -> BoolArray:
    """Mask [h, w] of the subject: the heaviest connected part above one half, and others that are not much smaller.

    Parts that run out of the photo count half, and are dropped if the weightiest one does not.
    """
    mask = probability > 0.5
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    weight = np.bincount(labels.ravel(), weights=(probability * mask).ravel(), minlength=count)
    at_edge = np.zeros(count, bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_edge[line] = True
    main = int(np.argmax(np.where(at_edge, 0.5, 1.0) * weight))
    keep = weight >= max(_PART * weight[main], 1e-6)
    if not at_edge[main]:
        keep &= ~at_edge
    keep[0] = False
    return np.asarray(keep[labels])


def _look(rgb: UInt8Array, network: CutoutNetwork) -> Float32Array:
    """The network's answer [h, w] for a picture and its mirror image, squeezed to its square."""
    import torch

    px = int(network.config["input_px"])
    shrinks = max(rgb.shape[:2]) > px
    square = cv2.resize(rgb, (px, px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    pixels = torch.from_numpy(square).permute(2, 0, 1).float() / 127.5 - 1
    with torch.inference_mode():
        logits = network(torch.stack([pixels, pixels.flip(-1)]))[:, 0]
    mean = torch.stack([logits[0], logits[1].flip(-1)]).sigmoid().mean(0).numpy()
    return np.asarray(cv2.resize(mean, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1), np.float32)


def _refined(rgb: UInt8Array, probability: Float32Array, coarse: BoolArray) -> BoolArray:
    """The mask moved to the photo's edges where the network is in doubt."""
    labels = np.where(coarse, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[(probability > _SURE_SUBJECT) & coarse] = cv2.GC_FGD
    labels[probability < _SURE_BACKGROUND] = cv2.GC_BGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return coarse
    cv2.setRNGSeed(0)
    cv2.grabCut(rgb, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    cut = main_parts(((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32))
    return cut if (cut & coarse).sum() > _OVERLAP_KEPT * (cut | coarse).sum() else coarse
