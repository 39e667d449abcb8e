"""Which words may stand for which, read from a WordNet of a few synsets; and what the bank says of each object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tetraview.engine.errors import EngineError
from tetraview.engine.training.retrieval.build_bank import contrast, describe, detail, typicality, write_kin
from tetraview.engine.training.retrieval.kinship import (
    BROADER,
    COMPOUND,
    DEFINED,
    NARROWER,
    RARE_SENSE,
    SAME,
    SIBLING,
    WordNet,
    related_nouns,
    singulars,
)

ANIMAL, ARTIFACT, PLANT = 5, 6, 20
SYNSETS = (  # key, file, words, wider, definition
    (1, ARTIFACT, ["tool"], [], "a thing to work with"),
    (2, ARTIFACT, ["ax", "axe"], [1], "an edge tool with a heavy head"),
    (3, ARTIFACT, ["hatchet"], [2], "a small ax"),
    (4, ARTIFACT, ["saw"], [1], "a tool with teeth"),
    (5, ARTIFACT, ["chest"], [], "a box with a lid"),
    (6, ARTIFACT, ["treasure chest"], [5], "a chest of gold"),
    (7, PLANT, ["fungus"], [], "a plant without green"),
    (8, PLANT, ["mushroom"], [7], "an edible fungus"),
    (9, PLANT, ["toadstool"], [7], "a poisonous one, other than a mushroom"),
    (10, 9, ["chest"], [], "part of the day of a body"),
    (12, ANIMAL, ["dog"], [], "a beast that barks"),
    (13, 18, ["dog"], [], "a man"),
    (14, 18, ["dog"], [], "a bad man"),
    (15, 13, ["sausage", "dog"], [], "a thing to eat"),
    (16, ANIMAL, ["hound", "cur"], [12], "a dog that hunts"),
    (11, ANIMAL, ["Rhinoceros_unicornis", "rhino"], [], "a beast"),
)
VOCABULARY = {
    "tool",
    "ax",
    "axe",
    "hatchet",
    "saw",
    "chest",
    "treasure",
    "fungus",
    "mushroom",
    "toad",
    "##stool",
    "rhino",
    "dog",
    "hound",
    "sausage",
}


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    data, senses = ["  the licence"], {}
    for key, file, words, wider, definition in SYNSETS:
        names = [word.replace(" ", "_") for word in words]
        links = "".join(f"@ {other:08d} n 0000 " for other in wider)
        written = " ".join(f"{name} 0" for name in names)
        data.append(f"{key:08d} {file:02d} n {len(names):02x} {written} {len(wider):03d} {links}| {definition}")
        for name in names:
            senses.setdefault(name.lower(), []).append(f"{key:08d}")
    index = [f"{name} n {len(keys)} 1 @ {len(keys)} 0 {' '.join(keys)}" for name, keys in senses.items()]
    (folder / "data.noun").write_text("\n".join(data) + "\n")
    (folder / "index.noun").write_text("\n".join(["  the licence", *index]) + "\n")
    return WordNet(folder)


def test_kin_and_how_near_they_are(wordnet):
    related = related_nouns(["axe", "mushroom", "chest"], wordnet, VOCABULARY)
    assert related["ax"] == {"axe": SAME}
    assert related["hatchet"] == {"axe": NARROWER[0]}
    assert related["saw"] == {"axe": SIBLING}
    assert related["toadstool"] == {"mushroom": DEFINED}  # a cousin, and in the definition
    assert related["treasure chest"] == {"chest": COMPOUND}
    assert SAME > related["tool"]["axe"] > SIBLING
    assert not {"axe", "mushroom", "chest"} & set(related)


def test_a_rare_meaning_counts_less(wordnet):
    related = related_nouns(["sausage", "hound"], wordnet, VOCABULARY)
    assert related["dog"]["sausage"] == pytest.approx(SAME * RARE_SENSE**2, abs=0.005)
    assert related["dog"]["hound"] == BROADER[0]


def test_a_plural_has_the_kin_of_its_singular(wordnet):
    assert related_nouns(["axes"], wordnet, VOCABULARY)["hatchet"] == {"axes": NARROWER[0]}
    assert [singulars(word)[:1] for word in ("berries", "knives", "boxes", "chairs", "glass", "cactus", "gas")] == [
        ["berry"], ["knif"], ["box"], ["chair"], [], [], [],
    ]  # fmt: skip
    assert "knife" in singulars("knives")


def test_words_that_the_vocabulary_would_cut_into_many_pieces_are_left_out(wordnet):
    pieces = VOCABULARY - {"hatchet"} | set("hatce") | {f"##{c}" for c in "hatche"}
    assert "hatchet" not in related_nouns(["axe"], wordnet, pieces)


def test_a_folder_without_wordnet(tmp_path):
    with pytest.raises(EngineError, match="no WordNet"):
        WordNet(tmp_path)


def test_the_bank_gets_its_kin(tmp_path, wordnet):
    (tmp_path / "examples.json").write_text(json.dumps([{"noun": "Golden axe", "tags": "tool mushroom"}]))
    size = write_kin(tmp_path, wordnet, VOCABULARY)
    path = Path(tmp_path / "kin.json")
    assert size == path.stat().st_size
    related = json.loads(path.read_text())
    assert set(related["hatchet"]) == {"axe", "tool"} and "mushroom" in related["toadstool"]


def views(colour, other=None) -> np.ndarray:
    result = np.zeros((4, 32, 32, 4), np.uint8)
    result[:, 4:-4, 4:-4] = (*colour, 255)
    if other:
        result[:, 4:-4, 4:-4:3] = (*other, 255)
    return result


def test_contrast_and_detail():
    assert contrast(views((250, 250, 250))) < 0.1 < 0.9 < contrast(views((60, 60, 60)))
    assert contrast(np.zeros((4, 8, 8, 4), np.uint8)) == 0 and detail(np.zeros((4, 8, 8, 4), np.uint8)) == 0
    assert detail(views((60, 60, 60))) == 0 and detail(views((60, 60, 60), (200, 200, 200))) == 1


def test_what_is_typical_is_like_those_of_other_families():
    outlines = np.zeros((5, 4, 8, 8), np.float32)
    outlines[:3, :, :, :4], outlines[3, :, :, 6:], outlines[4] = 1, 1, 1
    typical = typicality(outlines, ["pot", "pot", "flower pot", "pot", "lamp"], ["pot"] * 4 + ["lamp"], ["a", "b", "b", "c", "d"])
    assert typical[0] == 1 and typical[1] == 1 and typical[3] < 0.1 and typical[4] == 0.5


@pytest.mark.parametrize(
    ("name", "short", "tags", "noun", "head"),
    [
        ("qt-space-Ship_BlueBird", "ship blue bird", ["ship"], "ship blue bird", "ship"),
        ("qt-house-Light_Desk", "desk", ["desk", "light"], "desk light", "light"),
        ("kn-Kit-kitchenCabinetCorner", "corner kitchen cabinet", [], "corner kitchen cabinet", ""),
        ("qt-house-Bathroom_Bathtub", "bathroom bathtub", ["bathroom"], "bathroom bathtub", ""),
    ],
)
def test_ids_that_say_first_what_it_is(name, short, tags, noun, head):
    entry = {"caption": f"a {short}", "caption_short": short, "tags": tags, "colours": [["red", 0.8], ["blue", 0.05]]}
    described = describe({"id": name}, entry)
    assert (described["noun"], described["head"], described["colours"]) == (noun, head, ["red"])
