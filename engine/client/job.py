"""One job in the engine process: polled by a timer, or drained to the end."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CancelledError, EngineError, EngineStoppedError
from ..types import Event

if TYPE_CHECKING:
    from .process import EngineProcess

RUN_POLL_S = 0.1


class Job:
    """A job that `EngineProcess.submit` started.

    The process's reader thread only puts events into the job's queue; everything else happens in the caller's thread, when
    it polls.
    """

    def __init__(self, job_id: str, process: EngineProcess, command: Mapping[str, Any]) -> None:
        self.job_id = job_id
        self.command = command
        self.child: subprocess.Popen[bytes] | None = None  # the one it was sent to
        self._may_be_sent_again = False
        self._process = process
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._error: EngineError | None = None
        self._cancel_asked = False

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or not, and every event was handed over."""
        return self.ended and self._events.empty()

    @property
    def ended(self) -> bool:
        """Whether the engine is finished with it; events may still wait to be polled."""
        return self._ended.is_set()

    def wait_for_end(self, timeout_s: float) -> bool:
        """Block until the engine is finished with it, for `timeout_s` at most; returns `ended`."""
        return self._ended.wait(timeout_s)

    def poll(self) -> list[Event]:
        """The events since the last call; never blocks.

        Returns:
            New events, oldest first. Those that came before a failure are handed over first; the failure is raised by the
            next call, and by each after it.

        Raises:
            CancelledError: The job was cancelled.
            EngineStoppedError: The engine process ended, or has been silent for too long.
            EngineError: The job failed; its text is fit to show.
        """
        self._process.check_alive(self)
        ended = self.ended  # read before draining: nothing is queued after the end
        events: list[Event] = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                break
        if not events and ended and self._error is not None:
            raise self._error
        return events

    def run(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Drain the job to its end, waiting for each event; closing the iterator cancels the job.

        Args:
            timeout_s: Cancel the job after this many seconds; None to let it take its time (an engine that falls silent
                is noticed in any case).

        Yields:
            Events, in order.

        Raises:
            EngineError: As `poll`; `EngineStoppedError` when `timeout_s` is over.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while not self.done:
                events = self.poll()
                yield from events
                if deadline is not None and time.monotonic() > deadline and not self.ended:
                    raise EngineStoppedError(f"The job took longer than {timeout_s:g} seconds and was stopped.")
                if not events and not self.ended:
                    time.sleep(RUN_POLL_S)
            self.poll()  # raises if the job failed
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Ask the engine to stop this job; returns at once, and does nothing if the job has ended.

        The engine answers within a step; if it does not within the process's grace period, it is killed, and the next
        `submit` starts it again. Either way the job ends with `CancelledError`.
        """
        if not self.ended and not self._cancel_asked:
            self._cancel_asked = True
            self._process.ask_cancel(self)

    # Called by the process, from its reader or watch thread.

    def sent_to(self, child: subprocess.Popen[bytes], *, warm: bool) -> None:
        """Note the child that it is sent to; one that was warm may have died before it heard, so it can be sent once more."""
        self._may_be_sent_again = warm and self.child is None
        self.child = child

    @property
    def may_be_sent_again(self) -> bool:
        """Whether another child may take it over: it was sent once, and nothing was heard of it."""
        return self._may_be_sent_again and not self._cancel_asked

    def heard(self) -> None:
        """Note that the child knows of it."""
        self._may_be_sent_again = False

    def receive(self, event: Event) -> None:
        """Queue an event."""
        self._events.put(event)

    def finish(self, error: EngineError | None) -> None:
        """End the job; the first end counts. A job that dies while being cancelled was cancelled."""
        if not self.ended:
            if isinstance(error, EngineStoppedError) and self._cancel_asked:
                error = CancelledError("Cancelled.")
            self._error = error
            self._ended.set()
