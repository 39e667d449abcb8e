"""The starter's cut-out network: shipped weights before backgrounds no training shows, and what happens without them."""

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from tetraview.engine.errors import WeightsError
from tetraview.engine.evaluation.busy_backgrounds import CROWD, KINDS, PLAIN, busy_photo
from tetraview.engine.evaluation.hard.backgrounds import Place
from tetraview.engine.models.registry import WEIGHTS_FILE
from tetraview.engine.photos import birefnet, cutout, starter_cutout
from tetraview.engine.photos.cutout import SURE, cut_out_with_facts
from tetraview.engine.photos.cutout_network import CutoutNetwork
from tetraview.engine.photos.plain import PlainCut, from_centre, segment_plain, work_size
from tetraview.engine.photos.starter_cutout import StarterCut, find_starter_cutout, main_parts, segment_starter

from .scenes import draw, photograph

TINY = {"input_px": 32, "channels": (8, 8), "normalised_levels": 1}
DEFAULT_CONFIG = '{"_class_name": "CutoutNetwork", "input_px": 128, "channels": [16, 32, 64, 96, 112], "normalised_levels": 3}'


@pytest.fixture(autouse=True)
def no_birefnet(monkeypatch, tmp_path):
    monkeypatch.setenv(birefnet.FOLDER_VARIABLE, str(tmp_path / "no birefnet"))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A copy of the shipped weights that a test may damage or remove."""
    folder = shutil.copytree(starter_cutout.STARTER_CUTOUT, tmp_path / "cutout")
    monkeypatch.setattr(starter_cutout, "STARTER_CUTOUT", folder)
    starter_cutout.load_starter_cutout.cache_clear()
    yield folder
    starter_cutout.load_starter_cutout.cache_clear()


def opaque(rgb):
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def iou(mask, truth):
    full = cv2.resize(mask.astype(np.uint8), truth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return (full & truth).sum() / (full | truth).sum()


def busy_photos(kinds, each=2):
    """Photos of drawn subjects, away from the middle, with their truth."""
    for number, kind in enumerate(kinds):
        for seed in range(each):
            subject = draw(("mug", "vase", "box")[(number + seed) % 3])
            others = [draw(name, colour=(90, 70, 160)) for name in ("box", "mug", "vase")]
            yield busy_photo(subject, kind, np.random.default_rng((number, seed)), size=(240, 320), others=others)


def test_what_ships_is_small_and_cuts_out_of_backgrounds_never_trained_on():
    folder = find_starter_cutout()
    assert folder is not None and (folder / WEIGHTS_FILE).stat().st_size <= 2_000_000
    ours, guessed = [], []
    for rgb, truth in busy_photos(KINDS):
        ours.append(iou(segment_starter(rgb, folder).mask, truth))
        guessed.append(iou(from_centre(work_size(rgb)), truth))
    assert np.mean(ours) > np.mean(guessed) + 0.05, (np.round(ours, 2), np.round(guessed, 2))
    assert np.mean(ours) > 0.75 and np.median(ours) > 0.85


def test_confidence_is_higher_where_the_cut_out_is_better():
    found = [(segment_starter(rgb, find_starter_cutout()), truth) for rgb, truth in busy_photos((*KINDS, CROWD, PLAIN))]
    quality = np.array([iou(cut.mask, truth) for cut, truth in found])
    confidence = np.array([cut.confidence for cut, _ in found])
    assert confidence.min() >= 0 and confidence.max() <= 1
    assert quality[confidence >= SURE].mean() > quality[confidence < SURE].mean() + 0.1


def test_the_same_photo_gives_the_same_cut_out():
    rgb, _ = next(busy_photos(["grass"]))
    first, second = (segment_starter(rgb, find_starter_cutout()) for _ in range(2))
    assert np.array_equal(first.mask, second.mask) and first.confidence == second.confidence


@pytest.mark.parametrize("shape", [(480, 640), (640, 300), (61, 90)])
def test_any_shape_of_photo_gives_a_mask_at_working_size(shape):
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    assert segment_starter(rgb, find_starter_cutout()).mask.shape == work_size(rgb).shape[:2]


def test_a_small_subject_is_looked_at_twice(elsewhere):
    seen = []
    network = starter_cutout.load_starter_cutout(elsewhere)
    handle = network.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].mean().item()))
    small = np.full((360, 480, 3), 215, np.uint8)
    small[180:230, 300:360] = (160, 40, 40)
    near = segment_starter(small, elsewhere)
    large = np.full((360, 480, 3), 215, np.uint8)
    large[20:340, 40:440] = (160, 40, 40)
    segment_starter(large, elsewhere)
    handle.remove()
    assert len(seen) == 3 and seen[1] < seen[0] - 0.1  # the second look holds more of the dark subject
    truth = np.zeros(small.shape[:2], bool)
    truth[180:230, 300:360] = True
    assert iou(near.mask, truth) > 0.9


def test_a_busy_background_is_left_to_the_network():
    (rgb, truth), *_ = busy_photos(["grass"])
    facts = cut_out_with_facts(opaque(rgb), "auto")
    assert facts.method == "starter" and facts.note == "" and facts.is_plain == (facts.confidence >= SURE)
    assert facts.border_spread > 9 and iou(facts.rgba[..., 3] > 127, truth) > 0.8


@pytest.mark.parametrize("on", ["plain", "gradient", "white"])
def test_an_even_background_is_not(on):
    photo = photograph(draw("mug"), on)
    facts = cut_out_with_facts(photo, "auto")
    assert facts.method == "plain" and facts.is_plain and facts.confidence == 1
    assert np.array_equal(facts.rgba, cut_out_with_facts(photo, "plain").rgba)


def test_a_plain_wall_with_things_before_it_is_left_to_the_network():
    """The border is mostly wall, so the plain method trusts itself and takes the floor and all that stands on it."""
    others = [draw(name, colour=(90, 70, 160)) for name in ("box", "mug", "vase")]
    found = []
    for seed in (4, 5, 6):
        rgb, truth = busy_photo(draw("vase"), CROWD, np.random.default_rng(seed), size=(240, 320), others=others)
        plain = segment_plain(rgb)
        assert plain.is_plain and iou(plain.mask, truth) < 0.4
        facts = cut_out_with_facts(opaque(rgb), "auto")
        assert facts.method == "starter"
        found.append(iou(facts.rgba[..., 3] > 127, truth))
    assert np.mean(found) > 0.7


@pytest.mark.parametrize("kind", ["mug", "vase"])
def test_before_a_table_the_wall_is_no_subject(kind):
    """Most of the border is wood, a smooth field to the plain method, which takes the wall for the subject."""
    subject = np.pad(draw(kind), ((40, 40), (80, 80), (0, 0)))
    rng = np.random.default_rng(6)
    behind = Place.draw("table", rng).behind(subject[..., 3].astype(np.float32) / 255, rng) * 255
    alpha = subject[..., 3:].astype(np.float32) / 255
    rgb = (subject[..., :3] * alpha + behind * (1 - alpha)).astype(np.uint8)
    plain = segment_plain(rgb)
    assert plain.is_plain and iou(plain.mask, subject[..., 3] > 127) < 0.4
    facts = cut_out_with_facts(opaque(rgb), "auto")
    assert iou(facts.rgba[..., 3] > 127, subject[..., 3] > 127) > 0.9


def test_an_unsure_network_yields_to_a_plain_background_that_is_not_quite_even(monkeypatch):
    photo, unsure = photograph(draw("mug"), "noisy"), StarterCut(np.ones((400, 400), bool), cutout.UNSURE - 0.01)
    monkeypatch.setattr(cutout, "segment_starter", lambda rgb, folder: unsure)
    facts = cut_out_with_facts(photo, "auto")
    assert facts.method == "plain" and facts.border_spread > cutout.EVEN_SPREAD
    assert iou(facts.rgba[..., 3] > 127, draw("mug")[..., 3] > 127) > 0.9


@pytest.mark.parametrize(
    ("confidence", "everything", "method"),
    [(0.95, False, "starter"), (0.5, False, "starter"), (0.5, True, "plain"), (0, True, "plain")],
)
def test_an_implausible_plain_cut_out_yields_to_a_better_one(monkeypatch, confidence, everything, method):
    whole = np.ones((240, 320), bool)
    part = whole.copy()
    part[:, :60], part[:40] = False, False
    monkeypatch.setattr(cutout, "segment_plain", lambda rgb, guess: PlainCut(whole, 2.0, True))
    monkeypatch.setattr(cutout, "segment_starter", lambda rgb, folder: StarterCut(whole if everything else part, confidence))
    facts = cut_out_with_facts(np.full((240, 320, 4), 255, np.uint8), "auto")
    assert facts.method == method
    assert facts.is_plain == (method == "plain" or confidence >= SURE)


def test_plain_when_asked_for_stays_the_plain_method():
    rgb, _ = next(busy_photos(["bricks"]))
    facts = cut_out_with_facts(opaque(rgb), "plain")
    assert facts.method == "plain" and not facts.is_plain
    assert np.array_equal(facts.rgba[..., 3] > 127, cut_out_with_facts(opaque(rgb), "plain").rgba[..., 3] > 127)


def test_without_weights_the_guess_from_the_centre_is_back(elsewhere):
    (elsewhere / WEIGHTS_FILE).unlink()
    assert find_starter_cutout() is None
    rgb, _ = next(busy_photos(["bricks"]))
    facts = cut_out_with_facts(opaque(rgb), "auto")
    assert facts.method == "plain" and not facts.is_plain and facts.note == ""
    assert np.array_equal(facts.rgba, cut_out_with_facts(opaque(rgb), "plain").rgba)


@pytest.mark.parametrize("damage", ["cut short", "another model", "not JSON"])
def test_damaged_weights_are_said_so_and_the_plain_method_stands_in(elsewhere, damage):
    if damage == "cut short":
        (elsewhere / WEIGHTS_FILE).write_bytes((elsewhere / WEIGHTS_FILE).read_bytes()[:1000])
    elif damage == "not JSON":
        (elsewhere / "config.json").write_text("{")
    else:
        shutil.rmtree(elsewhere)
        CutoutNetwork(**TINY).save_pretrained(elsewhere)
        (elsewhere / "config.json").write_text(DEFAULT_CONFIG)
    rgb, _ = next(busy_photos(["bricks"]))
    with pytest.raises(WeightsError, match=r"cut-out weights in .* cannot be read: download them again"):
        segment_starter(rgb, elsewhere)
    facts = cut_out_with_facts(opaque(rgb), "auto")
    assert facts.method == "plain" and not facts.is_plain
    assert facts.note.startswith("The plain cut-out was used: The cut-out weights in")
    assert facts.rgba[..., 3].any()


def test_plain_photos_need_no_torch():
    code = (
        "import sys\n"
        "from tests.engine.photos.scenes import draw, photograph\n"
        "from tetraview.engine.photos.cutout import cut_out_with_facts\n"
        "assert cut_out_with_facts(photograph(draw('mug'), 'gradient')).method == 'plain'\n"
        "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_network_answers_at_the_photos_size_and_can_be_saved(tmp_path):
    torch.manual_seed(0)
    network = CutoutNetwork(**TINY).eval()
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    logits = network(pixels)
    assert logits.shape == (2, 1, 64, 64) and logits.dtype == torch.float32
    network.save_pretrained(tmp_path)
    assert torch.equal(CutoutNetwork.from_pretrained(tmp_path).eval()(pixels), logits)
    with pytest.raises(ValueError, match="input_px: expected a multiple of 4, got 30"):
        CutoutNetwork(input_px=30, channels=(8, 8))


def test_specks_and_what_runs_out_of_the_photo_are_dropped():
    probability = np.zeros((60, 80), np.float32)
    probability[20:40, 30:50] = 0.9
    probability[20:24, 60:64] = 0.9  # a speck
    probability[20:40, 52:58] = 0.8  # a part of its own
    probability[50:, :30] = 0.8  # runs out
    mask = main_parts(probability)
    assert mask[30, 40] and mask[30, 55] and not mask[22, 62] and not mask[55, 10]
    assert not main_parts(np.zeros((60, 80), np.float32)).any()


def test_backgrounds_and_their_errors():
    rng = np.random.default_rng(0)
    for kind in (*KINDS, PLAIN):
        rgb, truth = busy_photo(draw("box", 200), kind, rng, size=(120, 160))
        assert rgb.shape == (120, 160, 3) and rgb.dtype == np.uint8
        assert 0.03 < truth.mean() < 0.7 and (kind == PLAIN or rgb[~truth].std() > 8)
    with pytest.raises(ValueError, match="unknown kind of background 'sea'"):
        busy_photo(draw("box", 100), "sea", rng)
    with pytest.raises(ValueError, match="a crowd needs other objects"):
        busy_photo(draw("box", 100), CROWD, rng)
