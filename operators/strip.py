"""The view strip of a scene (`Scene.tetraview.strip`): which four views are shown, what they were made from, which are kept.

A strip is the `views` folder of an earlier job. An edit is a new job with a new folder, so nothing is overwritten and
Blender's own undo brings an older strip back. It is saved with the .blend.
"""

import json
import os

import bpy
from bpy.props import BoolProperty, StringProperty

from ..engine.types import VIEW_NAMES
from . import saved


def _lock(view: str):
    return BoolProperty(
        name=f"Lock {view.capitalize()}",
        description=f"Keep the {view} view: Paint Views, Re-roll All and Variations leave it as it is",
    )


class TETRAVIEW_PG_strip(bpy.types.PropertyGroup):
    """The four views and what has been done with them."""

    folder: StringProperty()
    key: StringProperty()  # of the settings they stand for, see `TETRAVIEW_PG_settings.views_key`
    stamp: StringProperty()  # when the photos they were cut from were last written
    warnings: StringProperty()
    orbit: StringProperty()  # JSON of the `Orbit` event rendered from them; "" if none
    variations: StringProperty()  # JSON: a list of what `add_variation` was given
    lock_front: _lock("front")
    lock_right: _lock("right")
    lock_back: _lock("back")
    lock_left: _lock("left")

    def path(self, view: str) -> str:
        """PNG of a view; "" if there is no strip."""
        return os.path.join(self.folder, f"{view}.png") if self.folder else ""

    def is_whole(self) -> bool:
        """Whether all four files are on the disk."""
        return bool(self.folder) and all(os.path.isfile(self.path(name)) for name in VIEW_NAMES)

    def locked(self) -> tuple[str, ...]:
        """Names of the views to keep; none where there is no strip."""
        return tuple(name for name in VIEW_NAMES if self.folder and getattr(self, f"lock_{name}"))

    def show(self, folder: str, key: str, stamp: str, warnings=()) -> None:
        """Make the views in `folder` the strip; what was made from the old ones goes, locks and variations stay."""
        self.folder, self.key, self.stamp = folder, key, stamp
        self.warnings, self.orbit = "\n".join(warnings), ""

    def clear(self) -> None:
        """Clear the strip and everything that belongs to it."""
        self.show("", "", "")
        self.variations = ""
        for name in VIEW_NAMES:
            setattr(self, f"lock_{name}", False)

    def orbit_frames(self) -> list[str]:
        """Pictures of the orbit preview of these views, in order."""
        orbit = saved.orbit(self.orbit)
        return list(orbit.frames) if orbit else []

    def variation_list(self) -> list[dict]:
        """The variations to choose from, as `add_variation` was given them."""
        return saved.variations(self.variations)

    def add_variation(self, variation: dict) -> None:
        """One more variation is ready: `folder` of its views, the `seed` that made them, their `stamp` and `warnings`."""
        self.variations = json.dumps([*self.variation_list(), variation])
