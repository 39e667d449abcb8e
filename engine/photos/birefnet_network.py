"""BiRefNet's network: a photo of a subject to the subject's coverage, at the photo's full resolution.

Zheng et al. 2024, Bilateral Reference for High-Resolution Dichotomous Image Segmentation, https://arxiv.org/abs/2401.03407.
Written from the paper; names and shapes of the weights are those of the published checkpoints, so that they load as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deformable import DeformableConv2d
from .swin import SwinTransformer

STRIDE = 32
"""Sides of the input are multiples of this."""
_EDGE_CHANNELS = 16
_KERNELS = (1, 3, 7)


@dataclass(frozen=True)
class BiRefNetSize:
    """What differs between checkpoints. The defaults are BiRefNet's own, 221 M weights; BiRefNet_lite has 44 M.

    Attributes:
        channels: Channels of the backbone's first stage.
        depths: Number of blocks of each of its four stages.
        heads: Number of attention heads of each stage.
        window: Side of an attention window.
        inner: Channels within a block of the decoder.
        branch: Channels of each branch of its spatial pyramid.
    """

    channels: int = 192
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (6, 12, 24, 48)
    window: int = 12
    inner: int = 64
    branch: int = 256

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> BiRefNetSize:
        """The size that a checkpoint has, from the shape of each of its weights.

        Raises:
            ValueError: It is no checkpoint of this network.
        """
        try:
            tables = [shapes[f"bb.layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(4)]
            stages = [name.split(".")[2] for name in shapes if name.startswith("bb.layers.") and name.endswith(".qkv.weight")]
            channels = shapes["bb.patch_embed.proj.weight"][0]
            if any(channels * 2**stage % heads for stage, (_, heads) in enumerate(tables)):
                raise ValueError("its attention heads do not share its channels evenly")
            return cls(
                channels=channels,
                depths=tuple(stages.count(str(stage)) for stage in range(4)),
                heads=tuple(heads for _, heads in tables),
                window=(int(tables[0][0] ** 0.5) + 1) // 2,
                inner=shapes["squeeze_module.0.conv_in.weight"][0],
                branch=shapes["squeeze_module.0.dec_att.aspp1.bn.weight"][0],
            )
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"not a checkpoint of BiRefNet: {error}") from error


class BiRefNet(nn.Module):
    """Photo to logits of the subject's coverage."""

    def __init__(self, size: BiRefNetSize) -> None:
        super().__init__()
        widths = [2 * size.channels * 2**stage for stage in range(4)]  # twice: of the photo, and of the photo at half its size
        self.bb = SwinTransformer(size.channels, size.depths, size.heads, size.window)
        self.squeeze_module = nn.Sequential(_DecoderBlock(sum(widths), widths[3], size))
        self.decoder = _Decoder(widths, size)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> BiRefNet:
        """The network of a checkpoint, in float32 and in evaluation mode.

        Args:
            weights: Every weight by its name, of any precision; the network may keep them, not copies.

        Raises:
            ValueError: They are of another network.
        """
        size = BiRefNetSize.of({name: tuple(tensor.shape) for name, tensor in weights.items()})
        with torch.device("meta"):  # nothing is made that the weights replace
            network = cls(size)
        try:
            network.load_state_dict(weights, assign=True)
        except RuntimeError as error:  # names or shapes differ
            raise ValueError(f"not a checkpoint of BiRefNet: {error}") from error
        network.bb.number_positions()
        return network.float().eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """float [B, 3, H, W], normalised by ImageNet's mean and deviation, sides multiples of 32 -> logits [B, 1, H, W]."""
        if pixels.shape[-2] % STRIDE or pixels.shape[-1] % STRIDE:
            raise ValueError(f"expected sides that are multiples of {STRIDE}, got {tuple(pixels.shape)}")
        half = _resize(pixels, (pixels.shape[-2] // 2, pixels.shape[-1] // 2))
        features = [
            torch.cat([fine, _resize(coarse, fine.shape[-2:])], 1)
            for fine, coarse in zip(self.bb(pixels), self.bb(half), strict=True)
        ]
        coarsest = features[-1]
        everything = torch.cat([*(_resize(x, coarsest.shape[-2:]) for x in features[:-1]), coarsest], 1)
        features[-1] = self.squeeze_module(everything)
        logits: Tensor = self.decoder(pixels, features)
        return logits


class _Decoder(nn.Module):
    """Features to logits, from the coarsest level (4) to the finest (1); each sees the photo itself, folded into channels."""

    def __init__(self, widths: list[int], size: BiRefNetSize) -> None:
        super().__init__()
        for level in range(5):  # level 0 is the photo's own resolution
            folded = 3 * 4 ** (level + 1) if level else 3
            self.add_module(f"ipt_blk{level + 1}", _convolutions(folded, widths[min(level, 3)] // 8, size.inner))
        for level in range(1, 5):
            out = widths[level - 2] if level > 1 else widths[0] // 2
            self.add_module(f"decoder_block{level}", _DecoderBlock(widths[level - 1] + widths[min(level, 3)] // 8, out, size))
        for level in range(2, 5):
            width = widths[level - 2]
            self.add_module(f"lateral_block{level}", nn.Sequential(OrderedDict(conv=nn.Conv2d(width, width, 1))))
            edges = nn.Conv2d(width, _EDGE_CHANNELS, 3, padding=1), nn.BatchNorm2d(_EDGE_CHANNELS), nn.ReLU()
            self.add_module(f"gdt_convs_{level}", nn.Sequential(*edges))
            self.add_module(f"gdt_convs_attn_{level}", nn.Sequential(nn.Conv2d(_EDGE_CHANNELS, 1, 1)))
            # only training looks at these two: they are here because the checkpoints hold them
            self.add_module(f"gdt_convs_pred_{level}", nn.Sequential(nn.Conv2d(_EDGE_CHANNELS, 1, 1)))
            self.add_module(f"conv_ms_spvn_{level}", nn.Conv2d(width, 1, 1))
        self.conv_out1 = nn.Sequential(nn.Conv2d(widths[0] // 2 + widths[0] // 8, 1, 1))

    def forward(self, pixels: Tensor, features: list[Tensor]) -> Tensor:
        part = self.get_submodule
        x = features[-1]
        for level in range(4, 0, -1):
            seen = part(f"ipt_blk{level + 1}")(fold_photo(pixels, x.shape[-2], x.shape[-1]))
            x = part(f"decoder_block{level}")(torch.cat([x, seen], 1))
            if level > 1:
                edges = part(f"gdt_convs_{level}")(x)
                finer = features[level - 2]
                x = x * part(f"gdt_convs_attn_{level}")(edges).sigmoid()
                x = _resize(x, finer.shape[-2:]) + part(f"lateral_block{level}")(finer)
        seen = part("ipt_blk1")(pixels)
        logits: Tensor = self.conv_out1(torch.cat([_resize(x, pixels.shape[-2:]), seen], 1))
        return logits


class _DecoderBlock(nn.Sequential):
    """Fewer channels, a spatial pyramid of them, then the channels of the next level."""

    def __init__(self, channels: int, out_channels: int, size: BiRefNetSize) -> None:
        super().__init__(
            OrderedDict(
                conv_in=nn.Conv2d(channels, size.inner, 3, padding=1),
                bn_in=nn.BatchNorm2d(size.inner),
                relu_in=nn.ReLU(),
                dec_att=_Pyramid(size.inner, size.branch),
                conv_out=nn.Conv2d(size.inner, out_channels, 3, padding=1),
                bn_out=nn.BatchNorm2d(out_channels),
            )
        )


class _Pyramid(nn.Module):
    """Deformable convolutions of several sizes side by side, and the mean of the whole map."""

    def __init__(self, channels: int, branch: int) -> None:
        super().__init__()
        self.aspp1 = _branch(channels, branch, 1)
        self.aspp_deforms = nn.ModuleList(_branch(channels, branch, kernel) for kernel in _KERNELS)
        mean = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, branch, 1, bias=False), nn.BatchNorm2d(branch), nn.ReLU()
        self.global_avg_pool = nn.Sequential(*mean)
        self.conv1 = nn.Conv2d((2 + len(_KERNELS)) * branch, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> the same."""
        branches = [self.aspp1(x), *(deform(x) for deform in self.aspp_deforms)]
        branches.append(self.global_avg_pool(x).expand_as(branches[0]))
        return F.relu(self.bn1(self.conv1(torch.cat(branches, 1))))


def _branch(channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    convolution = DeformableConv2d(channels, out_channels, kernel)
    return nn.Sequential(OrderedDict(atrous_conv=convolution, bn=nn.BatchNorm2d(out_channels), relu=nn.ReLU()))


def _convolutions(channels: int, out_channels: int, inner: int) -> nn.Sequential:
    first, second = nn.Conv2d(channels, inner, 3, padding=1), nn.Conv2d(inner, out_channels, 3, padding=1)
    return nn.Sequential(OrderedDict(conv1=first, conv_out=second))


def fold_photo(pixels: Tensor, height: int, width: int) -> Tensor:
    """Lay the tiles of a photo on top of each other: float [B, 3, G height, G width] -> [B, G G 3, height, width].

    The tiles go down the first column, then the next: BiRefNet and BiRefNet_lite, published in August 2024, were trained with
    that order. Code that was published later, and checkpoints trained with it, go along the rows.
    """
    batch, channels, whole_height, whole_width = pixels.shape
    tiles = pixels.view(batch, channels, whole_height // height, height, whole_width // width, width)
    return tiles.permute(0, 4, 2, 1, 3, 5).reshape(batch, -1, height, width)


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """float [B, C, H, W] at another size: bilinear, corners kept in place."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
