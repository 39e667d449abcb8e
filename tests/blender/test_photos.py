"""Photo slots: told by name, exchanged, cleared; cut-outs belong to the photos they were made from."""

from __future__ import annotations

import functools
import os

import bpy
import pytest

from .conftest import PHOTOS
from .job_files import make_job


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["red_van_front", "red_van_right", "red_van_back", "red_van_left"], "Red Van"),
        (["front", "right", "back", "left"], "Object"),
        (["IMG_1", "IMG_2", "IMG_3", "IMG_4"], "Object"),
    ],
)
def test_the_object_is_named_by_what_the_photos_share(ext, names, expected):
    assert ext.module("operators.names").name_from_photos({name: f"/x/{name}.png" for name in names}) == expected


def test_choose_photos_fills_the_slots(ext):
    folder = PHOTOS["front"].rpartition("/")[0]
    files = [{"name": f"{name}.png"} for name in PHOTOS]
    assert bpy.ops.tetraview.choose_photos(directory=folder, files=files) == {"FINISHED"}
    assert ext.settings.photos() == PHOTOS


def test_choose_photos_says_when_no_name_tells_a_side(ext):
    with pytest.raises(RuntimeError, match="rename them"):
        bpy.ops.tetraview.choose_photos(directory="/x", files=[{"name": "IMG_1.jpg"}])
    assert ext.settings.photos() == {}


def test_choose_photos_takes_heic_and_names_what_cannot_be_read(ext):
    files = [{"name": "chair_front.HEIC"}, {"name": "back.jfif"}, {"name": "left.CR2"}]
    assert bpy.ops.tetraview.choose_photos(directory="/x", files=files) == {"FINISHED"}
    assert ext.settings.photos() == {"front": "/x/chair_front.HEIC", "back": "/x/back.jfif"}
    with pytest.raises(RuntimeError, match=r"left\.CR2 is a raw photo"):
        bpy.ops.tetraview.choose_photos(directory="/x", files=[{"name": "left.CR2"}])
    for operator in ("choose_photo", "choose_photos", "replace_view"):
        shown = getattr(bpy.ops.tetraview, operator).get_rna_type().properties["filter_glob"].default.split(";")
        assert {"*.heic", "*.jfif", "*.jpg"} <= set(shown)


def test_choose_swap_and_clear_one_photo(ext):
    assert bpy.ops.tetraview.choose_photo(view="left", filepath=PHOTOS["left"]) == {"FINISHED"}
    bpy.ops.tetraview.swap(first="left", second="right")
    assert ext.settings.photos() == {"right": PHOTOS["left"]}
    bpy.ops.tetraview.clear_photo(view="right")
    assert ext.settings.photos() == {}


def test_a_changed_photo_or_method_makes_the_strip_another_ones(ext, photos, tmp_path):
    settings, views = ext.settings, ext.module("operators.views")
    folder, copy = str(make_job(ext) / "views"), tmp_path / "photo.png"
    copy.write_bytes(b"")
    settings.front = str(copy)

    def cut():
        settings.strip.show(folder, settings.views_key(), views.photos_stamp(settings.photos()))

    changes = (("left", photos["right"]), ("cutout", "plain"), ("find_elevation", False), ("elevation", 0.1))
    for change in [functools.partial(setattr, settings, *change) for change in changes]:
        cut()
        assert views.strip_is_usable(settings)
        change()
        assert not settings.strip_is_current()
    cut()
    os.utime(copy, (1, 1))
    assert settings.strip_is_current()  # by all the panel knows
    assert not views.strip_is_usable(settings)
    settings.prompt, settings.seed = "with four photos nothing is painted", 9
    cut_key = settings.strip.key
    assert settings.views_key() == cut_key


def test_presets_set_the_budget_and_follow_it(ext):
    assert ext.settings.poly_preset == "GAME"
    ext.settings.poly_preset = "DRAFT"
    assert ext.settings.poly_budget == 2_000
    ext.settings.poly_budget = 3_333
    assert ext.settings.poly_preset == "CUSTOM"
    ext.settings.poly_preset = "CUSTOM"
    assert ext.settings.poly_budget == 3_333


def test_settings_become_a_request_and_come_back_from_it(ext, photos):
    ext.settings.poly_budget, ext.settings.texture_px, ext.settings.seed, ext.settings.cutout = 4321, "512", 7, "alpha"
    ext.settings.elevation = 0.1234
    assert ext.settings.request(bpy.context, "/out").find_elevation
    ext.settings.find_elevation = False
    request = ext.settings.request(bpy.context, "/out")
    request.check()
    assert not request.find_elevation
    assert (request.photos, request.poly_budget, request.texture_px, request.seed) == (photos, 4321, 512, 7)
    assert request.elevation_deg == pytest.approx(7.07, abs=0.001)
    bpy.ops.scene.new(type="NEW")
    bpy.context.scene.tetraview.adopt(request)
    assert bpy.context.scene.tetraview.request(bpy.context, "/out") == request


def test_thumbnails_are_of_files_that_exist(ext, tmp_path):
    icon_of = ext.module("operators.pictures").icon_of
    assert icon_of(PHOTOS["front"]) == icon_of(PHOTOS["front"])
    assert icon_of(str(tmp_path / "nothing.png")) == 0
