"""Another file is opened: the running job ends with a sentence; finished results stay, for *Place Result*."""

import bpy
from bpy.app.handlers import persistent

from . import session

_note = ""


@persistent
def before_load(*_) -> None:
    """Stop the running job: its scene goes."""
    global _note
    run = session.current_run()
    _note = "" if run is None else f"{run.task.title}: cancelled, because another file was opened."
    if run is not None:
        run.abandon()


@persistent
def after_load(*_) -> None:
    """Say what was stopped; what the file's own window manager remembers of a job is of another session."""
    status = bpy.context.window_manager.tetraview
    status.begin("")
    status.message, status.note = "", _note


def register() -> None:
    bpy.app.handlers.load_pre.append(before_load)
    bpy.app.handlers.load_post.append(after_load)


def unregister() -> None:
    bpy.app.handlers.load_pre.remove(before_load)
    bpy.app.handlers.load_post.remove(after_load)
