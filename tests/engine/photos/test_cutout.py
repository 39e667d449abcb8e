"""Cut-outs against known silhouettes: plain backgrounds, alpha, BiRefNet's loading code."""

import io
import json
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image
from tetraview.engine.errors import PhotoError, WeightsError
from tetraview.engine.photos import birefnet
from tetraview.engine.photos.cutout import cut_out, cut_out_with_facts

from .scenes import TEAL, draw, overlap, photograph


def through_jpeg(photo: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(photo[..., :3]).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGBA"))


@pytest.mark.parametrize("kind", ["mug", "vase", "box"])
@pytest.mark.parametrize("on", ["plain", "gradient", "noisy", "white"])
def test_plain_background_is_removed(kind, on):
    subject = draw(kind)
    result = cut_out(photograph(subject, on), "plain")
    assert result.shape == subject.shape and result.dtype == np.uint8
    assert overlap(result[..., 3], subject[..., 3]) > 0.97


@pytest.mark.parametrize("quality", [35, 75, 90])
def test_jpeg_noise_is_no_subject(quality):
    subject = draw("mug")
    photo = through_jpeg(photograph(subject, "gradient"), quality)
    assert overlap(cut_out(photo, "plain")[..., 3], subject[..., 3]) > 0.95


def test_handle_is_see_through_and_print_is_not():
    subject = draw("mug")
    alpha = cut_out(photograph(subject, "plain"), "plain")[..., 3]
    assert alpha[200, 276] == 0 and subject[200, 276, 3] == 0  # inside the handle's loop
    labelled = subject.copy()
    labelled[215:225, 120:130, :3] = (205, 205, 200)  # print of the background's very colour
    assert cut_out(photograph(labelled, "plain"), "plain")[220, 125, 3] == 255


def test_soft_shadow_is_left_behind():
    subject = draw("vase")
    result = cut_out(photograph(subject, "plain", shadow=0.2), "plain")
    assert overlap(result[..., 3], subject[..., 3]) > 0.96


def test_white_subject_on_white():
    subject = draw("vase", colour=(226, 226, 224))
    photo = through_jpeg(photograph(subject, "white"), 90)
    assert overlap(cut_out(photo, "plain")[..., 3], subject[..., 3]) > 0.95


def test_grey_subject_is_not_taken_for_a_shadow():
    subject = draw("vase", colour=(165, 165, 161))  # the background's hue, darker
    assert overlap(cut_out(photograph(subject, "plain"), "plain")[..., 3], subject[..., 3]) > 0.97


def test_edge_colours_hold_no_background():
    subject = draw("vase", colour=TEAL)
    result = cut_out(photograph(subject, "white"), "plain")
    edge = (result[..., 3] > 60) & (result[..., 3] < 200)
    assert edge.sum() > 100
    error = np.abs(result[edge][:, :3].astype(int) - TEAL).max(1)
    contaminated = np.abs(photograph(subject, "white")[edge][:, :3].astype(int) - TEAL).max(1)
    assert np.median(contaminated) > 40 and np.median(error) < 12


def test_edges_stay_sharp_in_a_large_photo():
    subject = draw("mug", 1600)
    result = cut_out(photograph(subject, "gradient"), "plain")
    assert overlap(result[..., 3], subject[..., 3]) > 0.985


def test_nothing_in_front_of_the_background():
    empty = np.zeros((200, 300, 4), np.uint8)
    assert cut_out(photograph(empty, "noisy"), "plain")[..., 3].max() == 0


def test_alpha_is_taken_as_it_is():
    subject = draw("mug", 128)
    facts = cut_out_with_facts(subject, "auto")
    assert facts.method == "alpha" and np.array_equal(facts.rgba, subject)


def test_alpha_that_means_nothing():
    photo = photograph(draw("vase", 200), "plain")
    photo[:6, :6, 3] = 0  # rounded corners of a screenshot
    assert cut_out_with_facts(photo, "auto").method == "plain"
    with pytest.raises(PhotoError, match=r"The left photo x\.png has no transparent background"):
        cut_out_with_facts(photo, "alpha", name="The left photo x.png")


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 4\], got float64 \(4, 4\)"):
        cut_out(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="unknown cut-out method 'magic'"):
        cut_out(np.zeros((40, 40, 4), np.uint8), "magic")


TINY_CONFIG = "from transformers import PretrainedConfig\nclass TinyConfig(PretrainedConfig):\n    model_type = 'tiny-cut'\n"
TINY_MODEL = """
    import torch
    from transformers import PreTrainedModel
    from .tiny_config import TinyConfig

    class TinyCut(PreTrainedModel):
        config_class = TinyConfig

        def __init__(self, config):
            super().__init__(config)  # and no post_init, as in BiRefNet's published code
            self.head = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x):
            fine = self.head(x)
            return [fine[..., ::4, ::4], fine]
"""


@pytest.fixture
def tiny_birefnet(tmp_path, monkeypatch):
    """A folder like BiRefNet's in the hub cache: a real network (one convolution that finds what is dark), real weights."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "birefnet"
    folder.mkdir()
    (folder / "tiny_config.py").write_text(TINY_CONFIG)
    (folder / "tiny_model.py").write_text(textwrap.dedent(TINY_MODEL))
    auto_map = {"AutoConfig": "tiny_config.TinyConfig", "AutoModelForImageSegmentation": "tiny_model.TinyCut"}
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny-cut", "auto_map": auto_map}))
    weights = {"head.weight": torch.full((1, 3, 1, 1), -8.0), "head.bias": torch.full((1,), 14.0)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setenv(birefnet.FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    birefnet.load_birefnet.cache_clear()
    yield folder
    birefnet.load_birefnet.cache_clear()


def test_birefnet_is_preferred_when_present(tiny_birefnet):
    subject = draw("vase", 300, colour=(60, 50, 40))
    facts = cut_out_with_facts(photograph(subject, "plain"), "auto")
    assert facts.method == "birefnet" and facts.note == ""
    assert overlap(facts.rgba[..., 3], subject[..., 3]) > 0.95


def test_damaged_birefnet_falls_back_with_a_note(tiny_birefnet):
    (tiny_birefnet / "model.safetensors").write_bytes(b"not weights")
    photo = photograph(draw("vase", 200), "plain")
    facts = cut_out_with_facts(photo, "auto")
    assert facts.method == "plain" and "BiRefNet" in facts.note
    with pytest.raises(WeightsError, match="cannot be loaded"):
        cut_out(photo, "birefnet")


def test_absent_birefnet_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv(birefnet.FOLDER_VARIABLE, str(tmp_path / "none"))
    photo = photograph(draw("vase", 200), "plain")
    with pytest.raises(WeightsError, match="not on this machine"):
        cut_out(photo, "birefnet")
    assert cut_out_with_facts(photo, "auto").method == "plain"


def test_hub_cache_is_searched_without_network(tmp_path, monkeypatch):
    from huggingface_hub import constants

    snapshot = tmp_path / "models--ZhengPeng7--BiRefNet" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    monkeypatch.delenv(birefnet.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (snapshot / "config.json").write_text("{}")
    assert birefnet.find_birefnet() is None  # half a download
    (snapshot / "model.safetensors").write_bytes(b"x")
    assert birefnet.find_birefnet() == snapshot


def test_normal_path_needs_no_torch():
    import subprocess

    code = (
        "import sys, numpy as np\n"
        "from tetraview.engine.photos.intake import prepare_views\n"
        "from tetraview.engine.photos.cutout import cut_out\n"
        "cut_out(np.full((64, 64, 4), 255, np.uint8), 'auto')\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
