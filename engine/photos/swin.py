"""Swin Transformer: a pyramid of features from attention within windows, which shift by half from one block to the next.

Liu et al. 2021, Swin Transformer, https://arxiv.org/abs/2103.14030. Names of the weights are those of its published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SwinTransformer(nn.Module):
    """Photo to one map of features per stage; each stage has half the resolution and twice the channels of the last.

    Args:
        channels: Channels of the first stage.
        depths: Number of blocks of each stage.
        heads: Number of attention heads of each stage.
        window: Side of a window in places.
    """

    def __init__(self, channels: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(channels)
        widths = [channels * 2**stage for stage in range(len(depths))]
        self.layers = nn.ModuleList(
            _Stage(width, depth, head, window, merges=width != widths[-1])
            for width, depth, head in zip(widths, depths, heads, strict=True)
        )
        for stage, width in enumerate(widths):
            self.add_module(f"norm{stage}", nn.LayerNorm(width))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """float [B, 3, H, W] -> of each stage [B, C, H', W'], from a fourth of the resolution downward."""
        x = self.patch_embed(pixels)
        features = []
        for stage, layer in enumerate(self.layers):
            seen, x = layer(x)
            features.append(self.get_submodule(f"norm{stage}")(seen).permute(0, 3, 1, 2).contiguous())
        return features

    def number_positions(self) -> None:
        """Number the relative positions anew: checkpoints hold the numbers, but they follow from the window."""
        for module in self.modules():
            if isinstance(module, _WindowAttention):
                module.relative_position_index = relative_positions(module.window)


class _PatchEmbed(nn.Module):
    """Squares of 4 x 4 pixels to places: [B, 3, H, W] -> [B, H / 4, W / 4, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        whole = F.pad(pixels, (0, -width % 4, 0, -height % 4))
        normed: Tensor = self.norm(self.proj(whole).permute(0, 2, 3, 1))
        return normed


class _Stage(nn.Module):
    """The blocks of one resolution, and the way down to the next."""

    def __init__(self, channels: int, depth: int, heads: int, window: int, merges: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(channels, heads, window, window // 2 * (index % 2)) for index in range(depth))
        self.downsample = _PatchMerging(channels) if merges else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, H, W, C] -> the same, and what goes on to the next stage."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class _PatchMerging(nn.Module):
    """Squares of 2 x 2 places to one of twice the channels: [B, H, W, C] -> [B, H / 2, W / 2, 2 C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        quarters = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(quarters, -1)))
        return merged


class _Block(nn.Module):
    """Attention within windows and a perceptron, each beside a straight path; [B, H, W, C] to the same."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = _WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(channels, 4 * channels), "fc2": nn.Linear(4 * channels, channels)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        widened = F.gelu(self.mlp["fc1"](self.norm2(x)))
        mixed: Tensor = x + self.mlp["fc2"](widened)
        return mixed

    def _attend(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        side = self.window
        # fill up to whole windows, then shift, so that the windows straddle those of the block before
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        down, across = x.shape[1] // side, x.shape[2] // side
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        windows = x.unflatten(2, (across, side)).unflatten(1, (down, side)).transpose(2, 3)  # [B, down, across, side, side, C]
        separate = _separation(down, across, side, self.shift, x.device) if self.shift else None
        attended = self.attn(windows.reshape(-1, down * across, side * side, channels), separate)
        # and back
        x = attended.view(-1, down, across, side, side, channels).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


class _WindowAttention(nn.Module):
    """Attention of each place to all of its window, with a learnt bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_positions(window))

    def forward(self, windows: Tensor, separate: Tensor | None) -> Tensor:
        """float [B, windows, places, C], and 0 or minus infinity [windows, places, places] -> [B, windows, places, C]."""
        batch, count, places, channels = windows.shape
        parts = self.qkv(windows).view(batch, count, places, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5)  # each [B, windows, heads, places, C / heads]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # [heads, places, places]
        if separate is not None:
            bias = bias + separate[:, None]
        attended = F.scaled_dot_product_attention(query, key, value, bias.expand(batch, count, -1, -1, -1))
        mixed: Tensor = self.proj(attended.transpose(2, 3).reshape(batch, count, places, channels))
        return mixed


def relative_positions(window: int) -> Tensor:
    """The row of the bias table for each pair of places of a window, int64 [places, places]."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + window - 1) * (2 * window - 1) + (x[:, None] - x + window - 1)


def _separation(down: int, across: int, side: int, shift: int, device: torch.device) -> Tensor:
    """Minus infinity for places that only the shift brought into one window, else 0: [windows, places, places]."""

    def parts(count: int) -> Tensor:
        """Which part each line belongs to: before the last window, in it, or brought from the other end."""
        line = torch.arange(count * side, device=device)
        return (line >= (count - 1) * side).long() + (line >= count * side - shift).long()

    part = 3 * parts(down)[:, None] + parts(across)
    part = part.view(down, side, across, side).transpose(1, 2).reshape(down * across, side * side)
    apart = part[:, :, None] != part[:, None]
    return torch.zeros(apart.shape, device=device).masked_fill(apart, float("-inf"))
