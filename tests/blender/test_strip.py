"""The view strip through real operators, a real engine process and a tiny real generator with random weights."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import bpy
import pytest

from .conftest import PHOTOS

VIEWS = tuple(PHOTOS)
LIMIT_S = 120.0


def bytes_of(strip) -> dict[str, bytes]:
    """The four PNGs of a strip."""
    return {name: Path(strip.path(name)).read_bytes() for name in VIEWS}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in VIEWS if before[name] != after[name]}


def started(ext, task):
    run = ext.module("operators.task").TaskRun(task)
    assert run.start(bpy.context), run.outcome
    return run


def tick_until(run, condition):
    deadline, state = time.monotonic() + LIMIT_S, {"RUNNING_MODAL"}
    while state == {"RUNNING_MODAL"} and not condition():
        assert time.monotonic() < deadline, "no end in time"
        state = run.tick(bpy.context)
        time.sleep(0.01)
    return state


@pytest.fixture
def strip(painter):
    """A painted strip."""
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    return painter.settings.strip


def test_a_prompt_becomes_four_views_that_fill_in(painter):
    run = started(painter, painter.module("operators.views").PaintTask())
    seen = []

    def look():
        pictures = painter.status.painted_so_far()
        if pictures and pictures not in seen:
            assert set(pictures) == set(VIEWS)
            assert all(Path(path).is_file() for path in pictures.values())
            seen.append(pictures)
        return False

    assert tick_until(run, look) == {"FINISHED"}, run.outcome
    assert len(seen) >= 1
    assert painter.status.painted_so_far() == {}
    settings = painter.settings
    assert settings.strip.is_whole()
    assert settings.strip_is_current()
    for name in VIEWS:
        image = bpy.data.images.load(settings.strip.path(name))
        assert tuple(image.size) == (512, 512)
        assert image.channels == 4
    assert len(set(bytes_of(settings.strip).values())) == 4
    assert painter.status.note == "The views are ready."
    assert painter.module("operators.history").prompts()[0] == "a red armchair"
    assert len(bpy.data.objects) == 0


def test_the_same_seed_paints_the_same_views_and_the_dice_others(painter, strip):
    first, folder = bytes_of(strip), strip.folder
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert strip.folder != folder
    assert bytes_of(strip) == first
    assert bpy.ops.tetraview.reroll_views() == {"FINISHED"}
    assert painter.settings.seed != 5
    assert changed(first, bytes_of(strip)) == set(VIEWS)


def test_rolling_one_view_again_leaves_three_byte_for_byte(painter, strip):
    before, folder, job = bytes_of(strip), strip.folder, strip.job
    assert bpy.ops.tetraview.reroll_view(view="right") == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"right"}
    assert {name: Path(folder, f"{name}.png").read_bytes() for name in VIEWS} == before  # the old strip is still there
    assert painter.settings.seed == 5
    assert painter.settings.strip_is_current()
    once = bytes_of(strip)
    strip.job = job
    assert bpy.ops.tetraview.reroll_view(view="right") == {"FINISHED"}
    assert changed(once, bytes_of(strip)) == {"right"}  # another throw of the dice


def test_flipping_twice_brings_the_picture_back(painter, strip):
    def pixels():
        image = bpy.data.images.load(strip.path("back"), check_existing=False)
        return list(image.pixels)

    before, first = bytes_of(strip), pixels()
    assert bpy.ops.tetraview.flip_view(view="back") == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"back"}
    assert pixels() != first
    assert bpy.ops.tetraview.flip_view(view="back") == {"FINISHED"}
    assert pixels() == first


def test_a_view_is_replaced_by_a_photo(painter, strip):
    before = bytes_of(strip)
    assert bpy.ops.tetraview.replace_view(view="front", filepath=PHOTOS["front"]) == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"front"}
    assert painter.settings.source == "PROMPT"
    with pytest.raises(RuntimeError, match="nothing_there"):
        bpy.ops.tetraview.replace_view(view="front", filepath="/nothing_there.png")
    assert changed(before, bytes_of(strip)) == {"front"}


def test_locked_views_stay_when_all_others_are_painted(painter, strip):
    before = bytes_of(strip)
    strip.lock_front = strip.lock_left = True
    painter.settings.seed = 77
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"right", "back"}
    assert strip.locked() == ("front", "left")
    before = bytes_of(strip)
    assert bpy.ops.tetraview.reroll_views() == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"right", "back"}
    strip.lock_right = strip.lock_back = True
    with pytest.raises(RuntimeError, match="locked"):
        bpy.ops.tetraview.paint_views()


def test_fewer_photos_are_completed_and_locked_ones_are_not_read_again(painter):
    settings = painter.settings
    settings.front, settings.right = PHOTOS["front"], PHOTOS["right"]
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    strip = settings.strip
    before = bytes_of(strip)
    settings.seed = 9
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"back", "left"}
    before = bytes_of(strip)
    strip.lock_front = strip.lock_back = True
    settings.front, settings.right = "/gone/front.png", PHOTOS["left"]
    request = painter.module("operators.views").unlocked_request(bpy.context, settings)
    assert (request.photos, request.replace, request.repaint) == ({"right": PHOTOS["left"]}, ("right",), ("left",))
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert changed(before, bytes_of(strip)) == {"right", "left"}


def test_replacing_a_view_of_photos_changes_that_sides_photo(painter, photos):
    settings = painter.settings
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    before = bytes_of(settings.strip)
    assert bpy.ops.tetraview.replace_view(view="left", filepath=PHOTOS["right"]) == {"FINISHED"}
    assert changed(before, bytes_of(settings.strip)) == {"left"}
    assert settings.left == PHOTOS["right"]
    assert painter.module("operators.views").strip_is_usable(settings)


def test_an_edit_is_undone_by_blenders_own_undo(painter):
    bpy.ops.ed.undo_push(message="start")
    assert bpy.ops.tetraview.paint_views("EXEC_DEFAULT", True) == {"FINISHED"}
    first = painter.settings.strip.folder
    assert bpy.ops.tetraview.flip_view("EXEC_DEFAULT", True, view="left") == {"FINISHED"}
    second = painter.settings.strip.folder
    assert second != first
    bpy.ops.ed.undo()
    assert painter.settings.strip.folder == first
    assert painter.settings.strip.is_whole()
    bpy.ops.ed.redo()
    assert painter.settings.strip.folder == second


def test_cancelling_while_it_paints_keeps_the_old_strip(painter, strip):
    before, folder = bytes_of(strip), strip.folder
    painter.settings.steps = 100
    run = started(painter, painter.module("operators.views").PaintTask())
    assert tick_until(run, lambda: painter.status.painted_so_far() != {}) == {"RUNNING_MODAL"}
    assert not bpy.ops.tetraview.flip_view.poll()
    assert bpy.ops.tetraview.cancel() == {"FINISHED"}
    assert tick_until(run, lambda: False) == {"CANCELLED"}
    assert painter.status.note == "Paint views: cancelled."
    assert painter.status.painted_so_far() == {}
    assert painter.settings.strip.folder == folder
    assert bytes_of(painter.settings.strip) == before


def test_the_strip_outlives_the_engine_the_file_and_a_wrong_edit(painter, strip, tmp_path):
    before, folder = bytes_of(strip), strip.folder
    painter.module("operators.session").stop_engine()
    strip.lock_back = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "strip.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "strip.blend"))
    strip = painter.settings.strip
    assert (strip.folder, strip.locked()) == (folder, ("back",))
    assert painter.settings.strip_is_current()
    assert bytes_of(strip) == before
    Path(strip.path("left")).unlink()
    with pytest.raises(RuntimeError, match="gone from the disk"):
        bpy.ops.tetraview.flip_view(view="front")
    assert not painter.module("operators.views").strip_is_usable(painter.settings)


def test_an_engine_that_dies_while_it_paints_leaves_the_old_strip(painter, strip):
    before, folder = bytes_of(strip), strip.folder
    painter.settings.steps = 100
    run = started(painter, painter.module("operators.views").PaintTask())
    assert tick_until(run, lambda: painter.status.painted_so_far() != {}) == {"RUNNING_MODAL"}
    os.kill(painter.module("operators.session").engine().pid, signal.SIGKILL)
    assert tick_until(run, lambda: False) == {"CANCELLED"}
    assert "engine stopped" in painter.status.error
    assert painter.settings.strip.folder == folder
    assert bytes_of(painter.settings.strip) == before
    assert bpy.ops.tetraview.flip_view(view="front") == {"FINISHED"}  # and goes on with a new engine
    assert changed(before, bytes_of(painter.settings.strip)) == {"front"}


def test_edits_need_a_strip(painter):
    for operator in ("reroll_view", "flip_view", "replace_view", "reroll_views", "orbit_views"):
        assert not getattr(bpy.ops.tetraview, operator).poll()
    assert bpy.ops.tetraview.paint_views.poll()
