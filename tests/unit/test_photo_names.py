"""Sides and kinds told from file names: one rule for Blender and the command line."""

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine.photo_names import PHOTO_SUFFIXES, VIEW_WORDS, kind_sentence, side_of, sort_by_name


@pytest.mark.parametrize(
    "names",
    [
        ["front.png", "right.png", "back.png", "left.png"],
        ["Van_FRONT_01.jpg", "Van_Left_02.jpg", "van-rear.jpeg", "van right.webp"],
        ["01 vorne.png", "02 rechts.png", "03 hinten.png", "04 links.png"],
        ["front.HEIC", "right.heif", "chair_back.JFIF", "left.JPG"],
    ],
)
def test_sides_are_told_by_the_words_in_the_names(names):
    found = sort_by_name([f"/photos/back of house/{name}" for name in names])
    assert set(found.photos) == {"front", "right", "back", "left"}
    assert len(set(found.photos.values())) == 4 and not found.problem
    assert any(word in PurePath(found.photos["back"]).name.lower() for word in VIEW_WORDS["back"])


def test_a_name_that_tells_nothing_or_two_sides_is_left_out():
    found = sort_by_name(["a/front.png", "b/front.png", "bright.png", "front_left.png", "IMG_1.jpg", "right.png"])
    assert found.photos == {"right": "right.png"}
    assert found.unnamed == ["bright.png", "front_left.png", "IMG_1.jpg"]
    assert "two photos of the front view, front.png and front.png" in found.problem


def test_the_plain_name_goes_before_others_of_its_side():
    assert sort_by_name(["chair_front.jpg", "front.jpg", "front detail.jpg"]).photos == {"front": "front.jpg"}


def test_what_cannot_be_read_is_named_where_its_side_lacks_a_photo():
    found = sort_by_name(["front.HEIC", "front.MOV", "left.CR2", "right.txt"])
    assert found.photos == {"front": "front.HEIC"}
    assert found.problem == "left.CR2 is a raw photo, which cannot be read here: export it as PNG or JPEG."
    assert kind_sentence("left.png") == ""


@given(st.sampled_from(PHOTO_SUFFIXES), st.sampled_from([(s, w) for s, words in VIEW_WORDS.items() for w in words]),
       st.from_regex(r"[0-9_ -]{0,8}", fullmatch=True), st.booleans())  # fmt: skip
def test_any_suffix_case_and_punctuation_tell_the_same_side(suffix, side_and_word, around, upper):
    side, word = side_and_word
    name = f"chair{around or '_'}{word}{around}{suffix}"
    name = name.upper() if upper else name
    assert side_of(name) == side
    assert sort_by_name([name]).photos == {side: name}
