"""The starter's autoencoder: linear at first, exact on what it was made from, saved and loaded."""

from __future__ import annotations

import pytest
import torch
from tetraview.engine.multiview.autoencoder import PatchAutoencoder


def small() -> PatchAutoencoder:
    torch.manual_seed(0)
    return PatchAutoencoder(latent_channels=6, fine=16, coarse=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1)).eval()


def test_sizes():
    vae, image = small(), torch.rand(2, 4, 32, 48)
    latents = vae.encode(image).latents
    assert latents.shape == (2, 6, 4, 6)
    assert vae.decode(latents).sample.shape == image.shape
    assert vae.decode(latents, return_dict=False)[0].shape == image.shape


def test_begins_as_the_best_linear_map():
    """Patches of as many dimensions as there are latent channels come back exactly, with latents of mean 0 and variance 1."""
    vae, generator = small(), torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(256, 6, generator=generator)).Q
    weights = torch.randn(500, 6, generator=generator) * torch.tensor([3.0, 2.0, 1.5, 1.0, 0.7, 0.5])
    patches = (weights @ basis.T).view(500, 4, 8, 8)
    patches = patches - patches.mean(0) + 0.25
    vae.begin_linear(patches)
    latents = vae.encode(patches).latents
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert (latents.var((0, 2, 3)) - 1).abs().max() < 1e-2
    torch.testing.assert_close(vae.decode(latents).sample, patches, atol=1e-3, rtol=0)


def test_the_linear_map_is_the_best_one():
    """No other six directions leave less of random patches than the principal ones."""
    vae, generator = small(), torch.Generator().manual_seed(2)
    patches = torch.randn(400, 4, 8, 8, generator=generator) * torch.linspace(0.1, 1, 8)
    vae.begin_linear(patches)
    error = (vae(patches) - patches).square().mean()
    centred = patches.flatten(1) - patches.flatten(1).mean(0)
    least = torch.linalg.svdvals(centred)[6:].square().sum() / centred.numel()
    assert error < least * 1.05 + 0.02 * centred.var()


def test_all_but_the_linear_map_learns():
    vae = small()
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    (vae(torch.rand(1, 4, 16, 16)) ** 2).sum().backward()
    learned = {
        name for name, parameter in vae.named_parameters() if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    fixed = {f"{part}.{kind}" for part in ("to_latents", "from_latents") for kind in ("weight", "bias")}
    assert learned == {name for name, _ in vae.named_parameters()} - fixed


def test_what_is_empty_says_nothing_to_the_convolutions():
    """White without alpha is where nothing is: there, what the convolutions add comes of their biases alone."""
    vae = small()
    for parameter in vae.encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    for module in vae.encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.bias)
    empty = torch.ones(1, 4, 32, 32)
    empty[:, 3] = -1
    assert (vae.encode(empty).latents - vae.to_latents(empty)).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_saved_and_loaded(tmp_path, dtype):
    vae, image = small(), torch.rand(1, 4, 16, 16)
    vae.save_pretrained(tmp_path)
    loaded = PatchAutoencoder.from_pretrained(tmp_path, torch_dtype=dtype).float()
    torch.testing.assert_close(loaded(image), vae(image), atol=2e-2 if dtype == torch.float16 else 0, rtol=0)
