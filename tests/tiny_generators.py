"""The real classes of the four-view generator at sizes for tests, with random weights and tokenizers that know no words."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from tetraview.engine.multiview.configs import consistency_scheduler, starter_scheduler
from tetraview.engine.multiview.text.encoder import StarterTextEncoder, quantise_rows
from tetraview.engine.multiview.text.tokenizer import SPECIAL_TOKENS, StarterTokenizer


def tiny_components(time_cond_proj_dim: int | None = None) -> dict[str, Any]:
    """The starter layout: the same classes, views of 16 px, latents [4, 8, 8], random weights.

    Args:
        time_cond_proj_dim: As of `starter_unet`; with it the scheduler is `LCMScheduler`.
    """
    tokenizer = spelling_tokenizer()
    scheduler = starter_scheduler()
    return {
        "vae": AutoencoderTiny(
            in_channels=4,
            out_channels=4,
            latent_channels=4,
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        ).eval(),
        "unet": UNet2DConditionModel(
            sample_size=8,
            in_channels=9,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=24,
            attention_head_dim=2,
            time_cond_proj_dim=time_cond_proj_dim,
        ).eval(),
        "scheduler": consistency_scheduler(scheduler.config) if time_cond_proj_dim else scheduler,
        "text_encoder": random_text_encoder(len(tokenizer), table_dim=16, hidden=24, layers=1, heads=2).eval(),
        "tokenizer": tokenizer,
    }


def tiny_sdxl_components() -> dict[str, Any]:
    """SDXL's inpainting layout: its real classes, views of 32 px, latents [4, 32, 32], random weights."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = spelling_clip_tokenizer()
    return {
        "vae": AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=8,
            sample_size=64,
            scaling_factor=0.13025,
        ).eval(),
        "unet": UNet2DConditionModel(
            sample_size=32,
            in_channels=9,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=48,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ).eval(),
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
        ),
        "text_encoder": CLIPTextModel(_clip_config(len(tokenizer), hidden=16)).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(_clip_config(len(tokenizer), hidden=32)).eval(),
        "tokenizer": tokenizer,
        "tokenizer_2": spelling_clip_tokenizer(),
    }


def random_text_encoder(vocab_size: int, **sizes: int) -> StarterTextEncoder:
    """The starter's text encoder over a table of random rows, which is what sets words apart.

    Args:
        vocab_size: Rows of the table.
        sizes: Sizes of the `StarterTextEncoder`.
    """
    encoder = StarterTextEncoder(vocab_size=vocab_size, **sizes)
    values, scale = quantise_rows(torch.randn(encoder.table.values.shape))
    encoder.table.load_state_dict({"values": values, "scale": scale})
    return encoder


def spelling_tokenizer(words: Sequence[str] = ()) -> StarterTokenizer:
    """A tokenizer that knows the given words, and spells all others letter by letter."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return StarterTokenizer([*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), *words])


def spelling_clip_tokenizer() -> Any:
    """A `CLIPTokenizer` that spells words letter by letter."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    entries = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps({entry: number for number, entry in enumerate(entries)}))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=16)


def _clip_config(vocab_size: int, hidden: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        pad_token_id=vocab_size - 1,
    )
