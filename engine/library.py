"""Where results live: job folders, their names, earlier jobs, disk use, and how long phases took on this machine.

Standard library only: Blender's side imports this too. Every file is written beside its place and then renamed, so a file
that exists is whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .types import VIEW_NAMES

logger = logging.getLogger(__name__)

HISTORY_LENGTH = 120


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
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class JobFolder:
    """The files of one job; `path` is the `output_dir` of its request."""

    path: Path

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def views(self) -> Path:
        return self.path / "views"

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

    def begin(self, *, keep_views: bool = False) -> None:
        """Make the folders, and remove the results of an earlier run here, so that no file can be taken for this run's.

        Args:
            keep_views: Leave the framed views: this run starts from them.
        """
        self.views.mkdir(parents=True, exist_ok=True)
        for stale in (
            self.planes, self.orbit_gif, self.orbit_webp, self.mesh, self.asset, self.albedo, self.glb, self.timings, self.log
        ):  # fmt: skip
            stale.unlink(missing_ok=True)
        if not keep_views:
            for view in (*self.view_paths.values(), self.elevation):
                view.unlink(missing_ok=True)
        for folder in (self.preview, self.orbit):
            for stale in folder.glob("*.png"):
                stale.unlink(missing_ok=True)
        for folder in (self.path, self.views, self.preview, self.orbit):
            for leftover in folder.glob(".tmp-*"):
                leftover.unlink(missing_ok=True)


def new_job_folder(home: Path, label: str = "", *, now: float | None = None) -> Path:
    """Make an empty folder `<home>/jobs/<date>-<time>[-label]` that no other job has, and return it.

    Args:
        home: The engine's home.
        label: A few words to know the job by; letters and digits are kept.
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


class TimingHistory:
    """Seconds that each phase took on this machine in earlier jobs, in `<home>/history.json`.

    Args:
        home: The engine's home.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "history.json"

    def record(self, setting: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
        """Remember one job. A home that cannot be written costs the estimate, not the job."""
        entries = [*self._entries(), {"setting": dict(setting), "seconds": dict(seconds)}][-HISTORY_LENGTH:]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, entries)
        except OSError as error:
            logger.warning("cannot remember the timings in %s: %s", self._path, error)

    def expected_s(self, setting: Mapping[str, Any], phases: Sequence[str]) -> dict[str, float] | None:
        """Expected seconds of each phase: the median over the earlier jobs that ran it and whose setting is closest to this one.

        Jobs on another device tell nothing. Among the others, those that agree in most entries of `setting` count.

        Args:
            setting: What the times depend on; must hold "device".
            phases: Names of the phases asked for.

        Returns:
            Seconds by phase, or None if one of these phases was never run on this device.
        """
        scored = [
            (sum(entry["setting"].get(key) == value for key, value in setting.items()), entry["seconds"])
            for entry in self._entries()
            if entry["setting"].get("device") == setting.get("device")
        ]
        expected = {}
        for phase in phases:
            known = [(score, seconds[phase]) for score, seconds in scored if phase in seconds]
            if not known:
                return None
            best = max(score for score, _ in known)
            expected[phase] = statistics.median([seconds for score, seconds in known if score == best][-9:])
        return expected

    def _entries(self) -> list[dict[str, Any]]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            logger.warning("cannot read the timings in %s: %s", self._path, error)
            return []
        return [entry for entry in entries if _is_entry(entry)] if isinstance(entries, list) else []


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("setting"), dict) or not isinstance(entry.get("seconds"), dict):
        return False
    return all(isinstance(value, (int, float)) and value >= 0 for value in entry["seconds"].values())
