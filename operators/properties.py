"""What the artist sets (`Scene.tetraview`) and what the panel shows about the running job (`WindowManager.tetraview`).

Settings are saved with the .blend and follow undo; the state of a job is neither.
"""

import json
import math
import os
import re

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ..engine.types import POLY_BUDGET_RANGE, TEXTURE_SIZES_PX, VIEW_NAMES, GenerateRequest
from . import session

POLY_PRESETS = (
    ("DRAFT", "Draft", "2,000 triangles: a quick look, background props", 2_000),
    ("GAME", "Game", "10,000 triangles: props seen from nearby", 10_000),
    ("DETAIL", "Detailed", "50,000 triangles: close-ups, sculpting base", 50_000),
)
REQUEST_KEY = "tetraview_request"
"""Custom property of a generated object: the `GenerateRequest` that made it, as JSON."""

VIEW_WORDS = {
    "front": ("front", "vorne", "face"),
    "right": ("right", "rechts"),
    "back": ("back", "rear", "behind", "hinten"),
    "left": ("left", "links"),
}


def addon_id() -> str:
    """The extension's own module name (`bl_ext.<repository>.tetraview`): the key of its preferences."""
    return __package__.rpartition(".")[0]


def addon_preferences(context):
    """The extension's preferences."""
    return context.preferences.addons[addon_id()].preferences


def assign_by_name(paths):
    """Which photo shows which side, read from the words in the file names.

    Args:
        paths: Paths of image files.

    Returns:
        dict view name -> path; a view is left out when no file, or more than one, names it.
    """
    found: dict[str, list[str]] = {name: [] for name in VIEW_NAMES}
    for path in paths:
        words = re.findall(r"[a-z]+", os.path.splitext(os.path.basename(path))[0].lower())
        named = [name for name in VIEW_NAMES if any(word in words for word in VIEW_WORDS[name])]
        if len(named) == 1:
            found[named[0]].append(path)
    return {name: hits[0] for name, hits in found.items() if len(hits) == 1}


def name_from_photos(photos) -> str:
    """A name for the object: what the photos' file names share beside front, right, back, left; else "Object"."""
    sides = {word for words in VIEW_WORDS.values() for word in words}
    names = set()
    for path in photos.values():
        words = re.split(r"[^0-9A-Za-z]+", os.path.splitext(os.path.basename(path))[0])
        names.add(" ".join(word for word in words if word and word.lower() not in sides))
    return names.pop().title() if len(names) == 1 and names != {""} else "Object"


def engine_changed(_owner, _context) -> None:
    """Update callback of settings that decide which engine runs."""
    session.look_again()


def _preset_index(settings) -> int:
    budgets = [preset[3] for preset in POLY_PRESETS]
    return budgets.index(settings.poly_budget) if settings.poly_budget in budgets else len(POLY_PRESETS)


def _apply_preset(settings, index: int) -> None:
    if index < len(POLY_PRESETS):
        settings.poly_budget = POLY_PRESETS[index][3]


def _photos_changed(settings, context) -> None:
    context.window_manager.tetraview.forget_views()


def _photo_property(view: str, where: str):
    return StringProperty(
        name=f"{view.capitalize()} photo",
        description=f"Photo of the object seen from {where}",
        subtype="FILE_PATH",
        update=_photos_changed,
    )


class TETRAVIEW_PG_settings(bpy.types.PropertyGroup):
    """What to make, and how: one per scene."""

    front: _photo_property("front", "its front")
    right: _photo_property("right", "its right side: the camera stands on +X, a quarter turn counter-clockwise from the front")
    back: _photo_property("back", "behind")
    left: _photo_property("left", "its left side: the camera stands on -X")
    object_name: StringProperty(name="Name", description="Name of the new object; empty takes it from the photos' file names")
    cutout: EnumProperty(
        name="Cut-out",
        description="How the object is separated from its background",
        items=(
            ("auto", "Automatic", "Use the photo's transparency if it has any, else find the background"),
            ("alpha", "Transparency", "Trust the transparency of the photos"),
            ("plain", "Plain Background", "Photos taken before a plain wall, cloth or table"),
            ("birefnet", "BiRefNet", "A neural cut-out for busy backgrounds; needs its weights on this computer"),
        ),
        update=_photos_changed,
    )
    poly_preset: EnumProperty(
        name="Preset",
        items=[(key, label, text, index) for index, (key, label, text, _) in enumerate(POLY_PRESETS)]
        + [("CUSTOM", "Custom", "A number of your own", len(POLY_PRESETS))],
        get=_preset_index,
        set=_apply_preset,
    )
    poly_budget: IntProperty(
        name="Triangles",
        description="The mesh never has more triangles than this",
        default=10_000,
        min=POLY_BUDGET_RANGE[0],
        max=POLY_BUDGET_RANGE[1],
        step=1000,
    )
    texture_px: EnumProperty(
        name="Texture",
        description="Width and height of the texture, pixels",
        items=[(str(size), f"{size} px", f"A texture of {size} by {size} pixels") for size in TEXTURE_SIZES_PX],
        default="1024",
    )
    elevation: FloatProperty(
        name="Camera Elevation",
        description="How far above eye level the photos were taken; 0 is level with the object",
        subtype="ANGLE",
        default=math.radians(20.0),
        min=math.radians(-60.0),
        max=math.radians(60.0),
        step=100,
        precision=1,
    )
    seed: IntProperty(name="Seed", description="Same photos, settings and seed: same mesh", default=0, min=0)

    def photos(self) -> dict[str, str]:
        """Absolute path of each photo that is chosen, keyed by view."""
        return {name: bpy.path.abspath(getattr(self, name)) for name in VIEW_NAMES if getattr(self, name)}

    def request(self, context, output_dir: str, views_dir: str | None = None) -> GenerateRequest:
        """These settings as the frozen request that the engine takes; nothing is checked here."""
        preferences = addon_preferences(context)
        return GenerateRequest(
            photos=self.photos(),
            output_dir=output_dir,
            views_dir=views_dir,
            poly_budget=self.poly_budget,
            texture_px=int(self.texture_px),
            elevation_deg=round(math.degrees(self.elevation), 3),
            cutout=self.cutout,
            device=preferences.device,
            seed=self.seed,
        )

    def adopt(self, request: GenerateRequest) -> None:
        """Take over the settings of an earlier request."""
        for name in VIEW_NAMES:
            setattr(self, name, request.photos.get(name, ""))
        self.poly_budget, self.seed, self.cutout = request.poly_budget, request.seed, request.cutout
        self.texture_px = str(request.texture_px)
        self.elevation = math.radians(request.elevation_deg)


class TETRAVIEW_PG_status(bpy.types.PropertyGroup):
    """What the panel shows of the job that runs, or of the last one."""

    running: BoolProperty(get=lambda self: session.is_busy())
    cancelling: BoolProperty()
    kind: StringProperty()
    phase: StringProperty()
    message: StringProperty()
    fraction: FloatProperty(min=0.0, max=1.0)
    eta_s: FloatProperty(default=-1.0)
    error: StringProperty()
    error_fix: StringProperty()
    report: StringProperty()
    note: StringProperty()
    result_object: StringProperty()
    result_folder: StringProperty()
    views_dir: StringProperty()
    views_key: StringProperty()
    view_paths: StringProperty()
    warnings: StringProperty()
    engine_ready: BoolProperty(get=lambda self: session.engine_problem() == "")
    engine_problem: StringProperty(get=lambda self: session.engine_problem())

    def begin(self, kind: str) -> None:
        """Show a job that starts: the last one's error and message go."""
        self.kind, self.phase, self.message, self.fraction, self.eta_s = kind, "", "Starting", 0.0, -1.0
        self.cancelling = False
        self.clear_error()
        self.note = ""

    def clear_error(self) -> None:
        """Take away the error box."""
        self.error = self.error_fix = ""

    def forget_views(self) -> None:
        """The photos changed: cut-outs made from the old ones are no longer theirs."""
        self.views_dir = self.views_key = self.view_paths = self.warnings = ""

    def show_views(self, folder: str, paths, warnings, key: str) -> None:
        """Show the four cut-outs and what the intake warns about."""
        self.views_dir, self.views_key, self.view_paths = folder, key, json.dumps(dict(paths))
        self.warnings = "\n".join(warnings)

    def views(self) -> dict[str, str]:
        """Path of each cut-out that belongs to the photos chosen now; empty if there are none."""
        return json.loads(self.view_paths) if self.view_paths else {}


CLASSES = (TETRAVIEW_PG_settings, TETRAVIEW_PG_status)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.tetraview = bpy.props.PointerProperty(type=TETRAVIEW_PG_settings)
    bpy.types.WindowManager.tetraview = bpy.props.PointerProperty(type=TETRAVIEW_PG_status)


def unregister() -> None:
    del bpy.types.WindowManager.tetraview
    del bpy.types.Scene.tetraview
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
