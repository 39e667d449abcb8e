"""Install engine: the private Python environment, made once, after consent, without blocking Blender."""

import queue
import sys
import threading
import time

import bpy
from bpy.props import BoolProperty

from ..engine.client import environment
from ..engine.client.installer import InstallProgress, install
from ..engine.errors import EngineError
from ..engine.types import Progress
from . import session
from .properties import addon_preferences
from .task import Task, TaskOperator

STAGES = {"prepare": "Preparing", "download": "Downloading", "install": "Unpacking", "check": "Checking"}
DETECTION_LIMIT_S = 2.0


class InstallJob:
    """`installer.install` in a thread that only queues what it has to say.

    Args:
        plan: The plan to install.
        python: The Python that makes the environment.
    """

    def __init__(self, plan: environment.InstallPlan, python: str) -> None:
        self._events: queue.SimpleQueue[InstallProgress] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(plan, python), name="tetraview-install", daemon=True)
        self._thread.start()

    def _work(self, plan, python) -> None:
        try:
            install(plan, python, self._events.put, self._stop.is_set)
        except Exception as error:
            self._error = error

    @property
    def done(self) -> bool:
        """Whether the thread has ended and every event was handed over."""
        return not self._thread.is_alive() and self._events.empty()

    def poll(self) -> list[Progress]:
        """The newest progress, if there is any; raises what went wrong once all was handed over."""
        ended, newest = not self._thread.is_alive(), None
        while not self._events.empty():
            newest = self._events.get()
        if ended and newest is None and self._error is not None:
            raise self._error
        return [] if newest is None else [as_progress(newest)]

    def run(self):
        """Wait for the end, event by event."""
        while not self.done:
            yield from self.poll()
            time.sleep(0.05)
        yield from self.poll()

    def cancel(self) -> None:
        """Stop soon; what is downloaded stays, so that the next try goes on from there."""
        self._stop.set()


def as_progress(step: InstallProgress) -> Progress:
    """The installer's progress as the panel shows it."""
    words = [STAGES[step.stage], step.package] if step.package else [STAGES[step.stage]]
    eta_s = None
    if step.stage == "download":
        words.append(f"({step.bytes_done / 1e6:,.0f} of {step.bytes_total / 1e6:,.0f} MB)")
        if step.bytes_per_s > 0:
            words.append(f"{step.bytes_per_s / 1e6:.1f} MB/s")
            eta_s = (step.bytes_total - step.bytes_done) / step.bytes_per_s
    return Progress("install", step.fraction, eta_s, " ".join(words))


def planned(context) -> environment.InstallPlan:
    """Plan the installation. Looks for a graphics card for two seconds at most.

    Raises:
        InstallError: There is no build for this computer.
    """
    variant = addon_preferences(context).variant
    if variant == "auto":
        found: list[str] = []
        look = threading.Thread(target=lambda: found.append(environment.detect_variant()), daemon=True)
        look.start()
        look.join(DETECTION_LIMIT_S)
        try:
            return environment.plan(found[0] if found else "cpu", session.home())
        except environment.InstallError:
            variant = "cpu"
    return environment.plan(variant, session.home())


def refuse_offline() -> None:
    """Raise `EngineError` if Blender may not go online."""
    if not bpy.app.online_access:
        raise EngineError(
            "Blender is not allowed to go online: switch on Allow Online Access in Preferences, System, then install the engine.",
            fix="preferences.system",
        )


class InstallTask(Task):
    """Make the engine's environment.

    Args:
        consent: Whether the artist has seen the download size and agreed.
    """

    kind = "INSTALL"
    title = "Install engine"

    def __init__(self, consent: bool) -> None:
        self._consent = consent

    def begin(self, context):
        refuse_offline()
        if not self._consent:
            raise EngineError("Nothing is downloaded without your consent: press Install Engine, or pass consent=True.")
        session.stop_engine()
        return InstallJob(planned(context), sys.executable)

    def finish(self, context):
        session.look_again()
        return "The engine is installed: write a prompt, or choose photos."


class TETRAVIEW_OT_install_engine(TaskOperator, bpy.types.Operator):
    """Download the engine into its own folder. Shows the size and location first; Blender's Python is not changed"""

    bl_idname = "tetraview.install_engine"
    bl_label = "Install Engine"

    consent: BoolProperty(name="Consent", description="I agree to the download", options={"HIDDEN", "SKIP_SAVE"})

    def make_task(self, context):
        return InstallTask(self.consent)

    def invoke(self, context, event):
        if bpy.app.background:
            return self.execute(context)
        try:
            refuse_offline()
            self._plan = planned(context)
        except EngineError as error:
            status = context.window_manager.tetraview
            status.error, status.error_fix = str(error), error.fix or ""
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._asked = True
        return context.window_manager.invoke_props_dialog(
            self, width=440, title="Install the Tetraview Engine", confirm_text="Download and Install"
        )

    def draw(self, context):
        plan, column = self._plan, self.layout.column(align=True)
        column.label(text=f"{plan.download_bytes / 1e6:,.0f} MB to download, once", icon="IMPORT")
        column.label(text=f"{plan.needed_bytes / 1e9:.1f} GB on disk; {plan.free_bytes / 1e9:.1f} GB are free", icon="DISK_DRIVE")
        column.label(text=f"{len(plan.packages)} packages for {plan.variant.upper()}, each checked by its hash", icon="CHECKMARK")
        column.separator()
        column.label(text=str(plan.folder), icon="FILE_FOLDER")
        column.label(text="Blender's own Python stays as it is. You can cancel, and go on later.", icon="INFO")

    def execute(self, context):
        if getattr(self, "_asked", False):
            self.consent = True
            return self.start_behind(context)
        return TaskOperator.execute(self, context)


class TETRAVIEW_OT_remove_engine(bpy.types.Operator):
    """Delete the engine's environment and its download cache; your results stay"""

    bl_idname = "tetraview.remove_engine"
    bl_label = "Remove Engine"

    @classmethod
    def poll(cls, context):
        return not session.is_busy()

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context):
        session.stop_engine()
        try:
            environment.remove(session.home())
        except EngineError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            session.look_again()
        self.report({"INFO"}, "The engine was removed.")
        return {"FINISHED"}


CLASSES = (TETRAVIEW_OT_install_engine, TETRAVIEW_OT_remove_engine)
