"""Variations: the same prompt with several seeds, painted one after another, to choose from."""

import dataclasses
import os
import time

import bpy
from bpy.props import IntProperty

from ..engine.errors import CancelledError, InvalidRequestError
from ..engine.types import VIEW_NAMES, Preview, Progress, Views
from . import arrival
from .task import TaskOperator
from .views import StripTask, last_phase, object_name, random_seed, unlocked_request

WAIT_S = 0.05


class JobQueue:
    """Jobs that run one after another and look like one; the next begins when the last has ended.

    Args:
        starters: Each starts its job and returns it.
    """

    def __init__(self, starters) -> None:
        self._starters = list(starters)
        self.index, self._job, self._cancelled = 0, self._starters[0](), False

    @property
    def done(self) -> bool:
        """Whether the last one has ended and every event was handed over."""
        return self.index == len(self._starters)

    def poll(self):
        """New events of the running job, progress counted over all; raises what it raises."""
        if self.done:
            return []
        if self._cancelled and self._job.done:  # the running one was done before it heard
            raise CancelledError("Cancelled.")
        events = [self._over_all(event) for event in self._job.poll()]
        if not events and self._job.done:
            self.index += 1
            if not self.done:
                self._job = self._starters[self.index]()
        return events

    def run(self):
        """Wait for the end, event by event."""
        while not self.done:
            events = self.poll()
            yield from events
            if not events:
                time.sleep(WAIT_S)

    def cancel(self) -> None:
        """Stop the running one and begin no other."""
        if not self.done:
            self._cancelled = True
            self._job.cancel()

    def _over_all(self, event):
        if not isinstance(event, Progress):
            return event
        count = len(self._starters)
        left = (
            None if event.eta_s is None else event.eta_s + (count - self.index - 1) * event.eta_s / max(1 - event.fraction, 0.05)
        )
        message = f"Variation {self.index + 1} of {count}: {event.message}"
        return dataclasses.replace(event, fraction=(self.index + event.fraction) / count, eta_s=left, message=message)


class VariationsTask(StripTask):
    """Other versions of the views that are not locked. Those that are done stay when the rest is cancelled or fails.

    Args:
        count: Number of variations.
    """

    kind = "VARIATIONS"
    title = "Variations"

    def __init__(self, count: int) -> None:
        self._count = count

    def begin(self, context):
        settings = context.scene.tetraview
        request = unlocked_request(context, settings)
        request.check()
        if not request.painted:
            raise InvalidRequestError("There is nothing to vary: unlock a view, or remove a photo, so that it is painted.")
        self.watch(context)
        self._seeds = [random_seed() for _ in range(self._count)]
        label = f"{object_name(settings)} variation"

        def starter(seed):
            return lambda: self.submit(dataclasses.replace(request, seed=seed), label, last_phase(request))

        self._made = 0
        self._queue = JobQueue(starter(seed) for seed in self._seeds)
        settings.strip.variations = ""
        return self._queue

    def handle(self, context, event):
        if isinstance(event, Preview | Views):
            StripTask.handle(self, context, event)

    def keep_views(self, context, event):
        job = os.path.basename(os.path.dirname(os.path.dirname(event.paths[VIEW_NAMES[0]])))
        seed = self._seeds[self._made]
        self._made += 1  # the queue may be ahead: events wait for the artist
        self.scene(context).tetraview.strip.add_variation(
            {"job": job, "seed": seed, "stamp": self._stamp, "warnings": list(event.warnings)}
        )
        self._shown = True
        arrival.push_undo(context, self.title)

    def finish(self, context):
        return f"{self._count} variations: choose one."


class TETRAVIEW_OT_variations(TaskOperator, bpy.types.Operator):
    """Paint the views with several new seeds, to choose from; locked views are the same in all"""

    bl_idname = "tetraview.variations"
    bl_label = "Variations"

    count: IntProperty(name="Count", description="0 for what the panel says", default=0, min=0, max=12, options={"SKIP_SAVE"})

    def make_task(self, context):
        return VariationsTask(self.count or context.scene.tetraview.variation_count)


class TETRAVIEW_OT_choose_variation(bpy.types.Operator):
    """Make this variation the four views"""

    bl_idname = "tetraview.choose_variation"
    bl_label = "Choose Variation"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    index: IntProperty(min=0, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context):
        settings = context.scene.tetraview
        variations = settings.strip.variation_list()
        if self.index >= len(variations):
            self.report({"ERROR"}, f"There is no variation {self.index + 1}.")
            return {"CANCELLED"}
        chosen = variations[self.index]
        if not all(os.path.isfile(os.path.join(chosen["folder"], f"{name}.png")) for name in VIEW_NAMES):
            self.report({"ERROR"}, "The views of this variation are gone from the disk.")
            return {"CANCELLED"}
        settings.seed = chosen["seed"]
        settings.strip.show(chosen["folder"], settings.views_key(), chosen["stamp"], chosen["warnings"])
        return {"FINISHED"}


class TETRAVIEW_OT_clear_variations(bpy.types.Operator):
    """Take the variations away from the panel; their files stay"""

    bl_idname = "tetraview.clear_variations"
    bl_label = "Close Variations"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context):
        context.scene.tetraview.strip.variations = ""
        return {"FINISHED"}


CLASSES = (TETRAVIEW_OT_variations, TETRAVIEW_OT_choose_variation, TETRAVIEW_OT_clear_variations)
