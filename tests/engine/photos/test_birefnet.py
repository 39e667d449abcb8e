"""BiRefNet: its checkpoints' names and shapes, its computation against others, and its way from a folder to a cut-out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tetraview.engine.errors import WeightsError
from tetraview.engine.photos import birefnet
from tetraview.engine.photos.birefnet_network import BiRefNet, BiRefNetSize, fold_photo
from tetraview.engine.photos.cutout import cut_out, cut_out_with_facts
from tetraview.engine.photos.deformable import deformable_conv2d
from tetraview.engine.photos.swin import SwinTransformer
from torch import Tensor

from ...unit.test_import_rules import PACKAGES, ROOT
from .scenes import draw, overlap, photograph

LITE = BiRefNetSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 7)
TINY = BiRefNetSize(8, (1, 2, 2, 1), (1, 2, 2, 4), 4, inner=4, branch=4)


def checkpoint_bytes(state: dict[str, Tensor], kind: str) -> int:
    """Bytes of a safetensors file of these weights as transformers writes it: names, shapes and places, then all values."""
    width = {"F32": 4, "F16": 2}[kind]
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in sorted(state.items(), key=lambda item: (item[1].dtype != torch.int64, item[0])):  # the widest first
        whole = tensor.dtype == torch.int64
        start, end = end, end + tensor.numel() * (8 if whole else width)
        header[name] = {"dtype": "I64" if whole else kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":")))
    return 8 + length + -length % 8 + end


@pytest.mark.parametrize(
    ("size", "kind", "published", "count"),
    [(BiRefNetSize(), "F16", 444_473_596, 754), (LITE, "F32", 177_634_392, 586)],
    ids=["BiRefNet", "BiRefNet_lite"],
)
def test_names_and_shapes_are_those_of_the_published_checkpoints(size, kind, published, count):
    """The published files have exactly the size that our names, shapes and dtypes give; one letter or number more would show."""
    with torch.device("meta"):
        state = BiRefNet(size).state_dict()
    assert checkpoint_bytes(state, kind) == published and len(state) == count
    assert BiRefNetSize.of({name: tuple(tensor.shape) for name, tensor in state.items()}) == size
    some = {
        "bb.layers.2.blocks.5.attn.relative_position_bias_table": ((2 * size.window - 1) ** 2, size.heads[2]),
        "bb.layers.2.downsample.reduction.weight": (8 * size.channels, 16 * size.channels),
        "squeeze_module.0.dec_att.aspp_deforms.2.atrous_conv.offset_conv.weight": (98, 64, 7, 7),
        "decoder.ipt_blk5.conv1.weight": (64, 3072, 3, 3),
        "decoder.gdt_convs_4.0.weight": (16, 8 * size.channels, 3, 3),
        "decoder.conv_out1.0.weight": (1, size.channels + size.channels // 4, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in some} == some


def direct_deformable(x: np.ndarray, offset: np.ndarray, weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Deformable convolution by its definition, one value at a time; shapes as in `deformable_conv2d`."""
    batch, _, height, width = x.shape
    size = weight.shape[-1]
    out = np.zeros((batch, len(weight), height, width))
    for b, row, column, tap in np.ndindex(batch, height, width, size * size):
        y = row + tap // size - size // 2 + offset[b, 2 * tap, row, column]
        at_x = column + tap % size - size // 2 + offset[b, 2 * tap + 1, row, column]
        for near_y in (int(np.floor(y)), int(np.floor(y)) + 1):
            for near_x in (int(np.floor(at_x)), int(np.floor(at_x)) + 1):
                if 0 <= near_y < height and 0 <= near_x < width:
                    share = (1 - abs(y - near_y)) * (1 - abs(at_x - near_x)) * mask[b, tap, row, column]
                    out[b, :, row, column] += share * weight[:, :, tap // size, tap % size] @ x[b, :, near_y, near_x]
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 5]), st.integers(0, 2**32 - 1))
def test_deformable_convolution_is_its_definition(height, width, size, seed):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(2, 3, height, width)), rng.normal(size=(2, 3, size, size))
    offset, mask = rng.normal(0, 2, (2, 2 * size * size, height, width)), rng.random((2, size * size, height, width))
    got = deformable_conv2d(*(torch.from_numpy(array) for array in (x, offset, weight, mask)))
    np.testing.assert_allclose(got.numpy(), direct_deformable(x, offset, weight, mask), atol=1e-9)


def test_without_displacements_it_is_a_convolution():
    x, weight = torch.randn(1, 3, 9, 12), torch.randn(4, 3, 7, 7)
    got = deformable_conv2d(x, torch.zeros(1, 98, 9, 12), weight, torch.ones(1, 49, 9, 12))
    torch.testing.assert_close(got, torch.nn.functional.conv2d(x, weight, padding=3), atol=1e-4, rtol=1e-4)


def fill(network: torch.nn.Module) -> None:
    """Give every weight of a network a value that follows from its name and place."""
    for name, tensor in network.state_dict().items():
        if tensor.dtype.is_floating_point:
            phase = sum(ord(letter) * (index + 1) for index, letter in enumerate(name)) % 97
            wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + phase).view(tensor.shape)
            fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 4
            tensor.copy_(wave * (2 / fan) ** 0.5 + (tensor.ndim == 1 and name.endswith(("weight", "running_var"))))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (84, 44)])
def test_backbone_computes_what_another_swin_does(height, width):
    """The one in transformers, with the same weights: sides that do not fill whole windows, shifted windows, odd merges."""
    from transformers import SwinBackbone, SwinConfig

    depths, heads = (2, 2, 2, 2), (1, 2, 4, 4)
    ours = SwinTransformer(8, depths, heads, 4).double()
    fill(ours)
    stages = [f"stage{stage}" for stage in range(1, 5)]
    config = SwinConfig(embed_dim=8, depths=depths, num_heads=heads, window_size=4, patch_size=4, out_features=stages)
    other = SwinBackbone(config).double().eval()
    renamed = {}  # our weights, queries, keys and values apart
    for name, tensor in ours.state_dict().items():
        if name.endswith("position_index"):
            continue
        if ".qkv." in name:
            renamed |= {name.replace("qkv", f"{part}_proj"): piece for part, piece in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            renamed[name] = tensor
    words = {
        "swin.": "", "encoder.": "", "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "embeddings.norm": "patch_embed.norm", "attention.relative_position_bias.": "attn.", "attention.o_proj": "attn.proj",
        "attention": "attn", "layernorm_before": "norm1", "layernorm_after": "norm2",
    }  # fmt: skip
    words |= {f"hidden_states_norms.stage{stage + 1}": f"norm{stage}" for stage in range(4)}
    loaded = other.state_dict()
    for name in loaded:
        known = name
        for theirs, own in words.items():
            known = known.replace(theirs, own)
        if not name.startswith("swin.layernorm"):  # a last normalisation that a pyramid has no use for
            loaded[name] = renamed.pop(known)
    assert not renamed
    other.load_state_dict(loaded)
    pixels = torch.randn(2, 3, height, width, dtype=torch.float64)
    with torch.inference_mode():
        for mine, theirs in zip(ours(pixels), other(pixels).feature_maps, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)


def test_whole_network_computes_what_a_second_formulation_did():
    """Values of a formulation written apart from this one, function by function, on transformers' Swin, in float64."""
    network = BiRefNet(TINY).double().eval()
    fill(network)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    pixels = torch.stack([torch.sin(y / 7 + c) * torch.cos(x / (5 + c)) for c in range(3)])[None].double()
    with torch.inference_mode():
        logits = network(pixels)[0, 0]
    assert logits.shape == (64, 96)
    expected = [
        0.484173652, 0.566769575, 0.564067615, 1.05343439, -0.060924544, 0.425420863, 0.408521354, 0.795934071, -0.050270013,
        0.405407007, 0.40226489, 0.817355464, -0.290525559, 0.322981615, 0.319481025, 0.50969268, 0.430657316, 0.144784588,
    ]  # fmt: skip
    got = [*logits[::21, ::31].flatten().tolist(), logits.mean().item(), logits.std().item()]
    np.testing.assert_allclose(got, expected, atol=1e-8)


def test_photo_is_folded_column_by_column():
    """The order that the published checkpoints were trained with: tiles down a column, each with its three colours."""
    photo = torch.arange(3 * 4 * 6).view(1, 3, 4, 6)
    folded = fold_photo(photo, 2, 2)
    tiles = [photo[0, :, row : row + 2, column : column + 2] for column in (0, 2, 4) for row in (0, 2)]
    assert torch.equal(folded[0], torch.cat(tiles))


def test_sides_that_do_not_fold_are_named():
    with pytest.raises(ValueError, match="multiples of 32, got"):
        BiRefNet(TINY)(torch.zeros(1, 3, 64, 80))


@pytest.fixture
def tiny_birefnet(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder like BiRefNet's in the hub cache: the real network, small, with weights that find what is dark."""
    network = BiRefNet(TINY)
    for name, tensor in network.state_dict().items():
        if tensor.dtype.is_floating_point:
            tensor.fill_(float(name.endswith("running_var")))
    # the photo's own path to the last layer: less of the mean colour, then the threshold
    decoder = network.decoder
    decoder.get_parameter("ipt_blk1.conv1.weight").data[0, :, 1, 1] = -1
    decoder.get_parameter("ipt_blk1.conv_out.weight").data[0, 0, 1, 1] = 8
    decoder.get_parameter("conv_out1.0.weight").data[0, -2, 0, 0] = 1
    decoder.get_parameter("conv_out1.0.bias").data.fill_(14)
    folder = tmp_path / "birefnet"
    folder.mkdir()
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()}
    save_file(halves, folder / "model.safetensors")
    monkeypatch.setenv(birefnet.FOLDER_VARIABLE, str(folder))
    birefnet.load_birefnet.cache_clear()
    yield folder
    birefnet.load_birefnet.cache_clear()


def test_birefnet_is_preferred_when_present(tiny_birefnet):
    subject = draw("vase", 300, colour=(60, 50, 40))
    facts = cut_out_with_facts(photograph(subject, "plain"), "auto")
    assert facts.method == "birefnet" and facts.note == ""
    assert overlap(facts.rgba[..., 3], subject[..., 3]) > 0.95


def test_a_program_beside_the_weights_is_not_run(tiny_birefnet, tmp_path):
    """The published folder holds Python files, and settings that name them to transformers."""
    (tiny_birefnet / "birefnet.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    settings = {"auto_map": {"AutoConfig": "birefnet.Config", "AutoModelForImageSegmentation": "birefnet.BiRefNet"}}
    (tiny_birefnet / "config.json").write_text(json.dumps(settings))
    assert cut_out_with_facts(photograph(draw("vase", 200), "plain"), "birefnet").method == "birefnet"
    assert not (tmp_path / "ran").exists()


def test_nothing_asks_for_a_downloaded_program():
    asking = "trust_remote" + "_code"
    files = [path for name in (*PACKAGES, "scripts", "benchmarks", "tests") for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 200
    assert [path for path in files if asking in path.read_text(encoding="utf-8")] == []


def damage(path: Path, kind: str) -> None:
    weights = load_file(path)
    if kind == "not weights":
        path.write_bytes(b"not weights")
    elif kind == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "one weight missing":
        del weights["decoder.conv_out1.0.bias"]
    elif kind == "one weight too many":
        weights["decoder.more"] = torch.zeros(1)
    elif kind == "one of another shape":
        weights["decoder.conv_out1.0.bias"] = torch.zeros(2)
    elif kind == "of another network":
        weights = {"unet.conv_in.weight": torch.zeros(2, 2)}
    elif kind == "not a number":
        weights["decoder.conv_out1.0.bias"] = torch.full((1,), float("nan"))
    if kind not in ("not weights", "cut short"):
        save_file({name: tensor.clone() for name, tensor in weights.items()}, path)


KINDS = (
    "not weights", "cut short", "one weight missing", "one weight too many", "one of another shape", "of another network",
    "not a number",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_birefnet_falls_back_with_a_note(tiny_birefnet, kind):
    damage(tiny_birefnet / "model.safetensors", kind)
    photo = photograph(draw("vase", 200), "plain")
    facts = cut_out_with_facts(photo, "auto")
    assert facts.method == "plain" and "BiRefNet" in facts.note
    with pytest.raises(WeightsError, match=r"^The BiRefNet weights in .* (cannot be read|are damaged): download them again\.$"):
        cut_out(photo, "birefnet")


def test_positions_follow_from_the_window_whatever_the_file_holds(tiny_birefnet):
    path = tiny_birefnet / "model.safetensors"
    weights = {name: tensor + 10_000 if name.endswith("position_index") else tensor for name, tensor in load_file(path).items()}
    save_file(weights, path)
    assert cut_out_with_facts(photograph(draw("vase", 100), "plain"), "birefnet").method == "birefnet"


def test_absent_birefnet_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv(birefnet.FOLDER_VARIABLE, str(tmp_path / "none"))
    photo = photograph(draw("vase", 200), "plain")
    with pytest.raises(WeightsError, match="not on this machine"):
        cut_out(photo, "birefnet")
    assert cut_out_with_facts(photo, "auto").method == "plain"


def test_hub_cache_is_searched_without_network(tmp_path, monkeypatch):
    from huggingface_hub import constants

    def snapshot(name: str) -> Path:
        folder = tmp_path / f"models--ZhengPeng7--{name}" / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder.parents[1] / "refs").mkdir()
        (folder.parents[1] / "refs" / "main").write_text("abc")
        return folder

    monkeypatch.delenv(birefnet.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    whole, lite = snapshot("BiRefNet"), snapshot("BiRefNet_lite")
    (whole / "config.json").write_text("{}")
    assert birefnet.find_birefnet() is None  # half a download
    (lite / "model.safetensors").write_bytes(b"x")
    assert birefnet.find_birefnet() == lite
    (whole / "model.safetensors").write_bytes(b"x")
    assert birefnet.find_birefnet() == whole
