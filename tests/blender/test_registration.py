"""Enabling and disabling leaves nothing behind; nothing of the engine is loaded into Blender; the package folder stays clean."""

from __future__ import annotations

import sys

import bpy
import pytest

from .conftest import ADDON, ROOT, Traces


def test_enable_and_disable_twice_leaves_no_trace(ext):
    for _ in range(2):
        ext.disable()
        after = Traces()
        ext.enable()
        assert after.types == ext.before.types
        assert after.operators == ext.before.operators
        assert after.scene_properties == ext.before.scene_properties
        assert after.handlers == ext.before.handlers
        assert after.path == ext.before.path
        assert after.threads == ext.before.threads
    assert hasattr(bpy.types, "TETRAVIEW_PT_main")
    assert ext.settings.poly_budget == 10_000


def test_only_our_own_and_standard_modules_are_loaded(ext):
    new = {name.partition(".")[0] for name in set(sys.modules) - ext.before.modules}
    foreign = new - set(sys.stdlib_module_names) - {"bl_ext"}
    assert not {
        name for name in foreign if name in {"torch", "diffusers", "PIL", "cv2", "scipy", "trimesh", "embreex", "tetraview"}
    }


def test_preferences_and_home_belong_to_the_extension(ext):
    preferences = bpy.context.preferences.addons[ADDON].preferences
    assert (preferences.device, preferences.variant) == ("auto", "auto")
    home = ext.module("operators.session").home()
    assert home.is_dir()
    assert ROOT not in home.resolve().parents
    assert "tetraview" in str(home)


def test_home_follows_the_preference_and_the_variable(ext, tmp_path, monkeypatch):
    session = ext.module("operators.session")
    preferences = bpy.context.preferences.addons[ADDON].preferences
    preferences.home = str(tmp_path / "chosen")
    try:
        assert session.home() == tmp_path / "chosen"
        monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / "variable"))
        assert session.home() == tmp_path / "variable"
    finally:
        preferences.home = ""


def test_every_operator_and_panel_has_a_name_and_a_description(ext):
    operators = [cls for cls in bpy.types.Operator.__subclasses__() if cls.__module__.startswith(ADDON)]
    assert len(operators) >= 15
    for cls in operators:
        assert cls.bl_idname.startswith("tetraview.")
        assert cls.__name__ == "TETRAVIEW_OT_" + cls.bl_idname.partition(".")[2]
        assert len(cls.__doc__ or "") > 10
        assert not cls.__doc__.endswith(".")
    assert bpy.types.TETRAVIEW_PT_main.bl_category == "Tetraview"


@pytest.mark.parametrize("operator", ["generate", "paint_views", "cancel", "regenerate", "orbit_close", "select_result"])
def test_poll_answers_in_an_empty_scene(ext, operator):
    expected = operator in {"generate", "paint_views"}
    assert getattr(bpy.ops.tetraview, operator).poll() is expected
