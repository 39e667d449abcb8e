"""The steps of denoising that inference and training share."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidRequestError
from .conditions import TextCondition, guidance_embedding


def unet_input(noisy: Tensor, mask: Tensor, masked_latents: Tensor) -> Tensor:
    """Concatenate the denoiser's input channels in the inpainting layout.

    Args:
        noisy: [B, C, h, h], noisy latents, scaled as the scheduler wants them.
        mask: [B or 1, 1, h, h]: 1 = to paint, 0 = known.
        masked_latents: [B or 1, C, h, h], clean latents of the known cells; whatever lies in cells to paint is hidden.

    Returns:
        [B, 2C + 1, h, h]: noisy latents, mask, masked latents.
    """
    batch = noisy.shape[0]
    mask = mask.to(noisy).expand(batch, -1, -1, -1)
    hidden = masked_latents.to(noisy).expand(batch, -1, -1, -1) * (1 - mask)
    return torch.cat([noisy, mask, hidden], 1)


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: the strength and the conditions.

    Attributes:
        scale: 1 = not at all beyond what the model does by itself.
        condition: The prompt; with classifier-free guidance the negative prompt stands before it.
        doubled: Whether each step predicts with both conditions and extrapolates.
    """

    scale: float
    condition: TextCondition
    doubled: bool


def predict(
    unet: nn.Module, sample: Tensor, timestep: Tensor, mask: Tensor, masked_latents: Tensor, guidance: Guidance, grid_px: int
) -> Tensor:
    """The guided prediction of the denoiser (noise or velocity, as it was trained), float32 [1, C, h, h].

    Args:
        unet: A `UNet2DConditionModel` in the inpainting layout; with `time_cond_proj_dim` guidance is folded in.
        sample: float32 [1, C, h, h], scaled as the scheduler wants it.
        timestep: Scalar.
        mask, masked_latents: See `unet_input`.
        guidance: The condition and its strength.
        grid_px: Side of the whole grid, pixels.
    """
    model: Any = unet
    x = unet_input(sample, mask, masked_latents).to(model.dtype).repeat(2 if guidance.doubled else 1, 1, 1, 1)
    folded = None
    if model.config.time_cond_proj_dim is not None:
        scale = torch.full((x.shape[0],), guidance.scale, device=x.device)
        folded = guidance_embedding(scale, model.config.time_cond_proj_dim).to(x.dtype)
    arguments = guidance.condition.unet_arguments(grid_px, x.dtype)
    prediction: Tensor = model(x, timestep, timestep_cond=folded, return_dict=False, **arguments)[0].float()
    if not guidance.doubled:
        return prediction
    negative, positive = prediction.chunk(2)
    return negative + guidance.scale * (positive - negative)


def set_timesteps(scheduler: Any, num_inference_steps: int, strength: float, device: torch.device | str) -> Tensor:
    """Exactly `num_inference_steps` steps, of which the first lies at most `strength` of the way from clean to noise.

    Strength below 1 makes the whole schedule finer and leaves its start out, so that it costs no steps.

    Raises:
        InvalidRequestError: The scheduler has no such schedule.
    """
    chosen_from = scheduler.config.get("original_inference_steps")  # of consistency models: the steps of the distillation
    most = int((chosen_from or scheduler.config.num_train_timesteps) * strength)
    if num_inference_steps > most:
        raise InvalidRequestError(
            f"{num_inference_steps} steps at strength {strength:g} are too many for this model: use at most {most}."
        )
    if chosen_from:
        scheduler.set_timesteps(num_inference_steps, device=device, strength=strength)
        _begin_at(scheduler, 0)
        return scheduler.timesteps
    total = math.ceil(num_inference_steps / strength - 1e-6)
    scheduler.set_timesteps(total, device=device)
    while float(scheduler.timesteps[-1]) < 0:  # rounding gives DDIM's trailing schedules one step too many at some totals (61)
        total += 1
        scheduler.set_timesteps(total, device=device)
    skipped = (total - num_inference_steps) * scheduler.order
    _begin_at(scheduler, skipped)
    return scheduler.timesteps[skipped:]


def step_arguments(scheduler: Any, generator: torch.Generator | None) -> dict[str, Any]:
    """The keyword arguments that this scheduler's `step` takes beyond the common ones."""
    return {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}


def predicted_latents(scheduler: Any, sample: Tensor, prediction: Tensor, timestep: Tensor) -> Tensor:
    """The clean latents that a prediction implies, for previews, whatever the scheduler.

    Args:
        scheduler: Gives the noise schedule and what the denoiser predicts.
        sample: [B, C, h, h] as the denoiser saw it (after `scale_model_input`).
        prediction: [B, C, h, h], the denoiser's.
        timestep: Scalar.

    Raises:
        ValueError: The scheduler's `prediction_type` is of another kind.
    """
    signal = scheduler.alphas_cumprod.to(sample)[int(timestep)].clamp(min=1e-8)
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return signal.sqrt() * sample - (1 - signal).sqrt() * prediction
    if kind == "epsilon":
        return (sample - (1 - signal).sqrt() * prediction) / signal.sqrt()
    if kind == "sample":
        return prediction
    raise ValueError(f"unknown prediction_type {kind!r}")


def _begin_at(scheduler: Any, index: int) -> None:
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(index)
