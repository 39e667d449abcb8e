"""Cut-outs against known silhouettes: plain backgrounds and alpha."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from tetraview.engine.errors import PhotoError
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


def with_cast_shadow(photo: np.ndarray, subject: np.ndarray, shade: float, slant: float) -> np.ndarray:
    """The photo with the subject's hard-edged shadow on the ground: its outline, laid down flat from its foot."""
    height, width = subject.shape[:2]
    foot = float(np.flatnonzero((subject[..., 3] > 128).any(1))[-1])
    flat = np.array([[1, -slant, slant * foot], [0, 0.35, 0.65 * foot]])
    thrown = cv2.warpAffine(subject[..., 3].astype(np.float32) / 255, flat, (width, height))
    behind = 1 - (1 - shade) * thrown * (1 - subject[..., 3] / 255)
    return np.dstack([(photo[..., :3] * behind[..., None] + 0.5).astype(np.uint8), photo[..., 3]])


@pytest.mark.parametrize("kind", ["mug", "vase", "box"])
@pytest.mark.parametrize("on", ["plain", "gradient", "noisy"])
@pytest.mark.parametrize(("shade", "slant"), [(0.6, 0.8), (0.8, -1.2), (0.45, 1.0)])
def test_a_hard_shadow_on_the_ground_is_left_behind(kind, on, shade, slant):
    subject = draw(kind)
    photo = with_cast_shadow(photograph(subject, on), subject, shade, slant)
    assert overlap(cut_out(through_jpeg(photo, 90), "plain")[..., 3], subject[..., 3]) > 0.93


def test_grey_parts_of_a_subject_are_not_taken_for_its_shadow():
    """A grey belt, and a grey foot under a red body: the hue of the background, even, and low."""
    for top, bottom in ((0.5, 0.62), (0.75, 0.85)):
        subject = draw("vase", colour=(200, 60, 50)).copy()
        band = np.s_[round(top * 400) : round(bottom * 400)]
        subject[band, :, :3] = (140, 140, 137)
        alpha = cut_out(photograph(subject, "plain"), "plain")[..., 3]
        assert overlap(alpha, subject[..., 3]) > 0.96


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
