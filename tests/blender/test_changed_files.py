"""A .blend whose stored texts were changed by another program: a sentence or nothing, and never a traceback in the panel."""

from __future__ import annotations

import json

import bpy
import pytest

NULL_PATH = '{"photos": {}, "output_dir": "a\\u0000b"}'
BROKEN = ["", "no JSON", "[" * 100_000, "[]", "{}", '{"frames": 5}', '[{"folder": 5}, null]', NULL_PATH]


@pytest.mark.parametrize("text", [*BROKEN[1:], 5, 1e308, [1.0]])
def test_a_damaged_request_is_one_sentence(ext, text):
    obj = bpy.data.objects.new("changed", None)
    bpy.context.collection.objects.link(obj)
    try:
        bpy.context.view_layer.objects.active = obj
        obj["tetraview_request"] = text
        for operator in ("copy_settings", "regenerate"):
            with pytest.raises(RuntimeError) as caught:
                getattr(bpy.ops.tetraview, operator)()
            assert "cannot be read" in str(caught.value) and "Traceback" not in str(caught.value)
    finally:
        bpy.data.objects.remove(obj)


@pytest.mark.parametrize("text", BROKEN)
def test_a_damaged_strip_is_an_empty_one(ext, text):
    strip = ext.settings.strip
    strip.orbit = strip.variations = text
    assert strip.orbit_frames() == [] and strip.variation_list() == []
    assert not bpy.ops.tetraview.save_orbit.poll() and not bpy.ops.tetraview.play_orbit.poll()
    strip.add_variation({"folder": "/x", "seed": 1, "stamp": "", "warnings": []})
    assert len(strip.variation_list()) == 1
    strip.orbit = json.dumps({"frames": ["/a.png"], "gif": "/a.gif", "webp": "/a.webp"})
    assert strip.orbit_frames() == ["/a.png"]
    strip.clear()
