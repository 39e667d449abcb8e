"""LPIPS with its AlexNet or VGG-16 backbone, from weight files on this machine; no torchvision.

Two files make one metric: the ImageNet backbone in torchvision's layout (`features.0.weight`, ...) and the metric's own linear
layers in its authors' layout (`lin0.model.1.weight`, ...). Zhang et al. 2018, https://arxiv.org/abs/1801.03924
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError


@dataclass(frozen=True)
class _Backbone:
    """Convolutions (index in torchvision's `features`, in, out, kernel, stride, padding) and what lies between.

    Attributes:
        convolutions: In order.
        taps: Positions in `convolutions` whose output (after ReLU) is compared.
        pools_before: Positions before which a max pool is applied.
        pool: Its (kernel, stride).
        file: Name of the weights in torchvision's cache.
        linear: Name of the linear layers' file in its authors' package, without `.pth`.
    """

    convolutions: tuple[tuple[int, int, int, int, int, int], ...]
    taps: tuple[int, ...]
    pools_before: tuple[int, ...]
    pool: tuple[int, int]
    file: str
    linear: str


_VGG_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)

BACKBONES: Mapping[str, _Backbone] = {
    "alex": _Backbone(
        ((0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1), (8, 384, 256, 3, 1, 1), (10, 256, 256, 3, 1, 1)),
        (0, 1, 2, 3, 4), (1, 2), (3, 2), "alexnet-owt-7be5be79.pth", "alex",
    ),
    "vgg": _Backbone(
        tuple((index, _VGG_CHANNELS[i], _VGG_CHANNELS[i + 1], 3, 1, 1) for i, index in enumerate(_VGG_INDICES)),
        (1, 3, 6, 9, 12), (2, 4, 7, 10), (2, 2), "vgg16-397923af.pth", "vgg",
    ),
}  # fmt: skip

_MEAN, _STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # the metric's own, for images in -1..1


class Lpips(nn.Module):
    """The metric.

    Args:
        net: "alex" or "vgg".
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: str = "alex") -> None:
        super().__init__()
        self._backbone = BACKBONES[net]
        self.features = nn.ModuleDict(
            {str(index): nn.Conv2d(n_in, n_out, kernel, stride, padding)
             for index, n_in, n_out, kernel, stride, padding in self._backbone.convolutions}
        )  # fmt: skip
        widths = [self._backbone.convolutions[tap][2] for tap in self._backbone.taps]
        self.linear = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in widths])
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))

    @classmethod
    def from_files(cls, backbone: str | Path, linear: str | Path, net: str = "alex") -> Lpips:
        """The metric with the weights of two files, in evaluation mode.

        Raises:
            WeightsError: A file cannot be read or is of another network; the message names it.
        """
        metric = cls(net)
        layers = _read(backbone)
        wanted = {f"features.{name}": value for name, value in metric.features.named_parameters()}
        _copy(wanted, layers, backbone)
        _copy({f"lin{i}.model.1.weight": value for i, value in enumerate(metric.linear)}, _read(linear), linear)
        return metric.eval().requires_grad_(False)

    def _activations(self, images: Tensor) -> list[Tensor]:
        """Unit-length activations of each tapped layer for images [N, 3, H, W], 0..1."""
        x = (images * 2 - 1 - self.mean) / self.std
        found = []
        for position, conv in enumerate(self.features.values()):
            if position in self._backbone.pools_before:
                x = F.max_pool2d(x, *self._backbone.pool)
            x = F.relu(conv(x))
            if position in self._backbone.taps:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, images: Tensor, truth: Tensor) -> Tensor:
        """Distance of each pair of images float [N, 3, H, W], 0..1 sRGB: float [N]."""
        total = images.new_zeros(len(images))
        for a, b, weight in zip(self._activations(images), self._activations(truth), self.linear, strict=True):
            total = total + torch.einsum("nchw,c->nhw", (a - b).square(), weight).mean((1, 2))
        return total


def _read(path: str | Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        raise WeightsError(f"{path} cannot be read as weights ({type(error).__name__}): download it again.") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} holds no weights by name.")
    return state


def _copy(targets: Mapping[str, nn.Parameter], state: Mapping[str, Tensor], path: str | Path) -> None:
    """Fill parameters from a file's tensors; one of the same size but other unit dimensions fits."""
    for name, parameter in targets.items():
        value = state.get(name)
        if not isinstance(value, Tensor) or value.numel() != parameter.numel():
            found = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
            raise WeightsError(f"{path} is of another network: {name} should be {tuple(parameter.shape)}, found {found}.")
        with torch.no_grad():
            parameter.copy_(value.reshape(parameter.shape))


def _candidates(file: str, folder: str | Path | None) -> list[Path]:
    """Paths where a file of weights may be: the given folder, TETRAVIEW_LPIPS, torch's cache, the authors' package."""
    places = [Path(place) for place in (folder, os.environ.get("TETRAVIEW_LPIPS")) if place]
    places.append(Path(torch.hub.get_dir()) / "checkpoints")
    package = importlib.util.find_spec("lpips")
    if package is not None and package.origin:
        places.append(Path(package.origin).parent / "weights" / "v0.1")
    return [place / file for place in places]


@dataclass(frozen=True)
class LpipsSource:
    """The metric, or why it cannot be had.

    Attributes:
        metric: None if weights are missing.
        reason: One sentence; empty if they are not.
        sha256: Hash of each weight file, keyed by its name.
    """

    metric: Lpips | None
    reason: str
    sha256: Mapping[str, str]


def find_lpips(net: str = "alex", folder: str | Path | None = None) -> LpipsSource:
    """The metric, if both its weight files are on this machine; nothing is downloaded.

    Args:
        net: "alex" or "vgg".
        folder: The first folder to search.

    Raises:
        WeightsError: A file is there but damaged, or of another network.
    """
    backbone = BACKBONES[net]
    paths = []
    for file in (backbone.file, f"{backbone.linear}.pth"):
        candidates = _candidates(file, folder)
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            looked = ", ".join(str(candidate.parent) for candidate in candidates)
            return LpipsSource(None, f"LPIPS needs {file}, which is in none of: {looked}.", {})
        paths.append(path)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return LpipsSource(Lpips.from_files(paths[0], paths[1], net), "", hashes)
