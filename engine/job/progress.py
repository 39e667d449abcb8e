"""Run the steps of a job in sequence, and turn their reports into progress with a fraction and an ETA."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TypeVar

from ..errors import CancelledError
from ..types import Event, Progress

Result = TypeVar("Result")
OnProgress = Callable[..., None]
"""Called by a step while it works, `(share of the step 0..1, message="", event=None)`; it raises `CancelledError` to stop the
step. An event is handed on as it is, after the progress."""

TICK_S = 0.25
UNKNOWN_MACHINE_S: dict[str, float] = {
    "photos": 1.5, "views": 4.0, "planes": 1.0, "orbit": 4.0, "mesh": 2.0,
    "simplify": 0.5, "unwrap": 1.0, "texture": 2.0, "asset": 0.5,
}  # fmt: skip
"""Weights of the phases for the fraction of a first job; no ETA is made of them."""


class JobClock:
    """Fraction of the whole job that is done, and the time that is left.

    Args:
        phases: The phases this job runs, in order.
        expected_s: Seconds each took in earlier jobs of this machine; None if there were none.
    """

    def __init__(self, phases: Sequence[str], expected_s: Mapping[str, float] | None) -> None:
        self._phases = list(phases)
        self._known = expected_s is not None
        known = expected_s if expected_s is not None else UNKNOWN_MACHINE_S
        self._expected_s = {phase: max(known[phase], 1e-3) for phase in phases}
        self._fraction = 0.0
        self._phase_start = self._job_start = time.monotonic()
        self._phase = self._phases[0]
        self._share = 0.0
        self.seconds: dict[str, float] = {}  # of each finished phase

    def begin(self, phase: str) -> None:
        """Start a phase."""
        self._phase, self._phase_start, self._share = phase, time.monotonic(), 0.0

    def end(self) -> None:
        """End the running phase."""
        self.seconds[self._phase] = time.monotonic() - self._phase_start
        self._share = 1.0

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._job_start

    def progress(self, share: float | None = None, message: str = "") -> Progress:
        """The event to show now.

        Args:
            share: Finished share of the running phase; estimated from its elapsed time if None.
            message: A few words for a person.
        """
        elapsed_s = time.monotonic() - self._phase_start
        expected_s = self._expected_s[self._phase]
        self._share = max(self._share, _share_by_time(elapsed_s / expected_s) if share is None else min(1.0, share))
        later_s = sum(self._expected_s[phase] for phase in self._phases[self._phases.index(self._phase) + 1 :])
        total_s = sum(self._expected_s.values())
        done_s = total_s - later_s - (1 - self._share) * expected_s
        self._fraction = max(self._fraction, min(1.0, done_s / total_s))
        left_s = max(total_s - done_s, 0.0) if self._known else None
        return Progress(self._phase, self._fraction, left_s, message)


def _share_by_time(ratio: float) -> float:
    """Likely finished share of a step after `ratio` of its usual time: linear at first, below 1 if it takes longer."""
    return ratio if ratio < 0.8 else 1 - 0.2 * math.exp(-(ratio - 0.8) / 0.2)


class StepRunner:
    """Runs one step at a time in a thread of its own, so that the job's iterator can yield while a step works.

    Closing the iterator inside a step makes the step's next call of `on_progress` raise, and waits for it.

    Args:
        clock: Notified when steps begin and end.
        prepare: Called once in the thread before the first step.
    """

    def __init__(self, clock: JobClock, prepare: Callable[[], object] | None = None) -> None:
        self._clock = clock
        self._prepare = prepare
        self._reports: queue.SimpleQueue[tuple[float, str, Event | None] | None] = queue.SimpleQueue()
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tetraview-step", daemon=True)

    def __enter__(self) -> StepRunner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled.set()
        self._tasks.put(None)
        self._thread.join()

    def run(self, phase: str, message: str, step: Callable[[OnProgress], Result]) -> Generator[Event, None, Result]:
        """Run `step(on_progress)` as a phase.

        Args:
            phase: Its name.
            message: A few words for a person; steps may report better ones.
            step: The work.

        Yields:
            Progress, at the start, when the step reports and a few times a second, and at its end; and the step's own events.

        Returns:
            What the step returned. What it raises is raised here.
        """
        results: list[Result] = []
        failures: list[BaseException] = []

        def task() -> None:
            try:
                results.append(step(self._report))
            except BaseException as error:
                failures.append(error)
            finally:
                self._reports.put(None)

        self._clock.begin(phase)
        yield self._clock.progress(0.0, message)
        self._tasks.put(task)
        reported = False
        while True:
            with contextlib.suppress(queue.Empty):
                report = self._reports.get(timeout=TICK_S)
                if report is None:
                    break
                reported, message = True, report[1] or message
                yield self._clock.progress(report[0], message)
                if report[2] is not None:
                    yield report[2]
                continue
            if not reported:  # a step without reports: its usual time tells
                yield self._clock.progress(None, message)
        if failures:
            raise failures[0]
        self._clock.end()
        yield self._clock.progress(1.0, message)
        return results[0]

    def _work(self) -> None:
        if self._prepare is not None:
            self._prepare()
        while (task := self._tasks.get()) is not None:
            task()

    def _report(self, share: float, message: str = "", event: Event | None = None) -> None:
        if self._cancelled.is_set():
            raise CancelledError("Cancelled.")
        self._reports.put((float(share), message, event))
