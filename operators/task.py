"""One long job seen by Blender: an application timer polls it behind the window, background mode waits for it.

A `Task` says what to do, a `TaskRun` carries it out and keeps the panel's state, a `TaskOperator` is the button.
"""

import logging
import time
import traceback

import bpy

from ..engine.errors import CancelledError, EngineError
from ..engine.types import Preview, Progress
from . import arrival, session

log = logging.getLogger(__name__)

TICK_S = 0.1
REDRAW_S = 0.25
"""Least time between two drawings of the sidebars while a job runs."""
UNEXPECTED = "Something unexpected happened ({}): copy the report and send it to us."


class Task:
    """A task of a run. A job is anything with `poll`, `run`, `cancel` and `done` as `engine.client.Job` has them."""

    kind = ""
    title = ""
    folder = ""
    """Where the job's files lie; "" if it has no folder."""
    needs_calm = False
    """Whether polling the job itself works on the scene, and so waits while the artist's own tool runs."""

    def begin(self, context):
        """Start the job and return it.

        Raises:
            EngineError: It cannot start; the text goes to the artist.
        """
        raise NotImplementedError

    def handle(self, context, event) -> None:
        """Take in one event other than `Progress`. Never called while a tool of the artist's runs, but for `Preview`."""

    def finish(self, context) -> str:
        """Bring the result into Blender after the last event; returns a sentence for the artist."""
        return ""


class TaskRun:
    """A task from its start to its end, whatever that end is. One at a time.

    Args:
        task: The task to run.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.outcome = ""  # the sentence to report
        self.failed = False
        self._job = None
        self._held: list = []  # events that wait until no tool of the artist's runs
        self._cancel_asked = False
        self._drawn_at = -REDRAW_S
        self._is_stale = False  # something has changed that the sidebars do not show yet

    def start(self, context) -> bool:
        """Begin; returns whether there is anything to wait for."""
        if session.is_busy():
            self.outcome, self.failed = "Another job is running: wait for it, or cancel it first.", True
            return False
        context.window_manager.tetraview.begin(self.task.kind)
        try:
            self._job = self.task.begin(context)
        except Exception as error:
            self._fail(context, error)
            return False
        session.set_run(self)
        redraw(context)
        return True

    def tick(self, context) -> set[str]:
        """Take in what has happened since the last tick: {'RUNNING_MODAL'}, {'FINISHED'} or {'CANCELLED'}. Never waits."""
        if session.current_run() is not self:  # the extension was switched off, or a file was opened
            return {"CANCELLED"}
        calm = arrival.is_calm(context)
        if self.task.needs_calm and not calm:
            return {"RUNNING_MODAL"}
        try:
            for event in self._job.poll():
                if isinstance(event, Progress | Preview):
                    self._take(context, event)
                else:
                    self._held.append(event)
            while self._held and calm and not self._cancel_asked:
                self._take(context, self._held.pop(0))
            self._show(context)
            if not self._job.done or (self._held and not self._cancel_asked):
                return {"RUNNING_MODAL"}
            self._job.poll()  # raises if it failed
            if self._cancel_asked:  # the job was done before it heard
                raise CancelledError("Cancelled.")
        except Exception as error:
            return self._fail(context, error)
        return self._finish(context)

    def drain(self, context) -> set[str]:
        """Wait for the end; for scripts and background mode, where timers do not fire."""
        try:
            for event in self._job.run():
                self._take(context, event)
        except Exception as error:
            return self._fail(context, error)
        return self._finish(context)

    def request_cancel(self, context) -> None:
        """Ask the job to stop; it ends some ticks later."""
        context.window_manager.tetraview.cancelling = self._cancel_asked = True
        self._job.cancel()
        redraw(context)

    def abandon(self, because: str) -> str:
        """Stop without another tick; returns a sentence that says why, and where the job's files are."""
        if session.current_run() is self:
            session.set_run(None)
        self._job.cancel()
        where = f"; what was done so far is in {self.task.folder}" if self.task.folder else ""
        return f"{self.task.title}: cancelled, because {because}{where}."

    def _take(self, context, event) -> None:
        if isinstance(event, Progress):
            status = context.window_manager.tetraview
            status.phase, status.message, status.fraction = event.phase, event.message, event.fraction
            status.eta_s = -1.0 if event.eta_s is None else event.eta_s
            print_progress(event)
        else:
            self.task.handle(context, event)
        self._is_stale = True

    def _show(self, context) -> None:
        """Draw the sidebars if they are stale, and were not drawn just now: a drawing takes long in a large window."""
        if self._is_stale and time.monotonic() - self._drawn_at >= REDRAW_S:
            self._drawn_at, self._is_stale = time.monotonic(), False
            redraw(context)

    def _finish(self, context) -> set[str]:
        try:
            self.outcome = self.task.finish(context)
        except Exception as error:
            return self._fail(context, error)
        session.set_run(None)
        status = context.window_manager.tetraview
        status.fraction, status.note = 1.0, self.outcome
        redraw(context)
        return {"FINISHED"}

    def _fail(self, context, error: Exception) -> set[str]:
        if session.current_run() is self:
            session.set_run(None)
        session.look_again()
        status = context.window_manager.tetraview
        status.cancelling = False
        if isinstance(error, CancelledError):
            self.outcome = status.note = f"{self.task.title}: cancelled."
        else:
            self.failed = True
            if isinstance(error, EngineError):
                self.outcome, status.error_fix = str(error), error.fix or ""
            else:
                self.outcome, status.error_fix = UNEXPECTED.format(f"{type(error).__name__}: {error}"), ""
                log.error("%s failed", self.task.title, exc_info=error)
            status.error = self.outcome
            status.report = "".join(traceback.format_exception(error))
        redraw(context)
        return {"CANCELLED"}


class TaskOperator:
    """Mixin of the operators that run a task: behind the window, or to the end in background mode.

    They have neither REGISTER nor UNDO: the redo panel and Shift+R would run them in the main thread, and an undo step pushed
    while a tool of the artist's runs crashes Blender. Tasks push their own steps by `arrival.push_undo`.
    """

    def make_task(self, context) -> Task:
        """The task of this call; overridden."""
        raise NotImplementedError

    @classmethod
    def poll(cls, context):
        if session.is_busy():
            cls.poll_message_set("A job is running")
            return False
        return True

    def execute(self, context):
        if not bpy.app.background:
            return self.start_behind(context)
        run = TaskRun(self.make_task(context))
        return self._report(run, run.drain(context) if run.start(context) else {"CANCELLED"})

    def start_behind(self, context):
        """Start the task and the timer that polls it; returns at once. The operator ends here, so it is nobody's modal tool."""
        run = TaskRun(self.make_task(context))
        if not run.start(context):
            return self._report(run, {"CANCELLED"})
        bpy.app.timers.register(advance, first_interval=TICK_S, persistent=True)
        return {"FINISHED"}

    def _report(self, run: TaskRun, state: set[str]) -> set[str]:
        if run.outcome:
            self.report({"ERROR"} if run.failed else {"INFO"}, run.outcome)
        return state


def advance() -> float | None:
    """One tick of the running job; returns when to come again, None once it has ended."""
    run = session.current_run()
    if run is None:
        return None
    with arrival.window_context():
        state = run.tick(bpy.context)
    return TICK_S if state == {"RUNNING_MODAL"} else None


def stop_timer() -> None:
    """Stop polling."""
    if bpy.app.timers.is_registered(advance):
        bpy.app.timers.unregister(advance)


def redraw(context) -> None:
    """Have every sidebar and the preferences drawn again; not the 3-D viewports, which takes much longer."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
            elif area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def print_progress(event: Progress) -> None:
    """Progress for who runs Blender from a terminal."""
    log.info("%3.0f %% %s: %s", event.fraction * 100, event.phase, event.message)
