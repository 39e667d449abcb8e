"""Start, talk to, watch and stop the engine's child process, from Blender.

Only `close` blocks. Threads of this module only read the child's lines into queues; none touches `bpy`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..errors import CancelledError, EngineError, EngineMissingError, EngineStoppedError
from ..process import protocol
from ..types import GenerateRequest, event_from_dict
from .job import Job
from .locate import INSTALL_OPERATOR

LAUNCHER = Path(__file__).resolve().parent.parent / "process" / "launch.py"
LOG_TAIL_LINES = 20
LOGS_KEPT = 8
LONGEST_POLL_GAP_S = 2.0


class EngineProcess:
    """The engine in a process of its own, kept warm between jobs.

    Args:
        python: The Python to run it with, see `find_engine_python`.
        home: Folder for logs, caches and the history of timings.
        silence_limit_s: A child that sends nothing, not even a heartbeat, for so long counts as stopped. Native code may
            hold the interpreter for some seconds.
        start_limit_s: The same, until it has said hello (loading torch from a cold disk).
        grace_s: Seconds a child has to obey `cancel` or `close` before it is killed.

    A child that ended is started again by the next `submit`.
    """

    def __init__(
        self, python: str, home: Path, *, silence_limit_s: float = 120.0, start_limit_s: float = 300.0, grace_s: float = 5.0
    ) -> None:
        self.python = python
        self.home = Path(home)
        self.hello: Mapping[str, Any] | None = None  # the child's first message: versions and device
        self._silence_limit_s, self._start_limit_s, self._grace_s = silence_limit_s, start_limit_s, grace_s
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._watches: list[threading.Thread] = []  # each sees to it that a cancelled job ends
        self._log_path: Path | None = None
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()
        self._lines_heard = 0
        self._silence = _Silence()

    def __enter__(self) -> EngineProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the child runs and has said hello: torch is loaded and it takes jobs at once."""
        return self.alive and self.hello is not None

    @property
    def pid(self) -> int | None:
        """Process id of the child, or None if none was started."""
        return None if self._child is None else self._child.pid

    @property
    def log_path(self) -> Path | None:
        """Log of the present or last child."""
        return self._log_path

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the log."""
        return _tail(self._log_path, LOG_TAIL_LINES)

    def start(self) -> None:
        """Start the child if it does not run; returns before it is ready.

        Raises:
            EngineMissingError: Its Python cannot be started.
        """
        reader = self._reader
        if reader is not None and not self.alive:
            reader.join(self._grace_s)  # it ends the jobs of the child that died; it needs the lock for that
        with self._lock:
            if self.alive:
                return
            self._log_path = _new_log(self.home)
            with open(self._log_path, "ab") as log:
                child = start_child(self.python, self.home, ["--home", str(self.home)], stdin=subprocess.PIPE, stderr=log)
            self._child, self.hello = child, None
            self._lines_heard, self._silence = 0, _Silence()
            self._reader = threading.Thread(target=self._read, args=(child,), name="tetraview-engine-reader", daemon=True)
            self._reader.start()

    def submit(self, request: GenerateRequest, stop_after: str | None = None) -> Job:
        """Start a job, and the child first if it does not run. Jobs run one after the other, in the order of submission.

        Args:
            request: The request.
            stop_after: Name of the phase to stop after ("photos" gives the framed views only); None for the whole job.

        Raises:
            InvalidRequestError: The request cannot be run as it stands.
            EngineMissingError: The engine's Python cannot be started.
        """
        request.check()
        job_id, fields = uuid.uuid4().hex, protocol.request_to_dict(request)
        command = {"command": "generate", "job_id": job_id, "request": fields, "stop_after": stop_after}
        job = Job(job_id, self, command)
        self._hand_over(job)
        return job

    def _hand_over(self, job: Job) -> None:
        """Send a job to the child, which is started first if it does not run."""
        self.start()
        with self._lock:
            child = self._child
            assert child is not None
            job.sent_to(child, warm=self.hello is not None)
            self._jobs[job.job_id] = job
        self._write(child, job.command)

    def close(self) -> None:
        """Stop the child: asked first, killed after the grace period. Jobs that still run end as cancelled."""
        with self._lock:
            child, reader = self._child, self._reader
            self._child = self._reader = None
            jobs = list(self._jobs.values())
        if child is None:
            return
        for job in jobs:
            job.finish(CancelledError("Cancelled: the engine was closed."))
        self._write(child, {"command": "shutdown"})
        with contextlib.suppress(OSError):
            _stdin(child).close()
        try:
            child.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(self._grace_s)
        for thread in (reader, *self._watches):
            if thread is not None:
                thread.join(self._grace_s)

    # Called by jobs.

    def check_alive(self, job: Job) -> None:
        """End `job` if the child has been silent for too long, or if it died; if it died before it heard of the job, send it to
        a new child, once.
        """
        with self._lock:
            child, reader = self._child, self._reader
            if child is None or reader is None or job.ended:
                return
            lost = job.child is not child or not reader.is_alive()
            if lost and not job.may_be_sent_again:
                job.finish(self._stopped("The engine stopped before the job was done", child.poll()))
                return
            limit = self._start_limit_s if self.hello is None else self._silence_limit_s
            silent_s = self._silence.after_poll(self._lines_heard)
        if lost:
            try:
                self._hand_over(job)
            except EngineError as error:
                job.finish(error)
        elif silent_s > limit:
            child.kill()
            job.finish(self._stopped(f"The engine has not answered for {limit:g} seconds and was stopped", None))

    def ask_cancel(self, job: Job) -> None:
        """Ask the child to cancel; kill it if the job has not ended after the grace period. The end of the job ends the wait."""
        child = self._child
        if child is None:
            return
        self._write(child, {"command": "cancel", "job_id": job.job_id})

        def kill_if_deaf() -> None:
            if not job.wait_for_end(self._grace_s):
                child.kill()

        watch = threading.Thread(target=kill_if_deaf, name="tetraview-cancel-watch", daemon=True)
        self._watches = [*(thread for thread in self._watches if thread.is_alive()), watch]
        watch.start()

    # The child's words.

    def _write(self, child: subprocess.Popen[bytes], command: Mapping[str, Any]) -> None:
        """Send a line. A broken pipe is not reported here: the reader meets end-of-file and ends the jobs."""
        with contextlib.suppress(OSError, ValueError):
            _stdin(child).write(protocol.encode(command))
            _stdin(child).flush()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        """Body of the reader thread: lines to jobs' queues until end-of-file, which is a crash unless we closed."""
        assert child.stdout is not None
        with child.stdout as stream:
            for line in stream:
                self._lines_heard += 1
                try:
                    self._receive(protocol.decode(line, "message"), child)
                except (protocol.ProtocolError, ValueError, TypeError, KeyError) as error:
                    text = f"The engine sent an invalid message ({error}): install the engine again."
                    self._end_all(EngineStoppedError(text, fix=INSTALL_OPERATOR))
                    child.kill()
        try:
            exit_code: int | None = child.wait(self._grace_s)
        except subprocess.TimeoutExpired:  # closed its output, yet lives
            child.kill()
            exit_code = None
        with self._lock:  # a job that it has not heard of is sent to the next child
            ended = [job for job in self._jobs.values() if job.child is child and not job.may_be_sent_again]
            for job in ended:
                del self._jobs[job.job_id]
        stopped = self._stopped("The engine stopped before the job was done", exit_code)
        for job in ended:
            job.finish(stopped)

    def _receive(self, message: Mapping[str, Any], child: subprocess.Popen[bytes]) -> None:
        kind = message["message"]
        if kind == "hello":
            if message["protocol"] != protocol.PROTOCOL_VERSION:
                text = (
                    f"The engine speaks protocol {message['protocol']} and this add-on {protocol.PROTOCOL_VERSION}: "
                    "restart Blender, or install the engine again."
                )
                self._end_all(EngineStoppedError(text, fix=INSTALL_OPERATOR))
                child.kill()
            self.hello = message
        elif message.get("job_id") in self._jobs:
            job = self._jobs[message["job_id"]]
            job.heard()
            if kind == "event":
                job.receive(event_from_dict(message["event"]))
            elif kind in ("done", "cancelled", "error"):
                with self._lock:
                    del self._jobs[job.job_id]
                if kind == "done":
                    job.finish(None)
                elif kind == "cancelled":
                    job.finish(CancelledError("Cancelled."))
                else:
                    job.finish(protocol.error_from_dict(message))

    def _end_all(self, error: EngineError) -> None:
        with self._lock:
            jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.finish(error)

    def _stopped(self, what: str, exit_code: int | None) -> EngineStoppedError:
        tail = self.log_tail()
        status = "" if exit_code is None else f" ({describe_exit(exit_code)})"
        last = f" Its log ends: {tail[-1]}" if tail else ""
        return EngineStoppedError(f"{what}{status}: try again, and see its log if it happens again.{last}",
                                  exit_code=exit_code, log_tail=tail)  # fmt: skip


class _Silence:
    """Seconds that the child has been silent, counting only time in which somebody polled.

    So a computer that slept, or a Blender that was busy, does not count as a silent child.
    """

    def __init__(self) -> None:
        self._lines_heard = 0
        self._silent_s = 0.0
        self._last_poll = time.monotonic()

    def after_poll(self, lines_heard: int) -> float:
        """Seconds of silence, given the number of lines heard so far."""
        now = time.monotonic()
        gap = min(now - self._last_poll, LONGEST_POLL_GAP_S)
        self._last_poll = now
        self._silent_s = self._silent_s + gap if lines_heard == self._lines_heard else 0.0
        self._lines_heard = lines_heard
        return self._silent_s


def start_child(python: str, home: Path, arguments: Sequence[str], **pipes: Any) -> subprocess.Popen[bytes]:
    """Start the launcher: the worker, or a command of the command line, with its output in a pipe.

    Args:
        python: The Python to run it with.
        home: The engine's home, which is also the working folder.
        arguments: Of the launcher.
        pipes: `stdin` and `stderr`, as `subprocess.Popen` takes them.

    Raises:
        EngineMissingError: The Python cannot be started.
    """
    command = [python, "-I", "-X", "utf8", "-B", str(LAUNCHER), *arguments]  # -B: no byte-code into the package
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, env=clean_environment(os.environ, home), cwd=home, creationflags=flags, **pipes
        )
    except OSError as error:
        raise EngineMissingError(
            f"The engine's Python, {python}, cannot be started ({error.strerror}): install the engine again.",
            fix=INSTALL_OPERATOR,
        ) from error


def clean_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The child's environment: ours without what would change which modules or CUDA libraries it finds, and offline.

    Its CUDA comes with its packages; a toolkit of another version that this computer may have is not to be mixed in. Folders of
    LD_LIBRARY_PATH with a toolkit in them are left out; others stay, since the driver may lie there.

    Args:
        environment: Ours.
        home: The engine's home, handed on as `TETRAVIEW_HOME`.
    """
    unwanted = (
        "PYTHON",
        "__PYVENV_LAUNCHER__",
        "VIRTUAL_ENV",
        "CONDA_",
        "CUDA_PATH",
        "CUDA_HOME",
        "CUDA_ROOT",
        "LD_LIBRARY_PATH",
    )
    kept = {key: value for key, value in environment.items() if not key.upper().startswith(unwanted)}
    folders = [folder for folder in environment.get("LD_LIBRARY_PATH", "").split(":") if folder and not _has_toolkit(folder)]
    if folders:
        kept["LD_LIBRARY_PATH"] = ":".join(folders)
    return {**kept, "TETRAVIEW_HOME": str(home), "PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _has_toolkit(folder: str) -> bool:
    """Whether libraries of CUDA other than the driver's lie in a folder."""
    patterns = ("libcudart.so*", "libnvrtc.so*", "libcublas.so*", "libcudnn*.so*")
    return any(next(Path(folder).glob(pattern), None) for pattern in patterns)


def describe_exit(exit_code: int) -> str:
    """An exit status in words: "killed by signal 9" or "exit status 3"."""
    return f"killed by signal {-exit_code}" if exit_code < 0 and sys.platform != "win32" else f"exit status {exit_code}"


def _stdin(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdin is not None
    return child.stdin


def _new_log(home: Path) -> Path:
    """A new log file's path under `<home>/logs`; the oldest logs are removed."""
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    ours = (log for log in logs.glob("engine-*.log") if re.fullmatch(r"engine-\d{8}-\d{6}-\d+-[0-9a-f]{4}\.log", log.name))
    for old in sorted(ours)[: -(LOGS_KEPT - 1)]:
        with contextlib.suppress(OSError):  # another Blender may still write it
            old.unlink()
    return logs / f"engine-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{uuid.uuid4().hex[:4]}.log"


def _tail(path: Path | None, lines: int) -> tuple[str, ...]:
    """The last lines of a text file, or () if there is none."""
    try:
        text = path.read_bytes()[-16_384:] if path else b""
    except OSError:
        return ()
    return tuple(line for line in text.decode("utf-8", "replace").splitlines() if line.strip())[-lines:]
