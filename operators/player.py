"""Play the frames of an orbit preview in the panel, by a timer that stops when the panel is no longer drawn."""

import time

import bpy

from .task import redraw

FRAME_S = 1 / 12
UNSEEN_S = 3.0
"""The panel draws after each frame; if it has not for so long, it is closed or covered."""


class _Player:
    frames: tuple[str, ...] = ()
    index = 0
    seen_at = 0.0


def is_playing() -> bool:
    """Whether the frames move."""
    return bpy.app.timers.is_registered(advance)


def play(frames) -> None:
    """Show these frames in a loop, from the first."""
    stop()
    _Player.frames, _Player.index, _Player.seen_at = tuple(frames), 0, time.monotonic()
    bpy.app.timers.register(advance, first_interval=FRAME_S)  # not persistent: opening a file ends it


def stop() -> None:
    """Stop."""
    if is_playing():
        bpy.app.timers.unregister(advance)


def current(frames) -> str:
    """The frame to show now, of the frames that the panel wants to show; the first one if others are played."""
    _Player.seen_at = time.monotonic()
    if not frames:
        return ""
    return frames[_Player.index] if tuple(frames) == _Player.frames else frames[0]


def advance() -> float | None:
    """One frame on; returns when to come again, None to end the timer."""
    if not _Player.frames or time.monotonic() - _Player.seen_at > UNSEEN_S:
        return None
    _Player.index = (_Player.index + 1) % len(_Player.frames)
    redraw(bpy.context)
    return FRAME_S
