"""The arrival of a result: what the artist is doing now, and the meshes that wait until they may be placed.

Blender crashes when undo steps are pushed or modes are changed while another operator is modal, so nothing is placed then.
"""

import bpy

from . import session

WATCH_S = 0.25
BLOCKING_JOBS = ("RENDER", "OBJECT_BAKE")


def is_calm(context) -> bool:
    """Whether no operator of the artist's is modal in any window, and nothing renders or bakes."""
    if any(bpy.app.is_job_running(kind) for kind in BLOCKING_JOBS):
        return False
    return not any(len(window.modal_operators) for window in context.window_manager.windows)


def in_object_mode(context) -> bool:
    """Whether every window is in Object Mode."""
    return modes(context) <= {"OBJECT"}


def modes(context) -> set[str]:
    """Modes of the windows' active objects."""
    actives = (window.view_layer.objects.active for window in context.window_manager.windows)
    return {active.mode for active in actives if active is not None}


def may_place(context) -> bool:
    """Whether a result may be placed without being asked for: in Object Mode, with nothing going on."""
    return in_object_mode(context) and is_calm(context)


def push_undo(context, message: str) -> None:
    """Push an undo step, but only where Blender can: while nothing is going on, and not in Edit Mode, whose steps hold no scene.

    In the other modes it must be pushed: after a stroke, Undo and Redo would else lead to a scene without the new object, and
    Blender 5.2 crashes then.
    """
    if is_calm(context) and "EDIT" not in modes(context):
        bpy.ops.ed.undo_push(message=message)


def by_uid(blocks, uid: int):
    """The data-block with this session uid, or None; names change, and are given to others."""
    return next((block for block in blocks if block.session_uid == uid), None)


def window_context():
    """A context with a window, for timers: Blender calls them without one."""
    windows = bpy.context.window_manager.windows
    return bpy.context.temp_override(window=windows[0]) if len(windows) else bpy.context.temp_override()


def add(result) -> None:
    """Keep a finished result until it can be placed; `result.place(context)` does it, and `result.is_at_home()` says whether
    the scene it was made for still exists.
    """
    session.ready_results.append(result)
    if not bpy.app.background and not bpy.app.timers.is_registered(watch):
        bpy.app.timers.register(watch, first_interval=WATCH_S, persistent=True)


def watch() -> float | None:
    """Place what is ready as soon as it may be; returns when to look again, None once nothing waits."""
    with window_context():
        place_ready(bpy.context)
    return WATCH_S if session.ready_results else None


def stop() -> None:
    """Forget what waits."""
    session.ready_results.clear()
    session.refused_results.clear()
    if bpy.app.timers.is_registered(watch):
        bpy.app.timers.unregister(watch)


def place_ready(context, *, asked: bool = False) -> None:
    """Place every result that may be placed now.

    Args:
        context: A context with a window.
        asked: The artist asked for it: they are placed in any mode, and in the present scene where theirs is gone.
    """
    if not asked and not may_place(context):
        return
    status = context.window_manager.tetraview
    for result in session.ready_results[:]:
        if not asked and (result in session.refused_results or not result.is_at_home()):
            continue
        try:
            status.note = result.place(context, asked=asked)
        except Exception as error:  # it stays, for the artist to try again, but is not tried for ever
            status.error = f"{result.name} cannot be placed ({error}): use Place Result to try again."
            session.refused_results.append(result)
        else:
            session.ready_results.remove(result)


class TETRAVIEW_OT_place_result(bpy.types.Operator):
    """Place the finished mesh in the scene now; your mode and selection stay as they are"""

    bl_idname = "tetraview.place_result"
    bl_label = "Place Result"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return bool(session.ready_results) and is_calm(context)

    def execute(self, context):
        place_ready(context, asked=True)
        return {"FINISHED"}


def draw_status_bar(self, context) -> None:
    """Progress, or a result that waits, in the status bar."""
    status, layout = context.window_manager.tetraview, self.layout
    if status.running:
        layout.label(text=f"Tetraview: {status.fraction:.0%}", icon="SORTTIME", translate=False)
    elif status.ready:
        layout.label(text=f"{status.ready} is ready", icon="CHECKMARK", translate=False)
        layout.operator("tetraview.place_result", text="Place Result")


CLASSES = (TETRAVIEW_OT_place_result,)
