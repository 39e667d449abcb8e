"""Save and load: whole, offline, under any package name, with one sentence when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tetraview.engine.errors import WeightsError
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.multiview.text.encoder import StarterTextEncoder
from tetraview.engine.multiview.text.tokenizer import StarterTokenizer

from ..tiny_generators import random_text_encoder, spelling_tokenizer
from .conftest import random_view, seeded


def views_of(pipeline: FourViewPipeline) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    known = {"right": random_view(pipeline.view_px)}
    return pipeline("a red chair", "wood", known_views=known, generator=seeded(3), num_inference_steps=2).rgba


def loaded(folder: Path, **options) -> FourViewPipeline:
    return FourViewPipeline.from_pretrained(folder, low_cpu_mem_usage=False, **options)


def test_a_saved_pipeline_paints_the_same(pipeline: FourViewPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def no_network(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    before = views_of(pipeline)
    pipeline.save_pretrained(tmp_path)
    again = loaded(tmp_path)
    assert type(again.scheduler) is type(pipeline.scheduler)
    assert type(again.text_encoder) is type(pipeline.text_encoder)
    assert np.array_equal(views_of(again), before)


def test_the_files_name_no_package_and_no_path(starter: FourViewPipeline, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    starter.save_pretrained(first)
    loaded(first).save_pretrained(second)
    index = json.loads((second / "model_index.json").read_text())
    assert index["text_encoder"] == [None, "StarterTextEncoder"] and index["tokenizer"] == [None, "StarterTokenizer"]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["text_encoder_2"] == [None, None]
    for path in second.rglob("*.json"):
        text = path.read_text()
        assert "tetraview" not in text and str(tmp_path) not in text, path
    assert {path.name for path in (second / "tokenizer").iterdir()} == {"vocab.txt"}


def test_replaced_components_are_the_ones_saved(starter: FourViewPipeline, tmp_path: Path) -> None:
    starter.tokenizer = spelling_tokenizer(["chair"])
    starter.text_encoder = random_text_encoder(len(starter.tokenizer), table_dim=16, hidden=24, layers=1, heads=2).eval()
    before = views_of(starter)
    starter.save_pretrained(tmp_path)
    again = loaded(tmp_path)
    assert "chair" in again.tokenizer.numbers
    assert np.array_equal(views_of(again), before)


def test_given_components_take_the_place_of_saved_ones(starter: FourViewPipeline, tmp_path: Path) -> None:
    starter.save_pretrained(tmp_path)
    text_encoder = random_text_encoder(len(starter.tokenizer), table_dim=16, hidden=24, layers=1, heads=2).eval()
    again = loaded(tmp_path, text_encoder=text_encoder)
    assert again.text_encoder is text_encoder
    assert isinstance(again.tokenizer, StarterTokenizer)


def test_half_precision_weights_load_as_asked(starter: FourViewPipeline, tmp_path: Path) -> None:
    starter.to(torch.float16)
    starter.save_pretrained(tmp_path)
    again = loaded(tmp_path, torch_dtype=torch.float32)
    assert isinstance(again.text_encoder, StarterTextEncoder)
    assert {again.unet.dtype, again.vae.dtype, again.text_encoder.project.weight.dtype} == {torch.float32}
    assert again.text_encoder.table.values.dtype == torch.int8
    assert views_of(again).shape == (4, 16, 16, 4)


def test_a_folder_without_a_pipeline_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There are no generator weights in"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("tokenizer/vocab.txt", "vocabulary is missing"),
        ("text_encoder/diffusion_pytorch_model.safetensors", "text encoder in .* cannot be read"),
        ("unet/diffusion_pytorch_model.safetensors", "generator weights in .* cannot be read"),
    ],
)
def test_a_missing_file_is_one_sentence(starter: FourViewPipeline, tmp_path: Path, file: str, sentence: str) -> None:
    starter.save_pretrained(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(WeightsError, match=sentence):
        loaded(tmp_path)


def test_low_memory_moves_components_in_turn_and_paints_the_same(sdxl: FourViewPipeline) -> None:
    pytest.importorskip("accelerate")
    before = views_of(sdxl)
    sdxl.enable_low_memory(device="cpu")  # the hooks and their order, on the only device there is
    assert sdxl.vae.use_tiling and sdxl.vae.tile_latent_min_size == sdxl.view_px // sdxl.vae_scale
    hooked = [hook.model for hook in sdxl._all_hooks]
    assert hooked == [sdxl.text_encoder, sdxl.text_encoder_2, sdxl.unet, sdxl.vae]
    sdxl.vae.disable_tiling()
    assert np.array_equal(views_of(sdxl), before)


def test_tiles_agree_with_the_whole_image(sdxl: FourViewPipeline) -> None:
    latents = torch.randn(1, 4, 32, 32, generator=seeded()) * 0.1
    with torch.no_grad():
        whole = sdxl.decode_latents(latents)
        sdxl.enable_low_memory(device="cpu")
        tiled = sdxl.decode_latents(latents)
    assert tiled.shape == whole.shape
    assert not torch.equal(tiled, whole)
    assert float((tiled - whole).abs().mean()) < 0.5 * float(whole.std())
