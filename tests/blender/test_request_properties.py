"""Blender's properties of a request come from its fields' descriptions."""

from __future__ import annotations

import dataclasses

import bpy
import pytest


@pytest.fixture
def glossy(ext):
    """A request with one more field, and the property group that follows from it."""
    types, described = ext.module("engine.types"), ext.module("engine.request_fields")

    @dataclasses.dataclass(frozen=True)
    class GlossyRequest(types.GenerateRequest):
        gloss: float = dataclasses.field(
            default=0.5,
            metadata=described.describe(
                "How glossy it is", label="Gloss", bounds=(0, 1), unit="share", changes="painting", section="painting"
            ),
        )

    properties = ext.module("operators.request_properties").properties_of(GlossyRequest)
    group = type("TETRAVIEW_PG_glossy", (bpy.types.PropertyGroup,), {"__annotations__": properties})
    bpy.utils.register_class(group)
    bpy.types.Scene.glossy = bpy.props.PointerProperty(type=group)
    yield GlossyRequest, bpy.context.scene.glossy
    del bpy.types.Scene.glossy
    bpy.utils.unregister_class(group)


def test_a_new_field_is_a_property_with_limits_and_is_copied_both_ways(ext, glossy):
    request_type, settings = glossy
    module = ext.module("operators.request_properties")
    gloss = settings.bl_rna.properties["gloss"]
    assert (gloss.name, gloss.description, gloss.hard_min, gloss.hard_max) == ("Gloss", "How glossy it is", 0.0, 1.0)
    assert (gloss.default, gloss.subtype) == (0.5, "FACTOR")
    assert "gloss" in module.section_properties("painting", request_type)
    settings.gloss = 0.9
    request = request_type(photos={}, output_dir="", **module.values_of(settings, request_type))
    assert request.gloss == 0.9
    module.adopt_values(settings, dataclasses.replace(request, gloss=0.2))
    assert module.values_of(settings, request_type)["gloss"] == 0.2


def test_limits_and_choices_of_a_scene_are_those_of_the_request(ext):
    properties = ext.settings.bl_rna.properties
    assert set(properties.keys()) >= {
        "prompt", "negative_prompt", "poly_budget", "texture_px", "elevation", "find_elevation", "cutout", "seed", "steps",
        "guidance", "object_size", "use_examples",
    }  # fmt: skip
    assert (properties["steps"].hard_min, properties["steps"].hard_max, properties["steps"].soft_max) == (1, 100, 20)
    assert properties["elevation"].hard_max == pytest.approx(1.0472, abs=1e-4)
    assert [item.identifier for item in properties["texture_px"].enum_items] == ["256", "512", "1024", "2048", "4096"]
    assert (properties["texture_px"].default, properties["cutout"].default) == ("1024", "auto")
    assert properties["find_elevation"].default and properties["use_examples"].default
    assert (properties["seed"].hard_min, properties["seed"].hard_max) == (0, 2**31 - 1)
