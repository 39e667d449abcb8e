"""The plane U-Net: one slot per plane, joint attention over all slots' tokens.

Slots run in the order of the planes, xy, xz, yz. Every slot's image has the layout of its plane (`kernels.reference`):
columns along the plane's first axis, row 0 at -1 of the second.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _groups(channels: int) -> int:
    return max(g for g in (32, 16, 8, 4, 2, 1) if (channels % g == 0 and channels // g >= 4) or g == 1)


class AxisMix(nn.Module):
    """Lets planes that share an axis talk: means along the unshared axis, one linear map, broadcast and added.

    The "3D-aware" exchange of Wang et al. 2023, Rodin, https://arxiv.org/abs/2212.06135, with one 1x1 map a pair.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        maps = [nn.Linear(channels, channels) for _ in range(2)]  # along the columns, along the rows
        for linear in maps:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.maps = nn.ModuleList(maps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, C, H, W] -> the same shape."""
        over_rows, over_columns = x.mean(3).transpose(2, 3), x.mean(4).transpose(2, 3)  # [B, 3, W, C], [B, 3, H, C]
        (xy_x, xz_x, yz_y), (xy_y, xz_z, yz_z) = over_rows.unbind(1), over_columns.unbind(1)
        along_columns = self.maps[0](torch.stack([xz_x, xy_x, xy_y], 1)).transpose(2, 3)  # what the partners know of x, x, y
        along_rows = self.maps[1](torch.stack([yz_y, yz_z, xz_z], 1)).transpose(2, 3)  # of y, z, z
        return x + along_columns[:, :, :, None, :] + along_rows[:, :, :, :, None]


class ResidualBlock(nn.Module):
    """Norm, activation, 3x3 convolution, twice, with axis exchange between if `mix`; input [B * 3, C, H, W].

    With `condition_channels`, the second norm is scaled and shifted by a linear map of the condition, which starts at zero.
    Perez et al. 2018, FiLM, https://arxiv.org/abs/1709.07871
    """

    def __init__(self, in_channels: int, out_channels: int, mix: bool, condition_channels: int = 0) -> None:
        super().__init__()
        self.modulation = nn.Linear(condition_channels, 2 * out_channels) if condition_channels else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
        self.norm_1 = nn.GroupNorm(_groups(in_channels), in_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.mix = AxisMix(out_channels) if mix else None
        self.norm_2 = nn.GroupNorm(_groups(out_channels), out_channels)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        for parameter in self.conv_2.parameters():  # every block starts as its skip path
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x)))
        if self.mix is not None:
            h = self.mix(h.unflatten(0, (-1, 3))).flatten(0, 1)
        h = self.norm_2(h)
        if self.modulation is not None and condition is not None:
            scale, shift = self.modulation(condition).repeat_interleave(3, 0)[..., None, None].chunk(2, 1)  # [B * 3, C, 1, 1]
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv_2(F.silu(h))


class SlotAttention(nn.Module):
    """Self-attention over the tokens of all three slots, with a learned position of each token."""

    def __init__(self, channels: int, size_px: int, head_dim: int) -> None:
        super().__init__()
        self.heads = max(1, channels // head_dim)
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.position = nn.Parameter(torch.randn(3 * size_px * size_px, channels) * 0.02)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B * 3, C, H, W] -> the same shape."""
        height, width = x.shape[-2:]
        tokens = self.norm(x).unflatten(0, (-1, 3)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # [B, 3HW, C]
        tokens = tokens + self.position
        q, k, v = self.to_qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # [B, 3HW, C]
        out = self.to_out(mixed).unflatten(1, (3, height, width)).permute(0, 1, 4, 2, 3).flatten(0, 1)
        return x + out.to(x.dtype)


class Level(nn.Module):
    """Residual blocks of one resolution: the first exchanges along the axes, attention (if any) follows the last."""

    def __init__(
        self, in_channels: list[int], channels: int, size_px: int, attention: bool, head_dim: int, condition_channels: int
    ) -> None:
        super().__init__()
        blocks = [ResidualBlock(c, channels, index == 0, condition_channels) for index, c in enumerate(in_channels)]
        self.blocks = nn.ModuleList(blocks)
        self.attention = SlotAttention(channels, size_px, head_dim) if attention else None

    def step(self, index: int, x: Tensor, condition: Tensor | None) -> Tensor:
        x = self.blocks[index](x, condition)
        return self.attention(x) if self.attention is not None and index == len(self.blocks) - 1 else x


class PlaneUNet(nn.Module):
    """Slot images to triplanes.

    Args:
        in_channels: Channels of a slot's image (two RGBA views: 8).
        input_px: Side of the slot images.
        patch_px: The images are first unshuffled by this factor; 1 keeps full resolution.
        channels: Channels of each level, finest first; each further level halves the resolution.
        blocks_per_level: Residual blocks a level, on the way down and on the way up.
        attention_px: Levels of at most this resolution have joint attention.
        head_dim: Channels of an attention head.
        plane_channels, plane_px: Size of the planes; `plane_px` is a multiple of the finest level's resolution.
        condition_inputs: Size of the condition (cameras and flags of known views); 0 for an unconditioned network.
        condition_channels: Width of what the residual blocks are modulated with.
    """

    def __init__(
        self,
        in_channels: int,
        input_px: int,
        patch_px: int,
        channels: tuple[int, ...],
        blocks_per_level: int,
        attention_px: int,
        head_dim: int,
        plane_channels: int,
        plane_px: int,
        condition_inputs: int = 0,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        told = condition_channels if condition_inputs else 0
        self.condition = nn.Sequential(nn.Linear(condition_inputs, told), nn.SiLU(), nn.Linear(told, told)) if told else None
        top_px = input_px // patch_px
        if input_px % patch_px or plane_px % top_px or top_px % 2 ** (len(channels) - 1):
            sizes_px = f"input {input_px}, patch {patch_px}, planes {plane_px}, {len(channels)} levels"
            raise ValueError(f"sizes do not divide: {sizes_px}")
        self.patch_px = patch_px
        self.upscale = plane_px // top_px
        sizes = [top_px >> level for level in range(len(channels))]
        self.conv_in = nn.Conv2d(in_channels * patch_px**2, channels[0], 3, padding=1)
        self.horizontal = nn.Parameter(torch.randn(channels[0], top_px, top_px) * 0.02)
        self.slot = nn.Parameter(torch.zeros(3, channels[0], 1, 1))
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        skips: list[int] = []
        current = channels[0]
        for level, (width, size) in enumerate(zip(channels, sizes, strict=True)):
            inputs = [current] + [width] * (blocks_per_level - 1)
            self.down.append(Level(inputs, width, size, size <= attention_px, head_dim, told))
            skips += [width] * blocks_per_level
            current = width
            if level < len(channels) - 1:
                self.downsample.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
        self.middle = Level([current, current], current, sizes[-1], True, head_dim, told)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, (width, size) in reversed(list(enumerate(zip(channels, sizes, strict=True)))):
            inputs = []
            for _ in range(blocks_per_level):
                inputs.append(current + skips.pop())
                current = width
            self.up.append(Level(inputs, width, size, size <= attention_px, head_dim, told))
            if level > 0:
                current = channels[level - 1]
                self.upsample.append(nn.Conv2d(width, current, 1))
        self.norm_out = nn.GroupNorm(_groups(current), current)
        self.conv_out = nn.Conv2d(current, plane_channels * self.upscale**2, 3, padding=1)

    def forward(self, slots: Tensor, condition: Tensor | None = None) -> Tensor:
        """Slot images of the planes xz and yz, [B, 2, in_channels, S, S], to planes [B, 3, plane_channels, R, R].

        `condition` float [B, condition_inputs] describes the cameras; None for an unconditioned network.
        """
        batch = slots.shape[0]
        told = F.silu(self.condition(condition)) if self.condition is not None and condition is not None else None
        x = self.conv_in(F.pixel_unshuffle(slots.flatten(0, 1), self.patch_px)).unflatten(0, (batch, 2))
        x = torch.cat([self.horizontal.to(x.dtype).expand(batch, 1, -1, -1, -1), x], 1) + self.slot.to(x.dtype)
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # [B * 3, C, H, W]
        skips: list[Tensor] = []
        for level, stage in enumerate(self.down):
            assert isinstance(stage, Level)
            for index in range(len(stage.blocks)):
                x = stage.step(index, x, told)
                skips.append(x)
            if level < len(self.downsample):
                x = self.downsample[level](x)
        for index in range(len(self.middle.blocks)):
            x = self.middle.step(index, x, told)
        for level, stage in enumerate(self.up):
            assert isinstance(stage, Level)
            for index in range(len(stage.blocks)):
                x = stage.step(index, torch.cat([x, skips.pop()], 1), told)
            if level < len(self.upsample):
                x = F.interpolate(self.upsample[level](x), scale_factor=2.0, mode="nearest")
        planes = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.upscale)
        return planes.unflatten(0, (batch, 3))
