"""An object knows how it was made: again and its settings work after save and reopen, without the files it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest

from .asset_files import write_sphere_asset
from .conftest import PHOTOS
from .job_files import make_job
from .test_strip import VIEWS, bytes_of, changed


def coordinates(obj) -> np.ndarray:
    values = np.empty(len(obj.data.vertices) * 3, np.float32)
    obj.data.vertices.foreach_get("co", values)
    return values


@pytest.fixture
def curated(painter, photos):
    """A mesh from a prompt's strip whose four views are kept: random weights paint no solid, the demo's photos show one."""
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    painter.settings.source = "PROMPT"
    for name in VIEWS:
        setattr(painter.settings.strip, f"lock_{name}", True)
    assert bpy.ops.tetraview.generate() == {"FINISHED"}
    return painter


def test_a_curated_strip_becomes_the_mesh_and_the_object_remembers_it(curated):
    obj, settings = bpy.context.view_layer.objects.active, curated.settings
    assert obj.name == "Red Armchair"
    request = json.loads(obj["tetraview_request"])
    assert (request["prompt"], request["seed"], request["views_dir"]) == ("a red armchair", 5, settings.strip.job)
    assert obj["tetraview_engine_version"] == curated.module("engine.version").__version__
    assert all(len(value) == 64 for value in json.loads(obj["tetraview_weights_sha256"]).values())
    assert curated.module("operators.provenance").stored_views(obj) == bytes_of(settings.strip)


def test_again_and_settings_after_reopening_without_the_job_folders(curated, tmp_path):
    first = bpy.context.view_layer.objects.active
    name, expected, n_faces = first.name, coordinates(first), len(first.data.polygons)
    views = bytes_of(curated.settings.strip)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    shutil.rmtree(curated.module("operators.session").home() / "jobs")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))

    settings = curated.settings
    settings.prompt, settings.seed, settings.steps, settings.poly_budget = "something else", 99, 33, 50_000
    strip_before = settings.strip.folder
    bpy.context.view_layer.objects.active = bpy.data.objects[name]
    assert bpy.ops.tetraview.regenerate() == {"FINISHED"}
    again = bpy.context.view_layer.objects.active
    assert again.name != name
    assert len(again.data.polygons) == n_faces
    assert np.array_equal(coordinates(again), expected)
    assert curated.module("operators.provenance").stored_views(again) == views
    assert settings.strip.folder == strip_before

    bpy.context.view_layer.objects.active = bpy.data.objects[name]
    assert bpy.ops.tetraview.copy_settings() == {"FINISHED"}
    assert (settings.prompt, settings.seed, settings.steps, settings.poly_budget) == ("a red armchair", 5, 2, 800)
    assert bytes_of(settings.strip) == views
    assert curated.module("operators.views").strip_is_usable(settings)
    assert bpy.ops.tetraview.flip_view(view="right") == {"FINISHED"}  # the strip is alive
    assert changed(views, bytes_of(settings.strip)) == {"right"}


def test_undoing_the_mesh_leaves_the_views_it_was_made_from(painter, photos):
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.tetraview.generate("EXEC_DEFAULT", True) == {"FINISHED"}
    folder = painter.settings.strip.folder
    assert len(bpy.context.scene.objects) == 1
    bpy.ops.ed.undo()
    assert len(bpy.context.scene.objects) == 0
    assert painter.settings.strip.folder == folder
    assert painter.module("operators.views").strip_is_usable(painter.settings)


def test_views_are_kept_in_the_file_byte_for_byte_and_without_a_path(ext, tmp_path):
    asset, _ = write_sphere_asset(ext, tmp_path)
    request = ext.module("engine.types").GenerateRequest(photos={}, prompt="a ball", output_dir=str(tmp_path / "job"))
    obj = ext.module("operators.mesh_builder").build_object(asset, request, "Ball", PHOTOS)
    bpy.context.scene.collection.objects.link(obj)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "ball.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "ball.blend"))
    obj, provenance = bpy.data.objects["Ball"], ext.module("operators.provenance")
    stored = provenance.stored_views(obj)
    assert stored == {name: Path(path).read_bytes() for name, path in PHOTOS.items()}
    for name in VIEWS:
        assert obj[f"tetraview_view_{name}"].filepath.startswith("//")
    folder = provenance.restored_views(obj)
    assert {name: Path(folder, f"{name}.png").read_bytes() for name in VIEWS} == stored
    again = provenance.runnable_again(obj)
    assert {name: Path(again.views_dir, f"{name}.png").read_bytes() for name in VIEWS} == stored
    assert again.prompt == "a ball"


def test_a_job_folder_whose_views_were_changed_is_not_taken_for_the_objects(ext, tmp_path):
    asset, _ = write_sphere_asset(ext, tmp_path)
    views = make_job(ext) / "views"
    request = ext.module("engine.types").GenerateRequest(photos={}, prompt="a ball", output_dir=str(views.parent))
    obj = ext.module("operators.mesh_builder").build_object(asset, request, "Ball", PHOTOS)
    restored_views = ext.module("operators.provenance").restored_views
    assert restored_views(obj) == str(views)
    (views / "left.png").write_bytes(Path(PHOTOS["right"]).read_bytes())
    assert restored_views(obj) != str(views)


def test_a_packed_images_path_holds_nothing_of_the_memory_that_it_was_made_in(ext, tmp_path):
    """The buffer of its path is written whole: after the path, which is empty when packed, it holds the filling and no more."""
    path = tmp_path / "secret.png"
    path.write_bytes((Path(__file__).resolve().parents[2] / "docs" / "demo" / "photos" / "front.png").read_bytes())
    image = ext.module("operators.provenance").packed_image("view", str(path))
    assert (image.filepath, image.packed_files[0].filepath) == ("//view.png", "")
    image.use_fake_user = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"), compress=False)
    written = (tmp_path / "a.blend").read_bytes()
    assert b"x" * 1022 + b"\x00" in written
    assert b"secret" not in written
