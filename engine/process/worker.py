"""The engine process: reads commands from stdin, runs one job at a time, writes messages to stdout (`protocol.py`).

Jobs run in the main thread; one thread reads commands, one sends heartbeats. The real stdout is put aside at the start, so
that a stray print goes to the log. The process ends at end-of-file and when its parent is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import platform
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..errors import CancelledError, explained
from ..job.history import TimingHistory
from ..types import PHASES, event_to_dict
from ..version import __version__
from . import protocol

logger = logging.getLogger(__name__)

EXIT_GRACE_S = 3.0


class Worker:
    """The loop of the engine process.

    Args:
        commands: Binary stream of commands, one a line.
        messages: Binary stream for messages.
        home: The engine's home.
    """

    def __init__(self, commands: IO[bytes], messages: IO[bytes], home: Path) -> None:
        self._commands, self._messages = commands, messages
        self._history = TimingHistory(home)
        self._send_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._waiting: set[str] = set()  # ids of jobs in the queue
        self._cancelled = threading.Event()  # the running job's
        self._running: str | None = None
        self._parent = os.getppid()

    def run(self) -> int:
        """Take commands until shutdown or end-of-file; returns the exit status."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

        import torch

        from ..devices import choose_device, use_all_cores
        from ..models.loading import ModelCache

        use_all_cores()
        device = choose_device()
        models = ModelCache()
        self._send(
            "hello", protocol=protocol.PROTOCOL_VERSION, engine_version=__version__, python=platform.python_version(),
            torch=torch.__version__, device=device.name, note=device.note, pid=os.getpid(),
        )  # fmt: skip
        while (command := self._queue.get()) is not None:
            self._run_job(command, models)
        return 0

    def _run_job(self, command: Mapping[str, Any], models: Any) -> None:
        """Run one job and send its last message, whatever happens."""
        from ..job.generate import generate

        job_id = command["job_id"]
        with self._state_lock:
            if job_id not in self._waiting:  # cancelled while it waited
                return
            self._waiting.remove(job_id)
            self._cancelled.clear()
            self._running = job_id
        try:
            request = protocol.request_from_dict(command.get("request"))
            stop_after = command.get("stop_after")
            events = generate(request, stop_after=stop_after, models=models, history=self._history)
            try:
                for event in events:
                    if self._cancelled.is_set():
                        raise CancelledError("Cancelled.")
                    self._send("event", job_id=job_id, event=event_to_dict(event))
            finally:
                events.close()
            self._send("done", job_id=job_id)
        except CancelledError:
            self._send("cancelled", job_id=job_id)
        except Exception as error:
            if (known := explained(error)) is not None:
                logger.info("job %s failed: %s", job_id, known, exc_info=known is not error)
                self._send("error", job_id=job_id, **protocol.error_to_dict(known))
                return
            logger.exception("job %s failed unexpectedly", job_id)
            text = f"The engine failed unexpectedly ({type(error).__name__}: {error}): please report it with the engine's log."
            self._send("error", job_id=job_id, kind="EngineError", text=text, fix=None)
        finally:
            with self._state_lock:
                self._running = None
            give_back_memory()

    # Reader thread.

    def _read(self) -> None:
        try:
            while line := self._commands.readline(protocol.MAX_LINE_BYTES + 1):
                rest = line
                while rest and not rest.endswith(b"\n"):  # too long, or the end of file: leave the rest of the line out
                    rest = self._commands.readline(protocol.MAX_LINE_BYTES)
                try:
                    self._obey(protocol.decode(line, "command"))
                except protocol.ProtocolError as error:
                    self._complain(str(error))
        except (OSError, ValueError) as error:
            logger.error("cannot read commands: %s", error)
        self._leave("end of file")

    def _obey(self, command: Mapping[str, Any]) -> None:
        name, job_id = command["command"], command.get("job_id")
        if name == "ping":
            self._send("pong", token=command.get("token"))
        elif name == "shutdown":
            self._leave("shutdown")
        elif name not in ("generate", "cancel"):
            self._complain(f"unknown command {name!r}")
        elif not isinstance(job_id, str):
            self._complain(f"{name} without a job_id")
        elif name == "cancel":
            self._cancel(job_id)
        elif command.get("stop_after") is not None and command["stop_after"] not in PHASES:
            text = f"Unknown phase {command['stop_after']!r}."
            self._send("error", job_id=job_id, kind="InvalidRequestError", text=text, fix=None)
        else:
            with self._state_lock:
                self._waiting.add(job_id)
            self._queue.put(dict(command))

    def _cancel(self, job_id: str) -> None:
        with self._state_lock:
            waiting = job_id in self._waiting
            self._waiting.discard(job_id)
            if job_id == self._running:
                self._cancelled.set()
        if waiting:
            self._send("cancelled", job_id=job_id)

    def _complain(self, text: str) -> None:
        logger.warning("bad command: %s", text)
        self._send("error", job_id=None, kind="EngineError", text=f"The engine was sent a bad command: {text}.", fix=None)

    def _leave(self, why: str) -> None:
        """End the process: gently between jobs, else when the running step notices, else by force."""
        logger.info("leaving: %s", why)
        with self._state_lock:
            self._waiting.clear()
            self._cancelled.set()
        self._queue.put(None)
        timer = threading.Timer(EXIT_GRACE_S, os._exit, args=(0,))
        timer.daemon = True
        timer.start()

    # Heartbeat thread.

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(protocol.HEARTBEAT_S):
            if os.name == "posix" and os.getppid() != self._parent:
                logger.info("the parent process is gone")
                os._exit(1)
            self._send("heartbeat")

    def _send(self, message: str, /, **fields: Any) -> None:
        """Write one message; a reader that is gone ends the process."""
        line = protocol.encode({"message": message, **fields})
        try:
            with self._send_lock:
                self._messages.write(line)
                self._messages.flush()
        except (OSError, ValueError):
            os._exit(1)


def give_back_memory() -> None:
    """Hand memory that a job no longer uses back to the system; glibc keeps it for itself otherwise, and more with each job."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def protect_stdio() -> tuple[IO[bytes], IO[bytes]]:
    """Put the real stdin and stdout aside, and return them.

    Afterwards file descriptor 0 reads nothing and 1 is stderr, for Python and for native libraries alike.
    """
    commands = os.fdopen(os.dup(0), "rb")
    messages = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout = sys.stderr
    return commands, messages


def main(arguments: Sequence[str]) -> int:
    """Entry point of the engine process; see `launch.py`."""
    parser = argparse.ArgumentParser(description="The engine process of Tetraview; started by Blender, not by hand.")
    parser.add_argument("--home", required=True, type=Path)
    home = parser.parse_args(arguments).home
    commands, messages = protect_stdio()
    faulthandler.enable(sys.stderr)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logger.info("engine %s, python %s, pid %d", __version__, platform.python_version(), os.getpid())
    return Worker(commands, messages, home).run()
