"""What the panel draws in each state. Pip bpy has no window, so a layout that only writes down stands in for Blender's own.

It refuses what Blender would refuse: operators, properties, icons and arguments that do not exist.
"""

from __future__ import annotations

from types import SimpleNamespace

import bpy
import pytest

from .conftest import PHOTOS
from .job_files import make_job

FUNCTIONS = bpy.types.UILayout.bl_rna.functions
ICONS = set(FUNCTIONS["prop"].parameters["icon"].enum_items.keys())
NESTING = {"row", "column", "box", "split", "grid_flow"}


class OperatorButton:
    """The properties of an operator's button."""

    def __init__(self, idname: str) -> None:
        module, name = idname.split(".")
        object.__setattr__(self, "properties", set(getattr(getattr(bpy.ops, module), name).get_rna_type().properties.keys()))

    def __setattr__(self, key, value) -> None:
        assert key in self.properties, key
        object.__setattr__(self, key, value)


class Layout:
    """Writes down what is drawn, as (function, text or name, enabled)."""

    def __init__(self, drawn, root=True, parent=None) -> None:
        self.drawn, self._root, self._parent = drawn, root, parent
        self.enabled = self.active = self.alert = True
        self.scale_y, self.alignment, self.use_property_split, self.use_property_decorate = 1.0, "EXPAND", False, False

    def is_enabled(self) -> bool:
        return self.enabled and (self._parent is None or self._parent.is_enabled())

    def panel(self, idname, default_closed=False):
        assert self._root, "Blender allows panels only over the full width"
        return Layout(self.drawn, False, self), Layout(self.drawn, True, self)

    def __getattr__(self, name):
        known = {key for key in FUNCTIONS[name].parameters.keys()}  # noqa: SIM118 - a bpy collection

        def call(*args, **kwargs):
            assert set(kwargs) <= known, (name, kwargs)
            assert kwargs.get("icon", "NONE") in ICONS, kwargs
            if name in NESTING:
                return Layout(self.drawn, False, self)
            what = kwargs.get("text", "")
            result = None
            if name in {"prop", "prop_enum"}:
                data, key, *rest = args
                assert key in data.bl_rna.properties, key
                if rest:
                    assert rest[0] in data.bl_rna.properties[key].enum_items, rest
                what = key
            elif name == "operator":
                result, what = OperatorButton(args[0]), args[0]
            elif name == "menu":
                assert issubclass(getattr(bpy.types, args[0]), bpy.types.Menu)
                what = args[0]
            self.drawn.append((name, what, self))
            return result

        return call


def draw(ext, cls=None) -> list[tuple[str, str, bool]]:
    """Everything the panel shows now: (function, text or name, whether it can be pressed)."""
    drawn: list = []
    cls = cls or ext.module("panels.sidebar").TETRAVIEW_PT_main
    layout = Layout(drawn)
    panel = SimpleNamespace(layout=layout)
    for name in ("_draw_turntable", "_draw_no_engine"):
        if hasattr(cls, name):
            setattr(panel, name, getattr(cls, name).__get__(panel))
    context = SimpleNamespace(
        scene=bpy.context.scene, window_manager=bpy.context.window_manager, region=SimpleNamespace(width=300),
        active_object=bpy.context.view_layer.objects.active,
    )  # fmt: skip
    cls.draw(panel, context)
    return [(name, what, where.is_enabled()) for name, what, where in drawn]


def buttons(drawn) -> dict[str, bool]:
    return {what: enabled for name, what, enabled in drawn if name == "operator"}


def names(drawn) -> set[str]:
    return {what for _, what, _ in drawn}


@pytest.fixture
def shown(ext):
    """A strip of the demo photos that stands for the prompt."""
    views = make_job(ext, orbit_frames=4) / "views"
    ext.settings.prompt = "a red armchair"
    ext.settings.strip.show(str(views), ext.settings.views_key(), "", ("The front photo is blurred.",))
    return ext


def test_an_empty_scene_asks_for_a_prompt(ext):
    drawn = draw(ext)
    assert {"source", "prompt", "style", "seed", "steps", "negative_prompt", "object_size", "use_examples"} <= names(drawn)
    assert "tetraview.choose_photos" not in names(drawn)
    assert buttons(drawn)["tetraview.paint_views"] is False
    assert buttons(drawn)["tetraview.generate"] is False
    assert "tetraview.reroll_view" not in names(drawn)
    ext.settings.prompt = "a chair"
    assert buttons(draw(ext))["tetraview.paint_views"] is True
    assert buttons(draw(ext))["tetraview.generate"] is True


def test_empty_slots_say_that_they_will_be_painted(ext):
    ext.settings.front, ext.settings.left = PHOTOS["front"], PHOTOS["left"]
    drawn = draw(ext)
    assert "Right and back will be painted" in names(drawn)
    assert "prompt" in names(drawn)
    ext.settings.right, ext.settings.back = PHOTOS["right"], PHOTOS["back"]
    drawn = draw(ext)
    assert not any("will be painted" in text for text in names(drawn))
    assert "prompt" not in names(drawn)
    assert buttons(drawn)["tetraview.generate"] is True


def test_left_and_right_photos_can_be_swapped_once_there_is_one(ext):
    ext.settings.source = "PHOTOS"
    assert buttons(draw(ext))["tetraview.swap"] is False
    ext.settings.left = PHOTOS["left"]
    assert buttons(draw(ext))["tetraview.swap"] is True


def test_the_strip_has_a_tile_with_its_tools_for_each_view(shown):
    drawn = draw(shown)
    assert {"Front", "Right", "Back", "Left", "lock_front", "lock_left", "From the views above"} <= names(drawn)
    assert "The front photo is blurred." in names(drawn)
    assert [what for _, what, _ in drawn].count("tetraview.flip_view") == 4
    shown.settings.strip.lock_back = True
    flips = [enabled for _, what, enabled in draw(shown) if what == "tetraview.flip_view"]
    assert flips == [True, True, False, True]
    shown.settings.prompt = "a table"
    assert "New settings: makes new views first" in names(draw(shown))


def test_variations_and_orbit_are_shown_when_they_are_there(shown):
    assert buttons(draw(shown))["tetraview.orbit_views"] is True
    assert "tetraview.choose_variation" not in names(draw(shown))
    job = shown.settings.strip.job
    for seed in range(4):
        shown.settings.strip.add_variation({"job": job, "seed": seed, "stamp": "", "warnings": []})
    shown.settings.strip.orbit = job
    drawn = draw(shown)
    assert [what for _, what, _ in drawn].count("tetraview.choose_variation") == 4
    assert [what for _, what, _ in drawn].count("tetraview.save_orbit") == 3
    assert "tetraview.orbit_views" not in names(drawn)


@pytest.mark.parametrize("kind", ["VIEWS", "VARIATIONS", "FIELD", "GENERATE", "ORBIT", "INSTALL"])
def test_a_running_job_can_be_cancelled_once_and_nothing_else_be_pressed(shown, kind):
    session = shown.module("operators.session")
    shown.status.begin(kind)
    session.set_run(SimpleNamespace(abandon=lambda _: ""))
    try:
        shown.status.show_painting({"front": PHOTOS["front"]}, 1, 6)
        drawn = draw(shown)
        assert sum(what == "tetraview.cancel" for _, what, _ in drawn) == 1
        pressed = {what for what, enabled in buttons(drawn).items() if enabled}
        assert pressed <= {"tetraview.cancel", "tetraview.clear_variations"}
        assert "progress" in {name for name, _, _ in drawn}
    finally:
        session.set_run(None)


def test_an_error_and_a_result_are_shown(shown):
    shown.status.error, shown.status.error_fix = "There is no engine.", "tetraview.install_engine"
    assert {"tetraview.dismiss", "tetraview.install_engine", "tetraview.copy_report"} <= names(draw(shown))
    shown.status.clear_error()
    obj = bpy.data.objects.new("Made", None)
    obj["tetraview_request"] = "{}"
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    assert {"tetraview.regenerate", "tetraview.copy_settings", "tetraview.orbit_preview"} <= names(draw(shown))


def test_the_menu_of_prompts_and_the_preferences_are_drawn(ext, tmp_path, monkeypatch):
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path))
    history, menu = ext.module("operators.history"), bpy.types.TETRAVIEW_MT_prompts
    history.forget_shown()
    try:
        assert names(draw(ext, menu)) == {"None yet"}
        history.remember("a " + "very " * 40 + "long prompt")
        assert {"tetraview.use_prompt", "tetraview.forget_prompts"} <= names(draw(ext, menu))
    finally:
        history.forget_shown()
