"""The generator's sizes: what each component is, with random weights.

The full size is SDXL's inpainting pipeline (`stable-diffusion-xl-1.0-inpainting-0.1`), fine-tuned; its components are loaded,
never made here.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler

from .autoencoder import PatchAutoencoder
from .text.encoder import StarterTextEncoder
from .text.tokenizer import StarterTokenizer

NOISE_SCHEDULE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "clip_sample": False,
}
"""The starter's. Its noisiest step is noise alone, so that clean white is within reach.

Lin et al. 2023, Common Diffusion Noise Schedules and Sample Steps are Flawed, https://arxiv.org/abs/2305.08891
"""

STARTER_UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 17,
    "out_channels": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (64, 96, 192),
    "layers_per_block": 1,
    "cross_attention_dim": 192,
    "attention_head_dim": (2, 3, 6),  # the number of heads, in spite of its name: 32 channels each
}
"""The starter's denoiser: attention at 16 and 8 latent pixels, over the whole grid. 9.8 M weights, 1.4 GMAC a run."""


def starter_scheduler() -> DDIMScheduler:
    """The noise schedule the starter is trained on, and its solver."""
    return DDIMScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing")


def consistency_scheduler(config: Any) -> LCMScheduler:
    """The solver for a distilled denoiser, on the noise schedule of `config` (a scheduler's)."""
    return LCMScheduler.from_config(config)


def starter_autoencoder() -> PatchAutoencoder:
    """The starter's autoencoder of 256 px RGBA grids to latents [8, 32, 32], with random weights."""
    return PatchAutoencoder()


def starter_unet(time_cond_proj_dim: int | None = None) -> UNet2DConditionModel:
    """The starter's denoiser, with random weights.

    Args:
        time_cond_proj_dim: Width of the guidance embedding where guidance is folded in; None where it is not.
    """
    return UNet2DConditionModel(**STARTER_UNET, time_cond_proj_dim=time_cond_proj_dim)


def starter_components(tokenizer: StarterTokenizer, text_encoder: StarterTextEncoder) -> dict[str, Any]:
    """The starter's components: the distilled text encoder with its tokenizer, and the others with random weights."""
    return {
        "vae": starter_autoencoder().eval(),
        "unet": starter_unet().eval(),
        "scheduler": starter_scheduler(),
        "text_encoder": text_encoder.eval(),
        "tokenizer": tokenizer,
    }
