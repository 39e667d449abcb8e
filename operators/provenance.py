"""The origin of an object: its request and its four views, kept in the .blend byte for byte."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import bpy

from ..engine.errors import InvalidRequestError
from ..engine.job.folder import JobFolder, new_job_folder, write_views
from ..engine.request_fields import check_values
from ..engine.types import SEED_LIMIT, VIEW_NAMES, GenerateRequest
from . import references, session
from .properties import REQUEST_KEY, chosen_generator

VIEW_KEY = "tetraview_view_{}"
"""Custom property of an object: the packed image of a view it was made from."""


DAMAGED = "The settings stored on this object are damaged: write a prompt or choose photos in the panel, and generate anew."
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def keep_request(obj, request: GenerateRequest) -> None:
    """Store the request that made `obj` on it, with names of jobs and tokens of photos in the place of paths."""
    views = request.views_dir and references.job_name(os.path.dirname(request.views_dir))
    photos = {name: references.photo_token(path) for name, path in request.photos.items()}
    job = references.job_name(request.output_dir)
    nameless = dataclasses.replace(request, photos=photos, output_dir=job, views_dir=views, model=None, generator=None)
    obj[REQUEST_KEY] = nameless.to_json()


def stored_request(obj) -> GenerateRequest:
    """The request that made `obj`, with the photos that were chosen on this computer; "" for the others.

    Its `output_dir` and `views_dir` are names of jobs, see `references`; no path that the file holds is in it.

    Raises:
        InvalidRequestError: There is none, or it is damaged.
    """
    try:
        request = GenerateRequest.from_json(obj[REQUEST_KEY])
        check_values(request)
        if not 0 <= request.seed <= SEED_LIMIT:
            raise ValueError(f"seed {request.seed}")
        (request.prompt + request.negative_prompt).encode()  # no halves of letters, which Blender cannot hold
    except (ValueError, TypeError, KeyError, InvalidRequestError) as error:
        raise InvalidRequestError(DAMAGED) from error
    photos = {name: references.photo_path(token) for name, token in request.photos.items() if name in VIEW_NAMES}
    return dataclasses.replace(request, photos=photos, model=None, generator=None)


def keep_views(obj, paths: Mapping[str, str]) -> None:
    """Pack the four PNGs as they are into images that belong to `obj`."""
    for name, path in paths.items():
        obj[VIEW_KEY.format(name)] = packed_image(f"{obj.name} {name}", path)


PATH_BYTES = 1024
"""Size of Blender's buffers for paths."""


def packed_image(name: str, path: str) -> bpy.types.Image:
    """An image of a PNG's own bytes, packed. A loaded image would keep its path when it is packed."""
    image = bpy.data.images.new(name, 1, 1, alpha=True)
    with open(path, "rb") as file:
        data = file.read()
    # Blender 4.5 copies the path into a buffer that it has not cleared, and writes all of it into the .blend, whatever lay in
    # that memory before: fill it, then forget the path.
    image.filepath_raw = "x" * (PATH_BYTES - 1)
    image.pack(data=data, data_len=len(data))
    image.packed_files[0].filepath = image.filepath_raw = ""
    image.source = "FILE"
    image.filepath_raw = f"//{bpy.path.clean_name(image.name)}.png"
    return image


def stored_views(obj) -> dict[str, bytes]:
    """PNG of each view that `obj` keeps, packed or unpacked beside the file, keyed by view."""
    images = {name: obj.get(VIEW_KEY.format(name)) for name in VIEW_NAMES}
    pictures = {name: _png_of(image) for name, image in images.items() if isinstance(image, bpy.types.Image)}
    return {name: data for name, data in pictures.items() if data}


def _png_of(image) -> bytes:
    """The bytes of an image's PNG; b"" if it has none that may be read: an unpacked one must lie in the .blend's own folder."""
    if image.packed_file:
        return bytes(image.packed_file.data)
    if not bpy.data.filepath or not image.filepath.startswith("//"):
        return b""
    folder = Path(bpy.data.filepath).resolve().parent
    path = Path(bpy.path.abspath(image.filepath)).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        return b""
    data = path.read_bytes()
    return data if data.startswith(PNG_SIGNATURE) else b""


def restored_views(obj) -> str:
    """A folder with the four views that `obj` was made from: that of its job if unchanged, else a new one.

    Returns:
        Path, or "" if the views are neither on the object nor on the disk.
    """
    request, stored = stored_request(obj), stored_views(obj)
    for name in (request.output_dir, request.views_dir):
        job = references.marked_job(name)
        files = {} if job is None else _read_views(job)
        if job is not None and len(files) == len(VIEW_NAMES) and stored in (files, {}):
            return str(job.views)
    if len(stored) < len(VIEW_NAMES):
        return ""
    job = JobFolder(new_job_folder(session.home(), f"{obj.name} views"))
    write_views(job, stored)
    return str(job.views)


def _read_views(job: JobFolder) -> dict[str, bytes]:
    try:
        return {name: job.view(name).read_bytes() for name in VIEW_NAMES}
    except OSError:
        return {}


def runnable_again(obj) -> GenerateRequest:
    """The request that makes `obj` again from the same views, with this computer's own models; it has no folder yet.

    Raises:
        InvalidRequestError: It is damaged, or its views are gone, and the photos too.
    """
    request = dataclasses.replace(stored_request(obj), output_dir="", generator=chosen_generator(bpy.context))
    folder = restored_views(obj)
    if folder:
        return dataclasses.replace(request, views_dir=folder, repaint=(), flip=(), replace=())
    if request.views_dir is None and all(os.path.isfile(path) for path in request.photos.values()):
        return request
    raise InvalidRequestError("The views and photos that made this object are gone: choose photos again.")
