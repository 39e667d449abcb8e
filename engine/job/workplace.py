"""The folder of a running job: checked before anything in it changes, locked, and marked as ours.

A marker lists the files that the engine wrote, with their hashes. The engine replaces or removes no other file, nor one that
somebody has changed since. In a folder that holds an earlier result, a job writes beside it and exchanges the two at its end:
until then, and if the job fails, the earlier result stays as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import EngineError, InvalidRequestError
from ..types import VIEW_NAMES, GenerateRequest
from .folder import MARKER_NAME, JobFolder, write_json
from .lock import locked

_NEW, _READY = ".tetraview-new", ".tetraview-ready"
"""Where a new result grows beside an earlier one, and its name once it is whole."""
_LOG = "log.txt"
_VIEW = "|".join(VIEW_NAMES)
_NAMES = re.compile(
    r"request\.json|timings\.json|planes\.safetensors|mesh\.npz|asset\.(npz|glb)|albedo\.png|orbit\.(gif|webp)|log\.txt"
    rf"|views/(({_VIEW})\.png|elevation\.json)|preview/({_VIEW})_\d+\.png|orbit/frame_\d+\.png"
)
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{12}-.+")
_FOLDERS = ("views", "preview", "orbit")


@dataclass(frozen=True)
class Marker:
    """The files of a folder that are the engine's.

    Attributes:
        files: SHA-256 of each by its path below the folder; None for one whose content does not matter.
        is_open: The list was not closed, because the job was killed: whatever has the name of a result is the engine's then.
        foreign: Paths that are somebody else's in any case.
    """

    files: Mapping[str, str | None] = field(default_factory=dict)
    is_open: bool = False
    foreign: tuple[str, ...] = ()

    def owns(self, folder: Path, name: str) -> bool:
        """Whether a file of the folder is as the engine wrote it."""
        if self.is_open and name not in self.foreign:
            return True
        return name in self.files and self.files[name] in (None, _sha256(folder / name))

    def write(self, folder: Path) -> None:
        """Mark the folder."""
        write_json(folder / MARKER_NAME, {"files": dict(self.files), "open": self.is_open, "foreign": self.foreign})


def read_marker(folder: Path) -> Marker | None:
    """The marker of a folder; None if it has none, or none that can be read."""
    try:
        found = json.loads((folder / MARKER_NAME).read_text(encoding="utf-8"))
        return Marker(dict(found["files"]), bool(found["open"]), tuple(found["foreign"]))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


class Workplace:
    """Where a job writes.

    Args:
        request: The job's.

    Attributes:
        final: The job's folder.
        job: Where files are written now: a folder beside an earlier result until `exchange`, else the job's folder itself.
    """

    def __init__(self, request: GenerateRequest) -> None:
        self.final = self.job = JobFolder(Path(request.output_dir))
        self._keeps_views = starts_from_own_views(request)
        self._marker: Marker | None = None
        self._foreign: tuple[str, ...] = ()

    def begin(self) -> None:
        """Make room for the job's files.

        Raises:
            InvalidRequestError: A file that the engine did not write, or that was changed since, is in the way.
            OSError: The folder cannot be written.
        """
        folder = self.final.path
        self._finish_exchange()
        self._marker = read_marker(folder)
        self._refuse_foreign_files()
        if self._marker is not None:
            self._remove_leftovers()
        present = self._results()
        self._foreign = tuple(name for name in self._kept() if self._marker is None or not self._marker.owns(folder, name))
        if present:
            self.job = JobFolder(folder / _NEW, self.final.views if self._keeps_views else None)
            self.job.path.mkdir()
        else:
            Marker(is_open=True, foreign=self._foreign).write(folder)
        self.job.views.mkdir(parents=True, exist_ok=True)

    def require_there(self) -> None:
        """Raise `EngineError`, in one sentence, if the folder was deleted, moved or emptied since the job began."""
        if not self.job.request.is_file():
            raise EngineError(f"The folder {self.final.path} was deleted, moved or emptied while the job ran: run the job again.")

    def exchange(self) -> None:
        """Put the new result in the place of the earlier one, if there is one.

        Raises:
            InvalidRequestError: The earlier result was changed while the job ran.
        """
        if self.job is self.final:
            return
        self._refuse_foreign_files()
        folder = self.final.path
        files = _hashes(self.job.path) | {_LOG: None}
        files |= {name: _sha256(folder / name) for name in self._kept() if name not in self._foreign}
        Marker(files, foreign=self._foreign).write(self.job.path)
        os.replace(self.job.path, folder / _READY)
        self.job = self.final
        self._finish_exchange()

    def end(self) -> None:
        """Remove what a failed job wrote beside an earlier result, or list what was written."""
        folder = self.final.path
        with contextlib.suppress(OSError):  # the disk is full or gone: the open marker stays, and the next job sees to it
            if self.job is not self.final:
                shutil.rmtree(self.job.path)
            elif (marker := read_marker(folder)) is not None and marker.is_open:
                files = {name: sha for name, sha in _hashes(folder).items() if name not in marker.foreign}
                Marker(files | {_LOG: None}, foreign=marker.foreign).write(folder)

    def _finish_exchange(self) -> None:
        """Carry an exchange to its end that was begun, here or by a job that was killed in the middle of it."""
        folder, ready = self.final.path, self.final.path / _READY
        new = read_marker(ready)
        if new is None:
            return
        old = read_marker(folder)
        for name in () if old is None else old.files:
            if name not in new.files and old is not None and (folder / name).is_file() and old.owns(folder, name):
                (folder / name).unlink()
        for name in [*_hashes(ready), MARKER_NAME]:  # the marker last: until then this can be done again
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(ready / name, folder / name)
        shutil.rmtree(ready)
        for name in _FOLDERS:
            with contextlib.suppress(OSError):  # not empty
                (folder / name).rmdir()

    def _refuse_foreign_files(self) -> None:
        folder = self.final.path
        for name in _FOLDERS:
            if (folder / name).exists() and not (folder / name).is_dir():
                raise InvalidRequestError(f"{folder / name} is a file where a folder is needed: choose another output folder.")
        for name in self._results():
            if self._marker is None or not (self._marker.is_open or name in self._marker.files):
                text = f"{folder / name} is there already and is not a result of Tetraview: choose another output folder."
                raise InvalidRequestError(text)
            if not self._marker.owns(folder, name):
                text = f"{folder / name} was changed since Tetraview wrote it: choose another output folder, or delete the file."
                raise InvalidRequestError(text)

    def _results(self) -> list[str]:
        """The files in the folder that the job would replace or remove, by their path below it."""
        return [name for name in _named(self.final.path) if not (self._keeps_views and name.startswith("views/"))]

    def _kept(self) -> list[str]:
        """The views in the folder that the job starts from, and leaves as they are."""
        return [name for name in _named(self.final.path) if self._keeps_views and name.startswith("views/")]

    def _remove_leftovers(self) -> None:
        """Remove what a killed job has left half done."""
        folder = self.final.path
        if (folder / _NEW).is_dir():
            shutil.rmtree(folder / _NEW)
        for place in (folder, *(folder / name for name in _FOLDERS)):
            for path in place.glob(".tmp-*"):
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink()


@contextlib.contextmanager
def workplace(request: GenerateRequest) -> Iterator[Workplace]:
    """The folder of a job during the block: everything is checked before anything there changes, and the folder is locked.

    Raises:
        InvalidRequestError: The result would lie over something that is not the engine's, or over what it is made from.
        PhotoError: A photo or a view that the job needs is not there.
        EngineError: Another job writes there, or the folder cannot be written.
    """
    check_inputs(request)
    place = Workplace(request)
    folder = place.final.path
    is_new = not folder.exists()
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if is_new:
                stack.callback(_remove_if_empty, folder)
            stack.enter_context(locked(folder))
            place.begin()
        except OSError as error:
            raise EngineError(f"The folder {folder} cannot be written ({error.strerror}): choose another one.") from error
        stack.callback(place.end)
        try:
            yield place
        except FileNotFoundError:
            place.require_there()
            raise


def check_inputs(request: GenerateRequest) -> None:
    """Check that every file the job starts from is there, and that its result would lie over none of them.

    Raises:
        InvalidRequestError: The result would lie over a photo, or edited views over those they come from.
        PhotoError: A photo or a view is missing.
    """
    from ..photos.load import check_photo_file
    from .view_files import check_view_file

    folder = Path(request.output_dir)
    if starts_from_own_views(request) and (request.repaint or request.flip or request.replace):
        raise InvalidRequestError("Edited views must not overwrite the old ones: choose another output folder.")
    needed = request.photos if request.views_dir is None else {name: request.photos[name] for name in request.replace}
    for photo in map(Path, needed.values()):
        check_photo_file(photo)
        for path in (photo.resolve(), photo.parent.resolve() / photo.name):
            if path.is_relative_to(folder.resolve()) and _NAMES.fullmatch(path.relative_to(folder.resolve()).as_posix()):
                raise InvalidRequestError(f"The photo {photo} would be overwritten by the result: choose another output folder.")
    if request.views_dir is not None:
        for name in VIEW_NAMES:
            if name not in (*request.repaint, *request.replace):
                check_view_file(Path(request.views_dir) / f"{name}.png")


def starts_from_own_views(request: GenerateRequest) -> bool:
    """Whether the views that the job starts from are those in its own folder."""
    views = JobFolder(Path(request.output_dir)).views
    return request.views_dir is not None and Path(request.views_dir).resolve() == views.resolve()


def _named(folder: Path) -> list[str]:
    """Paths below a folder that have the name of a result."""
    found = [path for place in (folder, *(folder / name for name in _FOLDERS)) if place.is_dir() for path in place.iterdir()]
    return sorted(name for path in found if _NAMES.fullmatch(name := path.relative_to(folder).as_posix()))


def _hashes(folder: Path) -> dict[str, str | None]:
    """The SHA-256 of every result in a folder, by its path below it."""
    return {name: _sha256(folder / name) for name in _named(folder)}


def _sha256(path: Path) -> str:
    """Hex SHA-256 of a file; "" if it is none that can be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
