"""The prompt side of the panel: styles, history, dice, names, and what makes a strip the settings' own."""

from __future__ import annotations

import json

import bpy
import pytest

from .conftest import PHOTOS
from .job_files import make_job


@pytest.fixture
def history(ext, tmp_path, monkeypatch):
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / "home"))
    module = ext.module("operators.history")
    module.forget_shown()
    yield module
    module.forget_shown()


def test_a_style_is_words_at_the_end_of_the_prompt(ext):
    settings = ext.settings
    settings.prompt = "a red armchair"
    assert settings.style == "NONE"
    settings.style = "LOW_POLY"
    assert settings.prompt == "a red armchair, low-poly style"
    settings.style = "STUDIO"
    assert settings.prompt == "a red armchair, studio light"
    settings.style = "NONE"
    assert settings.prompt == "a red armchair"
    settings.prompt = "a Tree, Low-Poly Style "
    assert settings.style == "LOW_POLY"
    settings.prompt = ""
    settings.style = "LOW_POLY"
    assert settings.prompt == "low-poly style"


def test_history_is_newest_first_without_doubles_limited_and_kept_on_the_disk(ext, history):
    for number in range(history.LIMIT + 5):
        history.remember(f"a chair {number}")
    history.remember("  A Chair 30 ")
    history.remember("   ")
    assert len(history.prompts()) == history.LIMIT
    assert history.prompts()[:2] == ["A Chair 30", "a chair 34"]
    assert [text.lower() for text in history.prompts()].count("a chair 30") == 1
    history.forget_shown()  # another session
    assert history.prompts()[:2] == ["A Chair 30", "a chair 34"]
    assert bpy.ops.tetraview.use_prompt(prompt=history.prompts()[1]) == {"FINISHED"}
    assert ext.settings.prompt == "a chair 34"
    assert bpy.ops.tetraview.forget_prompts() == {"FINISHED"}
    history.forget_shown()
    assert history.prompts() == []


@pytest.mark.parametrize("content", ["no json", '{"a": 1}', "[1, null]"])
def test_a_broken_history_is_an_empty_one(ext, history, content):
    path = ext.module("operators.session").home() / "prompts.json"
    path.write_text(content)
    assert history.prompts() == []
    history.remember("a chair")
    assert json.loads(path.read_text()) == ["a chair"]


def test_another_blenders_prompts_are_not_lost(ext, history):
    history.remember("mine")
    path = ext.module("operators.session").home() / "prompts.json"
    path.write_text(json.dumps(["theirs", "mine"]))
    history.remember("new")
    assert history.prompts() == ["new", "theirs", "mine"]


def test_the_dice_gives_another_seed(ext):
    seeds = set()
    for _ in range(4):
        assert bpy.ops.tetraview.dice() == {"FINISHED"}
        seeds.add(ext.settings.seed)
    assert len(seeds) == 4


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red armchair", "Red Armchair"),
        ("The old McLaren car, low-poly style", "Old McLaren Car"),
        ("ein großer Stuhl", "Ein Großer Stuhl"),
        ("", "Object"),
        ("a", "Object"),
        (", low-poly style", "Object"),
        ("a " + "very " * 40 + "long one", "Very Very Very Very Very Very Very Very Very"),
    ],
)
def test_the_object_is_named_by_its_prompt(ext, prompt, name):
    assert ext.module("operators.names").name_from_prompt(prompt) == name


def test_what_the_artist_calls_it_counts_most_then_photos_then_prompt(ext):
    settings, object_name = ext.settings, ext.module("operators.views").object_name
    settings.prompt = "a red van"
    assert object_name(settings) == "Red Van"
    settings.front = "/x/green_truck_front.png"
    assert object_name(settings) == "Green Truck"
    settings.front = "/x/front.png"
    assert object_name(settings) == "Red Van"
    settings.object_name = "Mine"
    assert object_name(settings) == "Mine"


def test_a_photo_switches_the_source_and_the_prompt_side_ignores_photos(ext):
    settings = ext.settings
    assert settings.source == "PROMPT"
    settings.front = PHOTOS["front"]
    assert settings.source == "PHOTOS"
    assert settings.request(bpy.context, "/out").painted == ("right", "back", "left")
    settings.source = "PROMPT"
    settings.prompt = "a chair"
    request = settings.request(bpy.context, "/out")
    request.check()
    assert request.photos == {}
    assert len(request.painted) == 4


def test_prompt_settings_become_a_request_and_come_back_from_it(ext):
    settings = ext.settings
    settings.prompt, settings.negative_prompt, settings.seed, settings.steps = " a chair ", "legs", 2**31 - 1, 9
    settings.guidance, settings.object_size, settings.use_examples = 2.3, 0.7, False
    request = settings.request(bpy.context, "/out")
    request.check()
    assert (request.prompt, request.negative_prompt, request.seed, request.steps) == ("a chair", "legs", 2**31 - 1, 9)
    assert (request.guidance, request.object_size, request.use_examples) == (2.3, 0.7, False)
    bpy.ops.scene.new(type="NEW")
    bpy.context.scene.tetraview.adopt(request)
    assert bpy.context.scene.tetraview.request(bpy.context, "/out") == request


@pytest.mark.parametrize(
    ("name", "value"),
    [("prompt", "a table"), ("negative_prompt", "legs"), ("seed", 1), ("steps", 7), ("object_size", 0.7), ("guidance", 3.0),
     ("use_examples", False)],
)  # fmt: skip
def test_whatever_changes_the_views_parts_them_from_the_strip(ext, name, value):
    settings = ext.settings
    settings.prompt = "a chair"
    settings.strip.show(str(make_job(ext) / "views"), settings.views_key(), "")
    assert settings.strip_is_current()
    settings.poly_budget, settings.texture_px, settings.elevation = 500, "256", 0.1
    assert settings.strip_is_current()
    setattr(settings, name, value)
    assert not settings.strip_is_current()
    for view in PHOTOS:
        setattr(settings.strip, f"lock_{view}", True)
    assert settings.strip_is_current()  # all that is shown is to be kept


def test_the_generator_of_the_preferences_or_the_variable_is_asked_for(ext, monkeypatch):
    monkeypatch.delenv("TETRAVIEW_GENERATOR", raising=False)
    preferences = bpy.context.preferences.addons[ext.name].preferences
    assert ext.settings.request(bpy.context, "/out").generator is None
    preferences.generator = "/weights/mine"
    try:
        assert ext.settings.request(bpy.context, "/out").generator == "/weights/mine"
        monkeypatch.setenv("TETRAVIEW_GENERATOR", "/weights/other")
        assert ext.settings.request(bpy.context, "/out").generator == "/weights/other"
    finally:
        preferences.generator = ""
