"""What a running job costs the window: which regions are drawn again, and how often."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import bpy


class Region(SimpleNamespace):
    """A region, or an area, that counts how often it is to be drawn."""

    drawn = 0

    def tag_redraw(self) -> None:
        self.drawn += 1


def test_only_sidebars_and_preferences_are_drawn_again(ext):
    main, sidebar, header = (Region(type=kind) for kind in ("WINDOW", "UI", "HEADER"))
    view, preferences, outliner = (Region(type=kind, regions=[]) for kind in ("VIEW_3D", "PREFERENCES", "OUTLINER"))
    view.regions = [header, main, sidebar]
    window = SimpleNamespace(screen=SimpleNamespace(areas=[view, preferences, outliner]))
    context = SimpleNamespace(window_manager=SimpleNamespace(windows=[window]))
    ext.module("operators.task").redraw(context)
    assert [thing.drawn for thing in (sidebar, preferences, view, main, header, outliner)] == [1, 1, 0, 0, 0, 0]


def test_progress_draws_at_most_four_times_a_second_and_the_last_of_it_is_shown(ext, monkeypatch):
    module, types = ext.module("operators.task"), ext.module("engine.types")
    clock, drawn = SimpleNamespace(now=100.0), []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(module, "redraw", lambda _: drawn.append((clock.now, ext.status.fraction)))

    class Job:
        done, told = False, 0

        def poll(self):
            self.told += 1
            return [types.Progress("mesh", self.told / 100)] * 3 if self.told <= 40 else []

        def cancel(self):
            pass

    class Chatty(module.Task):
        kind = title = "CHATTY"

        def begin(self, context):
            return Job()

    run = module.TaskRun(Chatty())
    assert run.start(bpy.context)
    drawn.clear()  # that it has begun is drawn at once
    for _ in range(50):
        clock.now += 0.05
        run.tick(bpy.context)
    assert 8 <= len(drawn) <= 11
    assert all(later - earlier >= 0.25 for (earlier, _), (later, _) in pairwise(drawn))
    assert drawn[-1][1] == ext.status.fraction
    assert abs(drawn[-1][1] - 0.4) < 1e-6
    run.abandon("the test is over")
