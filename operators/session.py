"""The warm engine process and the one job that may run: everything that outlives a single operator call.

`close()` leaves nothing behind; `unregister` calls it.
"""

import contextlib
import os
import time
from pathlib import Path

import bpy

from ..engine.client import EngineProcess, find_engine_python
from ..engine.errors import EngineError
from ..engine.job.folder import write_text

STATUS_LIFETIME_S = 2.0
"""Seconds for which `engine_problem` trusts its last look at the disk: panels ask at every redraw."""

NOTE_NAME = "last-job.txt"
"""File of the data folder with a sentence about the job that the end of the last session stopped."""


class _State:
    def __init__(self) -> None:
        self.process: EngineProcess | None = None
        self.run = None
        self.problem = ""
        self.problem_seen_at = -1e9


_state = _State()
ready_results: list = []
"""Finished results that wait to be placed, see `arrival`."""
refused_results: list = []
"""Those of them that could not be placed: they are only tried again when the artist asks."""


def _preferences():
    entry = bpy.context.preferences.addons.get(__package__.rpartition(".")[0])
    return entry.preferences if entry else None


def home() -> Path:
    """The folder for the engine's environment, jobs and history: never the package's own.

    `TETRAVIEW_HOME`, else the folder set in the preferences, else the extension's folder in the user's configuration.

    Raises:
        EngineError: It cannot be made, or it is relative to a .blend that was never saved.
    """
    chosen = os.environ.get("TETRAVIEW_HOME") or getattr(_preferences(), "home", "")
    try:
        if not chosen:
            return Path(bpy.utils.extension_path_user(__package__.rpartition(".")[0], create=True))
        if chosen.startswith("//") and not bpy.data.filepath:
            text = f"The data folder {chosen} lies beside a .blend that was never saved: save it, or choose another data folder."
            raise EngineError(text, fix="preferences")
        path = Path(bpy.path.abspath(chosen)).expanduser().absolute()  # the engine's working folder is another one
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        text = f"The data folder {chosen} cannot be used ({reason}): plug in its drive, or choose another in the preferences."
        raise EngineError(text, fix="preferences") from error
    return path


def engine_python() -> str:
    """The Python that runs the engine.

    Raises:
        EngineMissingError: None is set and none is installed.
    """
    return find_engine_python(getattr(_preferences(), "engine_python", "") or None, home())


def engine_problem() -> str:
    """Why the engine cannot be started, in one sentence; "" if it can. Looks at the disk every two seconds at most."""
    if time.monotonic() - _state.problem_seen_at > STATUS_LIFETIME_S:
        try:
            engine_python()
            _state.problem = ""
        except EngineError as error:
            _state.problem = str(error)
        _state.problem_seen_at = time.monotonic()
    return _state.problem


def look_again() -> None:
    """Forget what `engine_problem` saw: an installation or a preference changed it."""
    _state.problem_seen_at = -1e9


def engine() -> EngineProcess:
    """The running engine process; a new one after a crash, or when another Python or folder was chosen.

    Returns at once: the process is ready some seconds later, and its first job waits for it.

    Raises:
        EngineMissingError: No engine is installed.
    """
    python, folder = engine_python(), home()
    process = _state.process
    if process is not None and not (process.alive and process.python == python and Path(process.home) == folder):
        stop_engine()
        process = None
    if process is None:
        process = EngineProcess(python, folder)
        process.start()
        _state.process = process
    return process


def stop_engine() -> None:
    """End the engine process, if one runs."""
    process, _state.process = _state.process, None
    if process is not None:
        process.close()


def log_tail() -> tuple[str, ...]:
    """The last lines of the engine's log; none if no engine was started."""
    return () if _state.process is None else _state.process.log_tail()


def is_busy() -> bool:
    """Whether a job runs."""
    return _state.run is not None


def current_run():
    """The `TaskRun` in progress, or None."""
    return _state.run


def set_run(run) -> None:
    """Declare the job that runs now, or None."""
    _state.run = run


def last_note() -> str:
    """What the last session left to say about its job, once; "" if there is nothing."""
    with contextlib.suppress(OSError, ValueError, EngineError):
        path = home() / NOTE_NAME
        note = path.read_text(encoding="utf-8")
        path.unlink()
        return note
    return ""


def close() -> None:
    """Abandon the running job, with a note for the next session, and end the engine process."""
    run, _state.run = _state.run, None
    if run is not None:
        note = run.abandon("Blender was closed, or the extension switched off")
        with contextlib.suppress(OSError, EngineError):  # no data folder, no note
            write_text(home() / NOTE_NAME, note)
    stop_engine()
    look_again()
