"""The four-view generator: a prompt, and any views that are known, to the four views of one object."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..errors import InvalidRequestError, WeightsError
from ..imaging.views import FourViews
from ..types import VIEW_NAMES
from .autoencoder import PatchAutoencoder
from .conditions import TextCondition, encode_sdxl, encode_starter
from .denoising import Guidance, predict, predicted_latents, set_timesteps, step_arguments, unet_input
from .grid import cell_mask
from .known_views import (
    KnownLatents,
    UInt8Array,
    check_start_views,
    check_views,
    image_to_views,
    keep_detail,
    views_to_image,
)
from .saving import SavedPipeline
from .start import blob_grid

logger = logging.getLogger(__name__)

StepCallback = Callable[["FourViewPipeline", int, Tensor, dict[str, Tensor]], Mapping[str, Tensor] | None]


class FourViewPipeline(SavedPipeline):
    """Paints one square image that holds the 2x2 grid of views.

    A latent diffusion pipeline in the inpainting layout: the denoiser reads noisy latents, a mask (1 = to paint) and the
    latents of the known views. With one text encoder it is the starter layout, with two the one of SDXL. Where the autoencoder
    has four image channels it paints alpha too; where it has three, the engine's plain cut-out makes the alpha.

    Args:
        vae: `PatchAutoencoder`, `AutoencoderTiny` or `AutoencoderKL`.
        unet: `UNet2DConditionModel` with twice the latent channels plus one as input. If it has `time_cond_proj_dim`, guidance
            is folded in: each step runs it once, and there is no negative prompt.
        scheduler: Any scheduler of diffusers with `add_noise`.
        text_encoder, tokenizer: `StarterTextEncoder` and `StarterTokenizer`; SDXL's first CLIP.
        text_encoder_2, tokenizer_2: SDXL's second CLIP, with projection; None for the starter layout.
        force_zeros_for_empty_prompt: In the SDXL layout, an empty prompt is encoded as zeros.

    Raises:
        WeightsError: The components do not fit together.

    Rombach et al. 2022, Latent Diffusion, https://arxiv.org/abs/2112.10752; the grid: Li et al. 2023, Instant3D,
    https://arxiv.org/abs/2311.06214
    """

    model_cpu_offload_seq: Any = "text_encoder->text_encoder_2->unet->vae"

    def __init__(
        self,
        vae: Any,
        unet: Any,
        scheduler: Any,
        text_encoder: Any,
        tokenizer: Any,
        text_encoder_2: Any = None,
        tokenizer_2: Any = None,
        force_zeros_for_empty_prompt: bool = True,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
        )
        self.register_to_config(force_zeros_for_empty_prompt=force_zeros_for_empty_prompt)
        expected = 2 * int(vae.config.latent_channels) + 1
        if unet.config.in_channels != expected:
            raise WeightsError(
                f"The denoiser reads {unet.config.in_channels} channels and this autoencoder needs {expected}: "
                "use one made for inpainting with the same autoencoder."
            )

    @property
    def vae_scale(self) -> int:
        """Image pixels per latent pixel."""
        if isinstance(self.vae, PatchAutoencoder):
            return self.vae.patch
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def grid_px(self) -> int:
        """Side of the whole grid, pixels."""
        return int(self.unet.config.sample_size) * self.vae_scale

    @property
    def view_px(self) -> int:
        """Side of one view, pixels."""
        return self.grid_px // 2

    @property
    def image_channels(self) -> int:
        """3 for colour, 4 for colour and alpha."""
        return int(self.vae.config.in_channels)

    @property
    def guidance_is_folded(self) -> bool:
        """Whether the denoiser takes the guidance strength as an input instead of running twice; without a negative prompt."""
        return self.unet.config.time_cond_proj_dim is not None

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        negative_prompt: str = "",
        known_views: Mapping[str, UInt8Array] | None = None,
        num_inference_steps: int = 8,
        guidance_scale: float = 4.0,
        generator: torch.Generator | None = None,
        object_size: float = 0.55,
        strength: float = 1.0,
        start_views: UInt8Array | None = None,
        callback_on_step_end: StepCallback | None = None,
        keep_start_detail: bool = False,
    ) -> FourViews:
        """Paint the views that are not known.

        Args:
            prompt: What the object is; may be empty.
            negative_prompt: What the object must not be. Ignored if `guidance_is_folded`.
            known_views: uint8 [S, S, 4] each, straight alpha, S = `view_px`, keyed by a name of `VIEW_NAMES`; at most three.
                They come out byte for byte as they went in.
            num_inference_steps: Denoising steps.
            guidance_scale: Strength of the prompt; 1 turns guidance off.
            generator: The only source of randomness; the same state gives the same views on the same machine.
            object_size: Width of the blobs in the start image, as a share of a view's side, in (0, 1].
            strength: Noise level that painting starts from, in (0, 1]; more departs further from the start image. At 1 it
                begins from the schedule's noisiest step, where little or nothing of the start image is left.
            start_views: uint8 [4, S, S, 4], straight alpha: begin from these views instead of the blobs.
            callback_on_step_end: Called as `callback(pipeline, step, timestep, {"latents", "predicted_latents"})` after each
                step; may return a mapping with other "latents", and may raise, which cancels. `decode_views` makes a preview
                of "predicted_latents".
            keep_start_detail: Whether `start_views` are changed only where painting changes them much, and not by going through
                the autoencoder. Useful at low strength.

        Returns:
            The four views.

        Raises:
            InvalidRequestError: An argument is out of range; the text is one sentence for the artist.
        """
        try:
            # 1. Check the request
            known_views = dict(known_views or {})
            self.check_inputs(
                prompt, negative_prompt, known_views, num_inference_steps, guidance_scale, object_size, strength, start_views
            )
            # 2. Encode the prompt
            guidance = self.prepare_guidance(prompt, negative_prompt, guidance_scale)
            # 3. Known views as latents and mask
            known = self.prepare_known(known_views)
            # 4. Timesteps
            timesteps = set_timesteps(self.scheduler, num_inference_steps, strength, self._execution_device)
            # 5. Start image, encoded and noised to the first timestep
            noise = self.prepare_noise(generator)
            start = self.prepare_start_latents(object_size, start_views)
            # 6. Denoise
            latents = self.denoise(start, noise, known, timesteps, guidance, generator, callback_on_step_end)
            # 7. Decode
            image = self.decode_latents(latents)
            if start_views is not None and keep_start_detail:
                image = keep_detail(views_to_image(start_views, self.image_channels).to(image), self.decode_latents(start), image)
            views = image_to_views(image)
            # 8. Put the known views back
            return FourViews.of(dict(zip(VIEW_NAMES, views, strict=True)) | known_views)
        finally:
            self.maybe_free_model_hooks()

    def check_inputs(
        self,
        prompt: str,
        negative_prompt: str,
        known_views: Mapping[str, UInt8Array],
        num_inference_steps: int,
        guidance_scale: float,
        object_size: float,
        strength: float,
        start_views: UInt8Array | None,
    ) -> None:
        """Step 1: raise `InvalidRequestError`, in one sentence, if an argument is out of range."""
        if not isinstance(prompt, str) or not isinstance(negative_prompt, str):
            raise InvalidRequestError("The prompt must be a single text.")
        check_views(known_views, self.view_px)
        if start_views is not None:
            check_start_views(start_views, self.view_px)
        if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise InvalidRequestError(f"{num_inference_steps} is not a valid number of steps: use a whole number from 1 up.")
        if not 0 <= guidance_scale <= 50:
            raise InvalidRequestError(f"A guidance of {guidance_scale:g} is out of range: use 0 to 50.")
        if not 0 < object_size <= 1:
            raise InvalidRequestError(f"An object size of {object_size:g} is out of range: use more than 0, at most 1.")
        if not 0 < strength <= 1:
            raise InvalidRequestError(f"A strength of {strength:g} is out of range: use more than 0, at most 1.")

    def encode_prompt(self, prompts: Sequence[str]) -> TextCondition:
        """Step 2: prompts as the denoiser reads them; training uses this too.

        Args:
            prompts: [B]; an empty one stands for "anything".
        """
        if self.text_encoder_2 is None:
            return encode_starter(prompts, self.tokenizer, self.text_encoder, self._execution_device)
        condition = encode_sdxl(
            prompts, (self.tokenizer, self.tokenizer_2), (self.text_encoder, self.text_encoder_2), self._execution_device
        )
        if not self.config["force_zeros_for_empty_prompt"] or condition.pooled is None:
            return condition
        # Zero the embeddings of empty prompts, as the model was trained.
        kept = torch.tensor([bool(prompt) for prompt in prompts]).to(condition.embeds)
        return TextCondition(condition.embeds * kept[:, None, None], pooled=condition.pooled * kept[:, None])

    def prepare_guidance(self, prompt: str, negative_prompt: str, scale: float) -> Guidance:
        """Step 2, for one prompt: the condition with the negative prompt before it if guidance needs both."""
        if self.guidance_is_folded or scale == 1:
            if negative_prompt and self.guidance_is_folded:
                logger.info("guidance is folded into this denoiser: the negative prompt has no effect")
            return Guidance(scale, self.encode_prompt([prompt]), doubled=False)
        both = self.encode_prompt([negative_prompt, prompt])
        return Guidance(scale, both, doubled=True)

    def prepare_known(self, known_views: Mapping[str, UInt8Array]) -> KnownLatents:
        """Step 3: latents and mask of the known views.

        The grid is encoded as one image, as in training, in which the views to paint are white.
        """
        size, channels = int(self.unet.config.sample_size), int(self.vae.config.latent_channels)
        mask = cell_mask([name not in known_views for name in VIEW_NAMES], size)[None].to(self._execution_device)
        if not known_views:
            return KnownLatents(torch.zeros(1, channels, size, size, device=mask.device), mask)
        image = views_to_image(FourViews.of(known_views).rgba, self.image_channels)
        return KnownLatents(self.encode_image(image) * (1 - mask), mask)

    def prepare_noise(self, generator: torch.Generator | None) -> Tensor:
        """Step 5: the noise of the start and of the known views, float32 [1, C, h, h]."""
        size, channels = int(self.unet.config.sample_size), int(self.vae.config.latent_channels)
        return randn_tensor((1, channels, size, size), generator, self._execution_device, torch.float32)

    def prepare_start_latents(self, object_size: float, start_views: UInt8Array | None = None) -> Tensor:
        """Step 5: the clean latents of the start image, float32 [1, C, h, h]: four blobs, or views to begin from."""
        if start_views is not None:
            return self.encode_image(views_to_image(start_views, self.image_channels))
        return self.encode_image(blob_grid(self.grid_px, object_size, self.image_channels)[None] * 2 - 1)

    def denoise(
        self,
        start: Tensor,
        noise: Tensor,
        known: KnownLatents,
        timesteps: Tensor,
        guidance: Guidance,
        generator: torch.Generator | None = None,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Step 6: from the start image to clean latents, float32 [1, C, h, h].

        Known cells are held, before each run of the denoiser, to the known latents noised to that timestep, and at the end to
        the known latents themselves.
        """
        latents = self.scheduler.add_noise(start, noise, timesteps[:1])
        arguments = step_arguments(self.scheduler, generator)
        with self.progress_bar(total=len(timesteps)) as bar:
            for step, timestep in enumerate(timesteps):
                # Hold the known cells at this noise level.
                if not known.is_empty:
                    held = self.scheduler.add_noise(known.latents, noise, timestep[None])
                    latents = torch.where(known.mask > 0, latents, held)
                # Predict, and take one step of the scheduler.
                sample = self.scheduler.scale_model_input(latents, timestep)
                prediction = predict(self.unet, sample, timestep, known.mask, known.latents, guidance, self.grid_px)
                latents = self.scheduler.step(prediction, timestep, latents, return_dict=False, **arguments)[0]
                # Report the prediction; the callback may change the latents.
                if callback is not None:
                    predicted = torch.where(
                        known.mask > 0, predicted_latents(self.scheduler, sample, prediction, timestep), known.latents
                    )
                    changed = callback(self, step, timestep, {"latents": latents, "predicted_latents": predicted})
                    latents = (changed or {}).get("latents", latents)
                bar.update()
        return torch.where(known.mask > 0, latents, known.latents)

    def unet_input(self, noisy: Tensor, mask: Tensor, masked_latents: Tensor) -> Tensor:
        """The denoiser's input; see `denoising.unet_input`."""
        return unet_input(noisy, mask, masked_latents)

    def encode_image(self, image: Tensor) -> Tensor:
        """Scaled latents of images.

        Args:
            image: float [B, 3 or 4, H, H] in -1..1, on white.

        Returns:
            float32 [B, C, h, h], of about unit variance.
        """
        with self._exact_vae() as vae:
            encoded = vae.encode(image.to(self._execution_device, vae.dtype))
            latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return (latents.float() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Images of scaled latents [B, C, h, h]: float32 [B, 3 or 4, H, H], about -1..1."""
        with self._exact_vae() as vae:
            unscaled = latents.float() / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
            image: Tensor = vae.decode(unscaled.to(self._execution_device, vae.dtype), return_dict=False)[0]
        return image.float()

    @torch.no_grad()
    def decode_views(self, latents: Tensor) -> UInt8Array:
        """Step 7: the four views of one grid's latents [1, C, h, h], uint8 [4, S, S, 4], straight alpha."""
        return image_to_views(self.decode_latents(latents))

    def enable_low_memory(self, device: Any = None) -> None:
        """For GPUs short of memory: one component at a time on the device, and the autoencoder view by view.

        Args:
            device: Device of components in use, a torch device or its name; None for the machine's accelerator.

        Raises:
            RuntimeError: There is no accelerator.
            ImportError: `accelerate` is not installed.
        """
        if isinstance(self.vae, AutoencoderKL):  # the others are small enough
            self.vae.enable_tiling()
            self.vae.tile_sample_min_size = self.view_px
            self.vae.tile_latent_min_size = self.view_px // self.vae_scale
        self.enable_model_cpu_offload(device=device)

    @contextlib.contextmanager
    def _exact_vae(self) -> Iterator[Any]:
        """The autoencoder, in float32 while it is used if half precision overflows in it (SDXL's does)."""
        half = self.vae.dtype == torch.float16 and bool(self.vae.config.force_upcast)
        if half:
            self.vae.to(dtype=torch.float32)
        try:
            yield self.vae
        finally:
            if half:
                self.vae.to(dtype=torch.float16)
