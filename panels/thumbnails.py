"""Small pictures of photos and cut-outs for the panel, loaded by Blender when they are first drawn."""

import os

import bpy.utils.previews

_collections: dict[str, bpy.utils.previews.ImagePreviewCollection] = {}


def icon_of(path: str) -> int:
    """Icon of the picture at `path`, as it is on the disk now; 0 if there is none."""
    previews = _collections.get("photos")
    try:
        stat = os.stat(path)
    except OSError:
        return 0
    if previews is None:
        return 0
    key = f"{path}|{stat.st_mtime_ns}|{stat.st_size}"
    if key not in previews:
        previews.load(key, path, "IMAGE")
    return previews[key].icon_id


def register() -> None:
    _collections["photos"] = bpy.utils.previews.new()


def unregister() -> None:
    while _collections:
        bpy.utils.previews.remove(_collections.popitem()[1])
