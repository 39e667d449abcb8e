"""Names that a .blend holds in the place of paths: the name of a job, the token of a photo.

A .blend comes from anybody and goes to anybody. So no path of this computer is written into it, and no path that it holds is
opened: a name leads only to a job in the data folder, a token only to a photo that was chosen on this computer.
"""

import json
import logging
import re
import secrets
from pathlib import Path

from ..engine.errors import EngineError
from ..engine.job.folder import JobFolder, is_job, write_json
from . import session

log = logging.getLogger(__name__)

PHOTOS_LIMIT = 400
"""Chosen photos that are remembered; the oldest are forgotten."""

_JOB = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,120}")
_chosen: dict[str, str] = {}  # path of each photo by its token, oldest first
_read_from: Path | None = None  # the file that `_chosen` was read from


def job_name(folder) -> str:
    """Name of the job whose folder this is; "" if it is none in the data folder."""
    folder, job = Path(folder), named_job(Path(folder).name)
    return folder.name if job is not None and folder == job.path else ""


def named_job(name) -> JobFolder | None:
    """The place of a job in the data folder, whether it is there or not; None if the name is none or there is no such folder."""
    if not isinstance(name, str) or not _JOB.fullmatch(name):
        return None
    try:
        return JobFolder(session.home() / "jobs" / name)
    except EngineError:
        return None


def marked_job(name) -> JobFolder | None:
    """The job of this name, if it lies in the data folder and the engine has marked it as its own; else None."""
    job = named_job(name)
    return job if job is not None and is_job(job.path) else None


def photo_token(path: str) -> str:
    """The token of a photo that was chosen, the same each time; "" for no path. It is remembered for later sessions."""
    if not path:
        return ""
    _read()
    token = next((known for known, other in _chosen.items() if other == path), None)
    if token is None:
        token = secrets.token_hex(8)
        _chosen[token] = path
        _write()
    return token


def photo_path(token) -> str:
    """Path of the photo with this token; "" if none was chosen on this computer."""
    _read()
    return _chosen.get(token, "") if isinstance(token, str) else ""


def _path() -> Path | None:
    try:
        return session.home() / "photos.json"
    except EngineError:
        return None


def _stored(path: Path) -> dict[str, str]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = [pair for pair in stored if isinstance(pair, list)] if isinstance(stored, list) else []
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and all(isinstance(text, str) for text in pair)}


def _read() -> None:
    """Read the file once for each data folder."""
    global _read_from
    path = _path()
    if path is not None and path != _read_from:
        _read_from = path
        _chosen.update(_stored(path))


def _write() -> None:
    """Write the newest photos, with those that another Blender has remembered meanwhile."""
    path = _path()
    if path is None:
        return
    merged = _stored(path) | _chosen
    try:
        write_json(path, list(merged.items())[-PHOTOS_LIMIT:])
    except OSError as error:
        log.warning("cannot remember the photo: %s", error)
