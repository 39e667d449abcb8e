"""The origin of an object: its request and its four views, kept in the .blend byte for byte."""

import dataclasses
import os
from collections.abc import Mapping

import bpy

from ..engine.errors import InvalidRequestError
from ..engine.job.folder import new_job_folder
from ..engine.types import VIEW_NAMES, GenerateRequest
from . import saved, session
from .properties import REQUEST_KEY

VIEW_KEY = "tetraview_view_{}"
"""Custom property of an object: the packed image of a view it was made from."""


def stored_request(obj) -> GenerateRequest | None:
    """The request that made `obj`, or None if it is not one of ours.

    Raises:
        InvalidRequestError: What is stored there is no request.
    """
    stored = obj.get(REQUEST_KEY) if obj is not None else None
    return None if stored is None else saved.request(stored)


def keep_views(obj, paths: Mapping[str, str]) -> None:
    """Pack the four PNGs as they are into images that belong to `obj`."""
    for name, path in paths.items():
        image = bpy.data.images.load(path, check_existing=False)
        image.name = f"{obj.name} {name}"
        image.pack()  # the file's own bytes
        image.filepath_raw = f"//{bpy.path.clean_name(image.name)}.png"  # no path of this computer in the .blend
        obj[VIEW_KEY.format(name)] = image


def stored_views(obj) -> dict[str, bytes]:
    """PNG of each view that `obj` keeps, keyed by view."""
    images = {name: obj.get(VIEW_KEY.format(name)) for name in VIEW_NAMES}
    return {name: bytes(image.packed_file.data) for name, image in images.items() if image is not None and image.packed_file}


def restored_views(obj) -> str:
    """A folder with the four views that `obj` was made from: that of its job if unchanged, else a new one.

    Returns:
        Path, or "" if the views are neither on the object nor on the disk.
    """
    request, stored = stored_request(obj), stored_views(obj)
    candidates = [os.path.join(request.output_dir, "views"), request.views_dir or ""]
    for folder in candidates:
        files = _read_views(folder)
        if len(files) == len(VIEW_NAMES) and stored in (files, {}):
            return folder
    if len(stored) < len(VIEW_NAMES):
        return ""
    folder = new_job_folder(session.home(), f"{obj.name} views") / "views"
    folder.mkdir()
    for name, data in stored.items():
        (folder / f"{name}.png").write_bytes(data)
    return str(folder)


def _read_views(folder: str) -> dict[str, bytes]:
    files = {}
    for name in VIEW_NAMES:
        try:
            with open(os.path.join(folder, f"{name}.png"), "rb") as file:
                files[name] = file.read()
        except OSError:
            return {}
    return files


def runnable_again(obj) -> GenerateRequest:
    """The request that makes `obj` again from the same views; it has no folder yet.

    Raises:
        InvalidRequestError: Its views are gone, and the photos too.
    """
    request = stored_request(obj)
    folder = restored_views(obj)
    if folder:
        return dataclasses.replace(request, views_dir=folder, repaint=(), flip=(), replace=())
    if request.views_dir is None and all(os.path.isfile(path) for path in request.photos.values()):
        return request
    raise InvalidRequestError("The views and photos that made this object are gone: choose photos again.")
