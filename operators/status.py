"""State of the running or last job for the panel, `WindowManager.tetraview`. Neither saved nor undone."""

import json

import bpy
from bpy.props import BoolProperty, FloatProperty, IntProperty, StringProperty

from . import arrival, history, player, session

_texts: dict[str, str] = {}


def _text(name: str):
    """A text that is kept in memory only: Blender would save it with the .blend, and it may name folders."""
    return StringProperty(get=lambda _: _texts.get(name, ""), set=lambda _, text: _texts.update({name: text}))


class TETRAVIEW_PG_status(bpy.types.PropertyGroup):
    """State of a job and of the engine."""

    running: BoolProperty(get=lambda self: session.is_busy())
    cancelling: BoolProperty()
    kind: StringProperty()
    phase: StringProperty()
    message: _text("message")
    fraction: FloatProperty(min=0.0, max=1.0)
    eta_s: FloatProperty(default=-1.0)
    error: _text("error")
    error_fix: _text("error_fix")
    report: _text("report")
    note: _text("note")
    result_uid: IntProperty()  # session uid: names change
    result_object: StringProperty(get=lambda self: self.result_name())
    ready: StringProperty(get=lambda self: ", ".join(result.name for result in session.ready_results))
    result_folder: _text("result_folder")
    painting: _text("painting")  # JSON: view -> picture of it so far
    painting_step: IntProperty()
    painting_steps: IntProperty()
    orbit_playing: BoolProperty(get=lambda self: player.is_playing())
    engine_ready: BoolProperty(get=lambda self: session.engine_problem() == "")
    engine_problem: StringProperty(get=lambda self: session.engine_problem())

    def begin(self, kind: str) -> None:
        """Show a job that starts: the last one's error and message go."""
        self.kind, self.phase, self.message, self.fraction, self.eta_s = kind, "", "Starting", 0.0, -1.0
        self.cancelling = False
        self.show_painting({}, 0, 0)
        self.clear_error()
        self.note = ""

    def result_name(self) -> str:
        """Name of the last result now; "" if there is none."""
        obj = arrival.by_uid(bpy.data.objects, self.result_uid) if self.result_uid else None
        return obj.name if obj else ""

    def clear_error(self) -> None:
        """Clear the error box."""
        self.error = self.error_fix = ""

    def show_painting(self, paths, step: int, steps: int) -> None:
        """Show how far the views are that are being painted; no paths: none is."""
        self.painting = json.dumps(dict(paths)) if paths else ""
        self.painting_step, self.painting_steps = step, steps

    def painted_so_far(self) -> dict[str, str]:
        """Picture of each view that is being painted, keyed by view."""
        return json.loads(self.painting) if self.painting and self.running else {}

    def prompts(self) -> list[str]:
        """Earlier prompts, newest first."""
        return history.prompts()

    def orbit_frame(self, frames) -> str:
        """The one of these frames to show now."""
        return player.current(frames)
