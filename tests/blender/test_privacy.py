"""What leaves the computer, .blend files, exports and reports, names neither its folders nor its user."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zlib
from pathlib import Path

import bpy
import pytest

from .conftest import PHOTOS

USER = "janeqartist"


@pytest.fixture
def private(ext, tmp_path, monkeypatch):
    """The extension of a user whose home holds the data folder and the photos, which are chosen for a small job."""
    home = tmp_path / USER
    (home / "photos").mkdir(parents=True)
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, USER)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TETRAVIEW_HOME", str(home / "data"))
    for name, path in PHOTOS.items():
        (home / "photos" / f"{name}.png").write_bytes(Path(path).read_bytes())
        setattr(ext.settings, name, str(home / "photos" / f"{name}.png"))
    ext.settings.poly_budget, ext.settings.texture_px = 500, "256"
    yield ext
    ext.module("operators.session").stop_engine()


def contents(path: Path) -> bytes:
    """The bytes of a file, and those of the zlib and zstd streams in it."""
    data = path.read_bytes()
    found = [gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data]
    for start in (index for index in range(len(data) - 1) if data[index] == 0x78 and data[index + 1] in (0x01, 0x5E, 0x9C, 0xDA)):
        try:
            found.append(zlib.decompressobj().decompress(data[start:]))
        except zlib.error:
            continue
    return b"\n".join(found)


def saved_again(path: Path) -> None:
    """Open and save a .blend in a Blender of its own, without the extension.

    Blender writes some blocks with what was in its memory before; what the file holds on purpose stays, that goes.
    """
    code = "import sys, bpy; bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); bpy.ops.wm.save_mainfile(compress=False)"
    clean = {name: value for name, value in os.environ.items() if USER not in value}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=clean, capture_output=True, timeout=120)


def test_no_file_that_leaves_names_a_folder_or_the_user(private, tmp_path):
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert bpy.ops.tetraview.orbit_views(frames=4, size_px=64) == {"FINISHED"}
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    strip, status = private.settings.strip, private.status
    strip.add_variation({"job": strip.job, "seed": 1, "stamp": strip.stamp, "warnings": []})
    status.show_painting({"front": private.settings.front}, 1, 2)
    status.error = status.report = f"{private.settings.front} cannot be read."
    assert bpy.ops.tetraview.regenerate() == {"FINISHED"}
    out = tmp_path / "out"
    out.mkdir()
    bpy.ops.object.select_all(action="SELECT")
    bpy.ops.wm.save_as_mainfile(filepath=str(out / "a.blend"), compress=False)
    bpy.ops.export_scene.gltf(filepath=str(out / "a.glb"), export_extras=True)
    bpy.ops.export_scene.gltf(filepath=str(out / "b.gltf"), export_format="GLTF_SEPARATE", export_extras=True)
    bpy.ops.export_scene.fbx(filepath=str(out / "a.fbx"), use_custom_props=True, path_mode="COPY", embed_textures=True)
    bpy.ops.wm.obj_export(filepath=str(out / "a.obj"), path_mode="COPY")
    bpy.ops.wm.usd_export(filepath=str(out / "a.usda"), export_custom_properties=True)
    kept = (out / "a.blend").read_bytes()
    saved_again(out / "a.blend")
    assert (out / "a.blend").read_bytes() != kept
    (out / "a.blend1").unlink(missing_ok=True)  # the one before
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".blend", ".glb", ".gltf", ".fbx", ".obj", ".mtl", ".usda", ".png"}
    for path in files:
        found = contents(path)
        for secret in (USER.encode(), str(tmp_path / USER).encode(), USER.encode("utf-16-le")):
            at = found.find(secret)
            assert at < 0, (path.name, found[max(0, at - 200) : at + 100])
    assert b"tetraview_request" in contents(out / "a.glb")  # the custom properties were looked at
    bpy.ops.wm.open_mainfile(filepath=str(out / "a.blend"))  # on this computer, all is there
    assert set(private.settings.photos()) == set(PHOTOS)
    assert private.module("operators.views").strip_is_usable(private.settings)
    assert len(private.settings.strip.orbit_frames()) == 4


def test_on_another_computer_the_photos_are_unknown_and_again_works(private, tmp_path, monkeypatch):
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    n_faces = len(bpy.context.view_layer.objects.active.data.polygons)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(private.module("operators.references"), "_chosen", {})
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert private.settings.photos() == {}
    assert not private.settings.strip.is_whole()
    bpy.context.view_layer.objects.active = next(obj for obj in bpy.data.objects if "tetraview_request" in obj)
    assert bpy.ops.tetraview.regenerate() == {"FINISHED"}
    assert len(bpy.context.view_layer.objects.active.data.polygons) == n_faces


def test_photos_are_remembered_for_the_next_session_and_damage_costs_only_that(ext, tmp_path, monkeypatch):
    references = ext.module("operators.references")
    for content in ("no json", '{"a": 1}', '[1, ["a"], ["b", 3]]'):
        monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / content[:3].strip("[{")))
        home = ext.module("operators.session").home()
        (home / "photos.json").write_text(content)
        monkeypatch.setattr(references, "_chosen", {})
        monkeypatch.setattr(references, "_read_from", None)
        token = references.photo_token("/photos/front.png")
        assert references.photo_token("/photos/front.png") == token
        assert references.photo_token("/photos/left.png") != token
        monkeypatch.setattr(references, "_chosen", {})
        monkeypatch.setattr(references, "_read_from", None)
        assert references.photo_path(token) == "/photos/front.png"
        assert len(os.listdir(home)) == 1
