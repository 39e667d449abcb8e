"""The view strip of a scene (`Scene.tetraview.strip`): which four views are shown, what they were made from, which are kept.

A strip is the `views` folder of an earlier job. An edit is a new job with a new folder, so nothing is overwritten and
Blender's own undo brings an older strip back. It is saved with the .blend, which names the jobs and holds no path.
"""

import json
import os

import bpy
from bpy.props import BoolProperty, StringProperty

from ..engine.types import SEED_LIMIT, VIEW_NAMES
from . import references


def _lock(view: str):
    return BoolProperty(
        name=f"Lock {view.capitalize()}",
        description=f"Keep the {view} view: Paint Views, Re-roll All and Variations leave it as it is",
    )


class TETRAVIEW_PG_strip(bpy.types.PropertyGroup):
    """The four views and what has been done with them."""

    job: StringProperty()  # name of the job whose views they are
    key: StringProperty()  # of the settings they stand for, see `TETRAVIEW_PG_settings.views_key`
    stamp: StringProperty()  # when the photos they were cut from were last written
    warnings: StringProperty()
    orbit: StringProperty()  # name of the job that rendered their orbit preview; "" if none
    variations: StringProperty()  # JSON: a list of what `add_variation` was given
    lock_front: _lock("front")
    lock_right: _lock("right")
    lock_back: _lock("back")
    lock_left: _lock("left")

    @property
    def folder(self) -> str:
        """Folder of the views, in the data folder; "" if there is no strip."""
        job = references.named_job(self.job)
        return "" if job is None else str(job.views)

    def path(self, view: str) -> str:
        """PNG of a view; "" if there is no strip."""
        return os.path.join(self.folder, f"{view}.png") if self.folder else ""

    def is_whole(self) -> bool:
        """Whether all four files are on the disk, in a job of ours."""
        return references.marked_job(self.job) is not None and all(os.path.isfile(self.path(name)) for name in VIEW_NAMES)

    def locked(self) -> tuple[str, ...]:
        """Names of the views to keep; none where there is no strip."""
        return tuple(name for name in VIEW_NAMES if self.job and getattr(self, f"lock_{name}"))

    def show(self, folder: str, key: str, stamp: str, warnings=()) -> None:
        """Make the views in `folder` the strip; what was made from the old ones goes, locks and variations stay."""
        self.job = references.job_name(os.path.dirname(folder)) if folder else ""
        self.key, self.stamp = key, stamp
        self.warnings, self.orbit = "\n".join(warnings), ""

    def clear(self) -> None:
        """Clear the strip and everything that belongs to it."""
        self.show("", "", "")
        self.variations = ""
        for name in VIEW_NAMES:
            setattr(self, f"lock_{name}", False)

    def orbit_frames(self) -> list[str]:
        """Pictures of the orbit preview of these views, in order."""
        job = references.marked_job(self.orbit)
        return [] if job is None else sorted(str(path) for path in job.orbit.glob("frame_*.png"))

    def variation_list(self) -> list[dict]:
        """The variations to choose from: `folder` of the views, `seed`, `stamp` and `warnings`. Damaged ones are left out."""
        return [dict(entry, folder=str(references.named_job(entry["job"]).views)) for entry in self._variations()]

    def add_variation(self, variation: dict) -> None:
        """Add one that is ready: the name of its `job`, the `seed` that made it, `stamp` and `warnings` of its views."""
        self.variations = json.dumps([*self._variations(), variation])

    def _variations(self) -> list[dict]:
        try:
            found = json.loads(self.variations) if self.variations else []
        except (ValueError, RecursionError):
            return []
        return [entry for entry in found if _is_variation(entry)] if isinstance(found, list) else []


def _is_variation(entry) -> bool:
    """Whether an entry of the list, which may come from anybody's file, is one of ours."""
    if not isinstance(entry, dict) or references.named_job(entry.get("job")) is None:
        return False
    seed, warnings = entry.get("seed"), entry.get("warnings")
    if type(seed) is not int or not 0 <= seed <= SEED_LIMIT or not isinstance(entry.get("stamp"), str):
        return False
    return isinstance(warnings, list) and all(isinstance(warning, str) for warning in warnings)
