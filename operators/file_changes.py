"""Another file is opened, or Blender was closed: the running job ends with a sentence; finished results stay to be placed."""

import bpy
from bpy.app.handlers import persistent

from . import session
from .task import redraw

NOTE_DELAY_S = 0.5
_note = ""


@persistent
def before_load(*_) -> None:
    """Stop the running job: its scene goes."""
    global _note
    run = session.current_run()
    if run is not None:
        _note = run.abandon("another file was opened")


@persistent
def after_load(*_) -> None:
    """Say what was stopped, also where the file could not be opened; the panel forgets what it said of the other file."""
    global _note
    status = bpy.context.window_manager.tetraview
    status.begin("")
    status.message, status.note, _note = "", _note, ""


def tell_last_note() -> None:
    """Say which job the end of the last session stopped."""
    note = session.last_note()
    if note:
        bpy.context.window_manager.tetraview.note = note
        redraw(bpy.context)


HANDLERS = (("load_pre", before_load), ("load_post", after_load), ("load_post_fail", after_load))


def register() -> None:
    for name, handler in HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)
    if not bpy.app.background:
        bpy.app.timers.register(tell_last_note, first_interval=NOTE_DELAY_S)  # the preferences are not there yet


def unregister() -> None:
    if bpy.app.timers.is_registered(tell_last_note):
        bpy.app.timers.unregister(tell_last_note)
    for name, handler in HANDLERS:
        getattr(bpy.app.handlers, name).remove(handler)
