"""The prompts written so far, newest first, in `prompts.json` in the engine's home: they outlive the session and the file."""

import json
import logging

from ..engine.errors import EngineError
from ..engine.job.folder import write_json
from . import session

log = logging.getLogger(__name__)

LIMIT = 30
_shown: list[str] | None = None  # what the menu draws; None until it is asked for


def _path():
    return session.home() / "prompts.json"


def _read() -> list[str]:
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, EngineError):
        return []
    return [entry for entry in stored if isinstance(entry, str)][:LIMIT] if isinstance(stored, list) else []


def prompts() -> list[str]:
    """The prompts, newest first; read from the disk once."""
    global _shown
    if _shown is None:
        _shown = _read()
    return _shown


def remember(prompt: str) -> None:
    """Put a prompt first. Another Blender may have written meanwhile; a home that cannot be written costs only the memory."""
    global _shown
    prompt = prompt.strip()
    if not prompt:
        return
    _shown = [prompt, *(other for other in _read() if other.casefold() != prompt.casefold())][:LIMIT]
    _write(_shown)


def forget_all() -> None:
    """Empty the history."""
    global _shown
    _shown = []
    _write([])


def forget_shown() -> None:
    """Read the disk again next time: the home may have changed."""
    global _shown
    _shown = None


def _write(entries: list[str]) -> None:
    try:
        write_json(_path(), entries)
    except (OSError, EngineError) as error:
        log.warning("cannot remember the prompt: %s", error)
