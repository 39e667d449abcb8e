"""Conditions of the denoiser: the encoded prompt, and the guidance strength if it is folded into the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TextCondition:
    """Encoded prompts.

    Attributes:
        embeds: [B, L, D], for cross-attention.
        mask: bool [B, L], True where there is a word; None if every position counts (CLIP).
        pooled: [B, P], the whole prompt in one vector; None but for SDXL.
    """

    embeds: Tensor
    mask: Tensor | None = None
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return self.embeds.shape[0]

    def followed_by(self, other: TextCondition) -> TextCondition:
        """Concatenate both batches."""
        return TextCondition(torch.cat([self.embeds, other.embeds]), _cat(self.mask, other.mask), _cat(self.pooled, other.pooled))

    def unet_arguments(self, grid_px: int, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """The keyword arguments of `UNet2DConditionModel.forward` that carry this condition.

        Args:
            grid_px: Side of the whole grid, pixels; passed to SDXL as the original and the target size.
            dtype: The denoiser's; None for that of the embeddings.
        """
        embeds = self.embeds.to(dtype or self.embeds.dtype)
        arguments: dict[str, Any] = {"encoder_hidden_states": embeds}
        if self.mask is not None:
            arguments["encoder_attention_mask"] = self.mask
        if self.pooled is not None:
            size = [grid_px, grid_px]
            time_ids = torch.tensor([*size, 0, 0, *size]).to(embeds).expand(len(self), -1)
            arguments["added_cond_kwargs"] = {"text_embeds": self.pooled.to(embeds.dtype), "time_ids": time_ids}
        return arguments


def encode_starter(prompts: Sequence[str], tokenizer: Any, text_encoder: Any, device: torch.device) -> TextCondition:
    """Prompts through the starter's own text encoder; an empty one is a single special word, never nothing."""
    input_ids = tokenizer(list(prompts)).to(device)  # [B, 24]
    return TextCondition(text_encoder(input_ids), text_encoder.attention_mask(input_ids))


def encode_sdxl(
    prompts: Sequence[str], tokenizers: Sequence[Any], text_encoders: Sequence[nn.Module], device: torch.device
) -> TextCondition:
    """Prompts through SDXL's two CLIP encoders: the last layer but one of both, and the second's pooled projection.

    Podell et al. 2023, SDXL, https://arxiv.org/abs/2307.01952
    """
    embeds, pooled = [], None
    for tokenizer, text_encoder in zip(tokenizers, text_encoders, strict=True):
        input_ids = tokenizer(
            list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        ).input_ids
        encoded = text_encoder(input_ids.to(device), output_hidden_states=True)
        embeds.append(encoded.hidden_states[-2])
        pooled = encoded[0]  # [B, P] of the encoder with projection, which comes last
    return TextCondition(torch.cat(embeds, -1), pooled=pooled)


def guidance_embedding(guidance_scale: Tensor, dim: int) -> Tensor:
    """The guidance strength as a model reads it that has guidance folded in (`time_cond_proj_dim`).

    Args:
        guidance_scale: [B]; 1 means none, as everywhere in diffusers.
        dim: `time_cond_proj_dim`.

    Returns:
        float32 [B, dim].

    Luo et al. 2023, Latent Consistency Models, https://arxiv.org/abs/2310.04378
    """
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=guidance_scale.device) * (-math.log(10_000.0) / (half - 1)))
    angles = (guidance_scale.float() - 1)[:, None] * 1000 * frequencies[None]
    embedding = torch.cat([angles.sin(), angles.cos()], 1)
    return nn.functional.pad(embedding, (0, dim - 2 * half))


def _cat(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])
