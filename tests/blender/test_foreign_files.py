"""A .blend from anybody: no path that it holds is opened, and what is damaged in it is one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import PHOTOS
from .job_files import make_job

GARBAGE = [
    "no json", "{}", "[]", "3", '{"photos": 4}', "[" * 100_000,
    '{"photos": {}, "output_dir": "x", "texture_px": 999}', '{"photos": {}, "output_dir": "x", "seed": 99999999999}',
    '{"photos": {}, "output_dir": "x", "prompt": "\\ud800"}',
]  # fmt: skip


def ours(ext, text, *, name="Theirs"):
    """An active object with this text as its request."""
    obj = bpy.data.objects.new(name, None)
    obj["tetraview_request"] = text
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    return obj


def views_elsewhere(folder: Path) -> Path:
    """A folder of views outside the data folder."""
    shutil.copytree(Path(PHOTOS["front"]).parent, folder / "views")
    return folder


def test_again_takes_no_folder_of_the_files_but_this_computers_own(ext, tmp_path, monkeypatch):
    monkeypatch.setenv("TETRAVIEW_GENERATOR", "/my/own/generator")
    job = make_job(ext)
    stored = {"photos": dict(PHOTOS), "output_dir": job.name, "model": "/theirs/model", "generator": "/theirs/generator"}
    again = ext.module("operators.provenance").runnable_again(ours(ext, json.dumps(stored)))
    assert (again.model, again.generator) == (None, "/my/own/generator")
    assert again.views_dir == str(job / "views")


@pytest.mark.parametrize("key", ["output_dir", "views_dir", "photos"])
def test_views_and_photos_outside_the_data_folder_are_not_read(ext, tmp_path, key):
    other = views_elsewhere(tmp_path / "theirs")
    home = ext.module("operators.session").home()
    (home / "jobs").mkdir(parents=True, exist_ok=True)
    for path in (str(other), f"../../../../../../../../../..{other}"):
        stored = {"photos": {}, "output_dir": "", "views_dir": ""}
        stored[key] = {name: f"{path}/views/{name}.png" for name in PHOTOS} if key == "photos" else path
        stored["views_dir"] = f"{path}/views" if key == "views_dir" else None if key == "photos" else ""
        obj = ours(ext, json.dumps(stored))
        with pytest.raises(RuntimeError, match="gone: choose photos again"):
            bpy.ops.tetraview.regenerate()
        assert bpy.ops.tetraview.copy_settings() == {"FINISHED"}
        assert (ext.settings.photos(), ext.settings.strip.folder) == ({}, "")
        bpy.data.objects.remove(obj)


def test_a_folder_among_the_jobs_that_the_engine_did_not_mark_is_not_taken(ext):
    job = make_job(ext)
    (job / ".tetraview-job.json").unlink()
    strip = ext.settings.strip
    strip.job = strip.orbit = job.name
    assert not strip.is_whole()
    assert strip.orbit_frames() == []
    stored = {"photos": {}, "output_dir": job.name, "views_dir": ""}
    with pytest.raises(RuntimeError, match="gone"):
        ours(ext, json.dumps(stored))
        bpy.ops.tetraview.regenerate()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "MP4"])
def test_an_orbit_of_the_file_copies_nothing_to_the_artists_path(ext, tmp_path, kind):
    secret = tmp_path / "passwd"
    secret.write_text("root:x:0:0")
    out = tmp_path / f"out.{kind.lower()}"
    paths = {"frames": [str(secret)], "gif": str(secret), "webp": str(secret)}
    for orbit in (json.dumps(paths), str(tmp_path), f"../../../../../..{tmp_path}", "..", ""):
        ext.settings.strip.orbit = orbit
        with pytest.raises(RuntimeError, match=r"gone from the disk|poll"):
            bpy.ops.tetraview.save_orbit(kind=kind, filepath=str(out))
        assert not out.exists()


@pytest.mark.parametrize("job", ["/etc", "..", "../../..", "a/b", "a\\b", "C:x", "", "."])
def test_only_names_of_jobs_are_followed(ext, job):
    references = ext.module("operators.references")
    assert references.named_job(job) is None
    assert references.marked_job(job) is None
    assert references.photo_path("/etc/passwd") == ""
    assert references.photo_path(None) == ""


@pytest.mark.parametrize("text", GARBAGE)
def test_a_damaged_request_is_one_sentence(ext, text):
    ours(ext, text)
    before = {name: getattr(ext.settings, name) for name in ("prompt", "seed", "texture_px")}
    for operator in ("regenerate", "copy_settings"):
        with pytest.raises(RuntimeError, match="stored on this object are damaged") as raised:
            getattr(bpy.ops.tetraview, operator)()
        assert "Traceback" not in str(raised.value)
    assert {name: getattr(ext.settings, name) for name in before} == before


def test_a_request_that_is_no_text_is_one_sentence(ext):
    for value in (7, 1.5, [1, 2], {"a": 1}):
        ours(ext, value)
        with pytest.raises(RuntimeError, match="stored on this object are damaged"):
            bpy.ops.tetraview.regenerate()


def test_damaged_variations_and_an_orbit_are_left_out(ext):
    strip, job = ext.settings.strip, make_job(ext, orbit_frames=2)
    good = {"job": job.name, "seed": 4, "stamp": "", "warnings": []}
    bad = [5, None, {}, dict(good, job="/etc"), dict(good, seed="x"), dict(good, warnings=3), dict(good, seed=2**40)]
    for text in (*GARBAGE, '{"a": 1}'):
        strip.variations = strip.orbit = text
        assert (strip.variation_list(), strip.orbit_frames()) == ([], [])
    strip.variations = json.dumps([*bad, good])
    assert [entry["folder"] for entry in strip.variation_list()] == [str(job / "views")]
    strip.add_variation(good)
    assert len(strip.variation_list()) == 2
    strip.orbit = job.name
    assert len(strip.orbit_frames()) == 2


def test_views_that_were_unpacked_beside_the_file_are_found(ext, tmp_path):
    provenance, references = ext.module("operators.provenance"), ext.module("operators.references")
    obj = bpy.data.objects.new("Chair", None)
    bpy.context.scene.collection.objects.link(obj)
    request = ext.module("engine.types").GenerateRequest(photos={}, prompt="a chair", output_dir="/gone")
    provenance.keep_request(obj, request)
    provenance.keep_views(obj, PHOTOS)
    (tmp_path / "scene").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene" / "chair.blend"))
    bpy.ops.file.unpack_all(method="USE_LOCAL")
    assert len(list((tmp_path / "scene" / "textures").iterdir())) == 4
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene" / "chair.blend"))
    obj = bpy.data.objects["Chair"]
    assert obj["tetraview_view_left"].packed_file is None
    again = provenance.runnable_again(obj)
    assert {name: Path(again.views_dir, f"{name}.png").read_bytes() for name in PHOTOS} == {
        name: Path(path).read_bytes() for name, path in PHOTOS.items()
    }
    assert references.marked_job(Path(again.views_dir).parent.name) is not None
    outside = views_elsewhere(tmp_path / "outside") / "views" / "left.png"
    for path in (str(outside), "//../outside/views/left.png"):  # no picture from elsewhere
        obj["tetraview_view_left"].filepath_raw = path
        assert set(provenance.stored_views(obj)) == set(PHOTOS) - {"left"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["/etc/passwd", "../..", "C:\\x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
REQUEST_FIELDS = ("photos", "output_dir", "views_dir", "model", "generator", "prompt", "seed", "steps", "texture_px", "device")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(st.sampled_from(REQUEST_FIELDS), JSON), whole=st.booleans())
def test_any_request_is_read_without_a_path_or_refused_in_a_sentence(ext, fields, whole):
    provenance, errors = ext.module("operators.provenance"), ext.module("engine.errors")
    obj = {
        "tetraview_request": json.dumps({"photos": {"front": "/etc/passwd"}, "output_dir": "/etc"} | fields if whole else fields)
    }
    try:
        request = provenance.stored_request(obj)
    except errors.InvalidRequestError as error:
        assert str(error) == provenance.DAMAGED
        return
    assert (request.model, request.generator) == (None, None)
    assert not any(request.photos.values())
    ext.settings.adopt(request)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=JSON | st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("job", "seed", "stamp", "warnings"), JSON))))
def test_any_list_of_variations_is_read(ext, entries):
    strip = ext.settings.strip
    strip.variations = json.dumps(entries)
    strip.orbit = json.dumps(entries)
    jobs = ext.module("operators.session").home() / "jobs"
    assert all(Path(entry["folder"]).is_relative_to(jobs) for entry in strip.variation_list())
    assert strip.orbit_frames() == []
