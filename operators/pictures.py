"""Small pictures for the panel by path: photos, views, frames.

They live in two generations: when the younger one is full, the older is freed, so that a long session with many previews
keeps its memory. A picture that is still shown is read again.
"""

import os

import bpy
import bpy.utils.previews

GENERATION_SIZE = 96
"""More than any panel shows at once; a picture takes about 256 KB."""

_generations: list[bpy.utils.previews.ImagePreviewCollection] = []


def icon_of(path: str) -> int:
    """Icon of the picture at `path`, as it is on the disk now; 0 if there is none. Blender reads the file when it draws it."""
    preview = _preview(path)
    return 0 if preview is None else preview.icon_id


def read_now(paths) -> None:
    """Read our own small pictures before they are drawn, so that they do not flicker."""
    if bpy.app.background:
        return
    for path in paths:
        preview = _preview(path)
        if preview is not None:
            _ = preview.image_size[0]  # reading it loads the file


def count() -> int:
    """Number of pictures in memory."""
    return sum(len(generation) for generation in _generations)


def _preview(path: str):
    try:
        stat = os.stat(path)
    except OSError:
        return None
    if not _generations:
        return None
    key = f"{path}|{stat.st_mtime_ns}|{stat.st_size}"
    young = _generations[-1]
    if key not in young:
        if len(young) >= GENERATION_SIZE:
            young = bpy.utils.previews.new()
            _generations.append(young)
            if len(_generations) > 2:
                bpy.utils.previews.remove(_generations.pop(0))
        young.load(key, path, "IMAGE")
    return young[key]


def register() -> None:
    _generations.append(bpy.utils.previews.new())


def unregister() -> None:
    while _generations:
        bpy.utils.previews.remove(_generations.pop())
