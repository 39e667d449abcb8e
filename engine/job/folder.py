"""Locations of results: the engine's home, the folder of a job and its files, earlier jobs, disk use.

Standard library only: Blender's side imports this too. Every file is written beside its place and then renamed, so a file
that exists is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..types import VIEW_NAMES

MARKER_NAME = ".tetraview-job.json"
"""File of a job's folder that lists what the engine wrote there, see `workplace.Marker`."""


def default_home() -> Path:
    """Folder of everything the engine keeps: `TETRAVIEW_HOME`, else the place this system has for an application's data."""
    chosen = os.environ.get("TETRAVIEW_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "Tetraview"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Tetraview"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tetraview"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, with the same suffix, renamed to `path` if the block ends well, else removed."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # a write names no file; the artist knows none with the temporary name
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or its disk is gone
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class JobFolder:
    """The files of one job.

    Attributes:
        path: The `output_dir` of its request, or where its files lie until they are exchanged with those of an earlier job.
        kept_views: Folder of the views where the job starts from views that stay where they are; None for `path/views`.
    """

    path: Path
    kept_views: Path | None = None

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def views(self) -> Path:
        return self.kept_views or self.path / "views"

    @property
    def preview(self) -> Path:
        """Folder of the small pictures that are shown while views are painted."""
        return self.path / "preview"

    @property
    def planes(self) -> Path:
        return self.path / "planes.safetensors"

    @property
    def orbit(self) -> Path:
        """Folder of the frames of the orbit preview."""
        return self.path / "orbit"

    @property
    def orbit_gif(self) -> Path:
        return self.path / "orbit.gif"

    @property
    def orbit_webp(self) -> Path:
        return self.path / "orbit.webp"

    @property
    def mesh(self) -> Path:
        """verts float32 [V, 3] and faces int32 [F, 3] before simplification."""
        return self.path / "mesh.npz"

    @property
    def asset(self) -> Path:
        return self.path / "asset.npz"

    @property
    def albedo(self) -> Path:
        return self.path / "albedo.png"

    @property
    def glb(self) -> Path:
        return self.path / "asset.glb"

    @property
    def timings(self) -> Path:
        return self.path / "timings.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def view(self, name: str) -> Path:
        return self.views / f"{name}.png"

    @property
    def elevation(self) -> Path:
        """The elevation that was found for the framed views, degrees: `{"elevation_deg": ...}`."""
        return self.views / "elevation.json"

    @property
    def view_paths(self) -> dict[str, Path]:
        return {name: self.view(name) for name in VIEW_NAMES}


def is_job(folder: Path) -> bool:
    """Whether the engine has marked a folder as that of a job."""
    try:
        found = json.loads((folder / MARKER_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("files"), dict)


def write_views(job: JobFolder, views: Mapping[str, bytes]) -> None:
    """Write the PNG of each view into the folder of a new job, and mark it."""
    job.views.mkdir()
    for name, data in views.items():
        job.view(name).write_bytes(data)
    files = {f"views/{name}.png": hashlib.sha256(data).hexdigest() for name, data in views.items()}
    write_json(job.path / MARKER_NAME, {"files": files, "open": False, "foreign": []})


def new_job_folder(home: Path, label: str = "", *, now: float | None = None) -> Path:
    """Make an empty folder `<home>/jobs/<date>-<time>[-label]` that no other job has, and return it.

    Args:
        home: The engine's home.
        label: A few words to recognise the job by; only letters and digits are kept.
        now: Seconds since the epoch; the clock's if None.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    words = re.sub(r"[^0-9A-Za-z]+", "-", label).strip("-").lower()[:40].rstrip("-")
    base = f"{stamp}-{words}" if words else stamp
    jobs = home / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    count = 1
    while True:
        folder = jobs / (base if count == 1 else f"{base}-{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            count += 1
        else:
            return folder


def disk_use(path: Path) -> int:
    """Bytes of all files under `path`; 0 if it does not exist."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
