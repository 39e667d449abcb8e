"""The bank of examples: what a prompt finds, in which colour, and how the bank is written and read."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tetraview.engine.errors import WeightsError
from tetraview.engine.retrieval.colours import NAMED_COLOURS, alike, nearest_names, split_colours
from tetraview.engine.retrieval.example_bank import Entry, ExampleBank, in_colours
from tetraview.engine.retrieval.outline_similarity import thumbnail

from ..tiny_generators import random_text_encoder, spelling_tokenizer

NOUNS = ("armchair", "sofa", "truck", "cactus", "pot")
PX = 16


def picture(colour: str, width: int) -> np.ndarray:
    """Four views uint8 [4, PX, PX, 4]: a bar of one colour, `width` pixels wide."""
    views = np.zeros((4, PX, PX, 4), np.uint8)
    views[:, 2:-2, 2 : 2 + width, :3] = NAMED_COLOURS[colour]
    views[:, 2:-2, 2 : 2 + width, 3] = 255
    return views


def webp(views: np.ndarray) -> bytes:
    grid = np.concatenate([np.concatenate(list(views[:2]), 1), np.concatenate(list(views[2:]), 1)], 0)
    stream = io.BytesIO()
    Image.fromarray(grid).save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


@pytest.fixture(scope="module")
def words():
    tokenizer = spelling_tokenizer(NOUNS)
    return tokenizer, random_text_encoder(len(tokenizer), table_dim=64, hidden=16, layers=1, heads=2)


@pytest.fixture(scope="module")
def bank(words):
    tokenizer, encoder = words
    entries = [
        Entry("a", "a gray armchair", "armchair", ("gray",), 0.5),
        Entry("b", "a red armchair, low-poly style", "armchair", ("red",), 0.5),
        Entry("c", "a blue sofa", "sofa", ("blue",), 0.5),
        Entry("d", "a green cactus pot", "cactus pot", ("green",), 0.5),
        Entry("e", "a brown sofa", "sofa", ("brown",), 1.0),
    ]
    colours = ("gray", "red", "blue", "green", "brown")
    views = [picture(c, 3 + 2 * i) for i, c in enumerate(colours)]
    thumbnails = np.stack([[thumbnail(view) for view in four] for four in views])
    return ExampleBank(entries, [webp(four) for four in views], thumbnails, tokenizer, encoder.table)


def main_colour(views: np.ndarray) -> str:
    solid = views[..., 3] == 255
    return list(NAMED_COLOURS)[np.bincount(nearest_names(views[solid][None, :, :3]).ravel()).argmax()]


def test_the_noun_decides(bank):
    assert bank.pick("a blue armchair").caption.endswith("armchair")
    assert bank.pick("a sofa").caption == "a brown sofa"  # the more typical one
    assert bank.pick("cactus").caption == "a green cactus pot"


def test_among_equal_nouns_colour_and_style_decide(bank):
    assert bank.pick("a red armchair, low-poly style").caption == "a red armchair, low-poly style"
    assert bank.pick("an armchair").caption == "a gray armchair"
    assert bank.pick("an armchair, low-poly style").caption == "a red armchair, low-poly style"


def test_nothing_near_enough(bank):
    assert bank.pick("xylophone quartz") is None
    assert bank.pick("") is None
    assert bank.pick("!!!") is None


def test_similarity_is_one_for_the_same_words(bank):
    similar = bank.similarities("a Cactus Pot")
    assert similar[3] == pytest.approx(1.0, abs=1e-5)
    assert (similar[[0, 1, 2, 4]] < 0.6).all()
    assert 0.8 < bank.similarities("a pot cactus")[3] < 0.99  # a cactus beside a pot is not a pot for one


def made(words, *entries: Entry, related=None) -> ExampleBank:
    """A bank of these entries, all with the same picture."""
    tokenizer, encoder = words
    views = picture("green", 6)
    thumbnails = np.stack([[thumbnail(view) for view in views]] * len(entries))
    return ExampleBank(list(entries), [webp(views)] * len(entries), thumbnails, tokenizer, encoder.table, related)


def test_a_word_finds_its_kin(words):
    entries = Entry("a", "a pot", "pot", (), 0.5), Entry("b", "a truck", "truck", (), 0.5)
    assert made(words, *entries).pick("a lorry") is None
    assert made(words, *entries, related={"lorry": {"truck": 0.9}}).pick("a lorry").caption == "a truck"


def test_a_material_prefers_its_colours_and_is_painted_if_none_has_them(words):
    blue, brown = Entry("a", "a blue pot", "pot", ("blue",), 0.8), Entry("b", "a brown pot", "pot", ("brown",), 0.5)
    assert made(words, blue, brown).pick("a pot").caption == "a blue pot"
    assert made(words, blue, brown).pick("a wooden pot").caption == "a brown pot"
    assert main_colour(made(words, Entry("a", "a green pot", "pot", ("green",), 0.5)).pick("a wooden pot").views) == "brown"


def test_what_is_white_on_white_comes_last_unless_it_is_painted(words):
    pale = Entry("a", "a white pot", "pot", ("white",), 0.9, contrast=0.05, detail=0.5)
    plain = Entry("b", "a gray pot", "pot", ("gray",), 0.5, contrast=0.5, detail=0.5)
    assert made(words, pale, plain).pick("a pot").caption == "a gray pot"
    assert made(words, pale, plain).pick("a green pot").caption == "a white pot"


def test_detail_counts_a_little(words):
    flat, full = (Entry(name, f"a {name} pot", "pot", (), 0.5, detail=detail) for name, detail in (("flat", 0.0), ("full", 1.0)))
    assert made(words, flat, full).pick("a pot").caption == "a full pot"


def test_the_solid_one_of_two_is_taken_and_the_torn_one_if_there_is_no_other(words):
    torn, sturdy = (
        Entry(name, f"a {name} armchair", "armchair", (), 0.5, solidity=s) for name, s in (("torn", 0.3), ("sturdy", 0.7))
    )
    assert made(words, torn, sturdy).pick("an armchair").caption == "a sturdy armchair"
    assert made(words, torn).pick("an armchair").caption == "a torn armchair"
    assert {made(words, torn, sturdy).pick("an armchair", seed).caption for seed in range(1, 9)} == {"a sturdy armchair"}


def test_nothing_of_another_kind_is_taken_because_it_is_solid(words):
    """However torn the armchair is, and though a chair may stand for one if there is none."""
    chair = Entry("a", "a chair", "chair", (), 1.0, solidity=1.0)
    armchair = Entry("b", "an armchair", "armchair", (), 0.0, solidity=0.0)
    related = {"armchair": {"chair": 0.84}}
    assert made(words, chair, related=related).pick("an armchair").caption == "a chair"
    assert made(words, chair, armchair, related=related).pick("an armchair").caption == "an armchair"
    sofa = Entry("c", "a low sofa", "sofa", (), 0.0, solidity=0.9)
    assert made(words, armchair, sofa, related={"armchair": {"sofa": 0.7}}).pick("an armchair").caption == "an armchair"


def test_entries_that_nobody_measured_rank_as_before(words):
    usual, typical = (Entry(name, f"a {name} pot", "pot", (), share) for name, share in (("usual", 0.5), ("typical", 0.6)))
    assert made(words, usual, typical).pick("a pot").caption == "a typical pot"
    better = Entry("better", "a better pot", "pot", (), 0.6, solidity=1.0)
    assert made(words, usual, typical, better).pick("a pot").caption == "a better pot"
    worse = Entry("worse", "a worse pot", "pot", (), 0.6, solidity=0.5)
    assert made(words, worse, typical).pick("a pot").caption == "a typical pot"


def test_the_views_come_in_the_colour_asked_for(bank):
    example = bank.pick("a teal sofa")
    assert main_colour(example.views) == "teal"
    assert (example.views[..., 3] == bank.views(4)[..., 3]).all()
    assert main_colour(bank.pick("a brown sofa").views) == "brown"


def test_the_seed_chooses_among_the_close_ones_only(bank):
    captions = {bank.pick("an armchair", seed).caption for seed in range(1, 20)}
    assert captions <= {"a gray armchair", "a red armchair, low-poly style"}
    assert bank.pick("an armchair", 5).caption == bank.pick("an armchair", 5).caption


@pytest.mark.parametrize("index", range(5))
def test_known_views_find_what_looks_like_them(bank, index):
    """Whatever its colour, the outline decides; the colour comes over to the views that are to be painted."""
    known = {name: view.copy() for name, view in zip(("front", "right"), bank.views(index), strict=False)}
    solid = known["front"][..., 3] > 0
    for view in known.values():
        view[solid, :3] = NAMED_COLOURS["teal"]
    example = bank.like(known)
    assert example.caption == bank.entries[index].caption
    assert (example.views[0] == known["front"]).all()
    behind = example.views[2]
    assert (behind[..., 3] == known["front"][:, ::-1, 3]).all()
    assert np.abs(behind[behind[..., 3] > 0][:, :3].astype(float).mean(0) - NAMED_COLOURS["teal"]).max() < 25


def test_known_views_may_be_larger_than_the_examples(bank):
    known = {"front": bank.views(2)[0].repeat(4, 0).repeat(4, 1)}
    example = bank.like(known)
    assert example.views.shape == (4, 4 * PX, 4 * PX, 4) and (example.views[0] == known["front"]).all()


def test_a_prompt_decides_between_like_outlines(bank):
    views = picture("beige", 8)  # as wide as neither "c" (7) nor "d" (9)
    views[:, 2:-2, 10] = views[:, 2:-2, 9] // (1, 1, 1, 2)  # and a little more, for both are about as far away then
    between = {"front": views[0], "right": views[1]}
    assert bank.like(between, "a sofa").caption == "a blue sofa"
    assert bank.like(between, "a cactus pot").caption == "a green cactus pot"


def test_without_a_true_lookalike_no_other_object_is_shown(bank):
    """Neither an outline that is merely the nearest nor a prompt that names another thing brings in an example."""
    upper_corner = np.zeros((PX, PX, 4), np.uint8)
    upper_corner[:2, -2:] = (*NAMED_COLOURS["teal"], 255)
    blue_sofa = {"front": bank.views(2)[0]}
    for known, prompt in (({"front": upper_corner}, ""), ({"front": upper_corner}, "a sofa"), (blue_sofa, "an armchair")):
        example = bank.like(known, prompt)
        assert example.caption == "" and (example.views[0] == known["front"]).all()
        assert (example.views[2][..., 3] == known["front"][:, ::-1, 3]).all()
        shown = known["front"][known["front"][..., 3] > 0][0, :3].astype(int)
        for side in (example.views[1], example.views[3]):
            assert np.abs(side[side[..., 3] > 0][:, :3] - shown).max() < 12
    assert bank.like(blue_sofa).caption == bank.like(blue_sofa, "a sofa").caption == "a blue sofa"
    assert bank.like({"front": np.zeros((PX, PX, 4), np.uint8)}) is None


def test_a_thumbnail_is_premultiplied():
    half = np.full((20, 20, 4), (200, 100, 0, 128), np.uint8)
    assert np.abs(thumbnail(half).reshape(-1, 4).astype(int) - (100, 50, 0, 128)).max() <= 1


def test_written_and_read(tmp_path, bank, words):
    from safetensors.torch import save_file

    tokenizer, encoder = words
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    encoder.save_pretrained(tmp_path / "text_encoder")
    assert not ExampleBank.exists(tmp_path)
    folder = tmp_path / "examples"
    folder.mkdir()
    joined = torch.frombuffer(bytearray(b"".join(bank.pictures)), dtype=torch.uint8)
    ends = torch.tensor(np.cumsum([len(data) for data in bank.pictures]))
    tensors = {"pictures": joined, "ends": ends, "thumbnails": torch.from_numpy(bank.thumbnails)}
    save_file(tensors, folder / "examples.safetensors")
    described = [{**vars(entry), "colours": list(entry.colours)} for entry in bank.entries]
    (folder / "examples.json").write_text(json.dumps(described))
    assert ExampleBank.exists(tmp_path)
    loaded = ExampleBank.from_pretrained(tmp_path)
    assert loaded.entries == bank.entries
    for prompt in ("a red sofa", "cactus"):
        assert (loaded.pick(prompt).views == bank.pick(prompt).views).all()
    damages = {
        "examples.json": ("[{]", "[" * 100_000, "3", "[3]", "[]"),
        "kin.json": ("3", "[3]", '{"sofa": 3}', "[" * 100_000),
        "words.tsv": ("", "english\tde\none"),
        "examples.safetensors": ({"ends": ends.float()}, {"ends": ends[1:]}, {"ends": ends + 1}, {"ends": ends.flip(0)}),
    }
    for name, kinds in damages.items():
        content = (folder / name).read_bytes() if (folder / name).is_file() else None
        for kind in kinds:
            if isinstance(kind, str):
                (folder / name).write_text(kind)
            else:
                save_file(tensors | kind, folder / name)
            with pytest.raises(WeightsError, match=r"^The examples in .* are missing or damaged: get the weights again\.$"):
                ExampleBank.from_pretrained(tmp_path)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    assert ExampleBank.from_pretrained(tmp_path).entries == bank.entries


@given(st.sampled_from(sorted(NAMED_COLOURS)), st.sampled_from(sorted(NAMED_COLOURS)))
def test_any_colour_can_be_asked_for(old, new):
    if old == new:
        return
    painted = in_colours(picture(old, 9), (new,), (old,))
    colour = np.median(painted[painted[..., 3] == 255][:, :3], 0)  # edges are blended
    assert np.abs(colour - NAMED_COLOURS[new]).max() < 25


def test_light_and_shade_of_one_surface_are_painted_together():
    texture = np.zeros((4, 8, 3), np.uint8)
    texture[:, :4], texture[:, 4:6], texture[:, 6:] = (200, 40, 40), (150, 28, 28), (40, 60, 200)
    seeds = np.zeros((4, 8), bool)
    seeds[:, :4] = True
    assert (alike(texture, seeds) == (texture[..., 0] > 100)).all()


def test_a_surface_is_painted_whole_and_what_is_less_colourful_stays():
    """One hue, light and dark, and a brownish stem of about the same hue."""
    texture = np.zeros((4, 9, 3), np.uint8)
    texture[:, :3], texture[:, 3:6], texture[:, 6:] = (240, 130, 30), (110, 58, 12), (92, 78, 62)
    seeds = np.zeros((4, 9), bool)
    seeds[:, :3] = True
    assert (alike(texture, seeds) == (np.arange(9) < 6)).all()


def test_colour_words():
    assert split_colours("a dark  red and Grey olive-green sofa") == (("dark red", "gray", "olive green"), "a and sofa")
    assert split_colours("a reddish blueberry") == ((), "a reddish blueberry")
    assert split_colours("a violet and purple cup")[0] == ("purple",)
