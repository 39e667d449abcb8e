"""The artist's settings, `Scene.tetraview`. Saved with the .blend, and it follows undo.

Panels take everything they need of this package from here; the strip is in `strip.py`, the state of a job in `status.py`.
"""

import os

import bpy
from bpy.props import EnumProperty, IntProperty, PointerProperty, StringProperty

from ..engine.types import SEED_LIMIT, VIEW_NAMES, GenerateRequest
from . import references, session
from .pictures import icon_of
from .request_properties import adopt_values, choice_items, properties_of, section_properties, values_of
from .status import TETRAVIEW_PG_status
from .strip import TETRAVIEW_PG_strip

__all__ = [
    "DEVICE_ITEMS", "MESH_ROWS", "PAINTING_ROWS", "POLY_PRESETS", "REQUEST_KEY", "SEED_LIMIT", "VIEW_NAMES",
    "addon_id", "addon_preferences", "engine_changed", "icon_of",
]  # fmt: skip

POLY_PRESETS = (
    ("DRAFT", "Draft", "2,000 triangles: a quick look, background props", 2_000),
    ("GAME", "Game", "10,000 triangles: props seen from nearby", 10_000),
    ("DETAIL", "Detailed", "50,000 triangles: close-ups, sculpting base", 50_000),
)
STYLES = (
    ("NONE", "Plain", "No words about style", ""),
    ("LOW_POLY", "Low-poly", "Few, flat faces and plain colours", "low-poly style"),
    ("STUDIO", "Studio", "Lit from the side, with shading painted in", "studio light"),
)
"""Style presets: the words that the generator was taught."""

REQUEST_KEY = "tetraview_request"
"""Custom property of a generated object: the `GenerateRequest` that made it, as JSON."""

DEVICE_ITEMS = choice_items("device")
PAINTING_ROWS, MESH_ROWS = section_properties("painting"), section_properties("mesh")
"""Ids of the properties that the panel lists under these headings."""


def addon_id() -> str:
    """The extension's own module name (`bl_ext.<repository>.tetraview`): the key of its preferences."""
    return __package__.rpartition(".")[0]


def addon_preferences(context):
    """The extension's preferences."""
    return context.preferences.addons[addon_id()].preferences


def chosen_generator(context) -> str | None:
    """Folder of the generator of the artist's choice; None for the extension's own."""
    return os.environ.get("TETRAVIEW_GENERATOR") or bpy.path.abspath(addon_preferences(context).generator) or None


def engine_changed(_owner, _context) -> None:
    """Update callback of settings that decide which engine runs."""
    session.look_again()


def without_style(prompt: str) -> str:
    """The prompt without the words of any style preset at its end."""
    for _, _, _, words in STYLES:
        if words and prompt.rstrip().casefold().endswith(words):
            return prompt.rstrip()[: -len(words)].rstrip(" ,")
    return prompt


def _style_index(settings) -> int:
    ending = settings.prompt.rstrip().casefold()
    return next((index for index, style in enumerate(STYLES) if style[3] and ending.endswith(style[3])), 0)


def _apply_style(settings, index: int) -> None:
    body, words = without_style(settings.prompt), STYLES[index][3]
    settings.prompt = ", ".join(part for part in (body, words) if part)


def _preset_index(settings) -> int:
    budgets = [preset[3] for preset in POLY_PRESETS]
    return budgets.index(settings.poly_budget) if settings.poly_budget in budgets else len(POLY_PRESETS)


def _apply_preset(settings, index: int) -> None:
    if index < len(POLY_PRESETS):
        settings.poly_budget = POLY_PRESETS[index][3]


def _photo_property(view: str, where: str):
    return StringProperty(
        name=f"{view.capitalize()} photo",
        description=f"Photo of the object seen from {where}",
        subtype="FILE_PATH",
        get=lambda settings: references.photo_path(getattr(settings, f"{view}_photo")),
        set=lambda settings, path: _choose_photo(settings, view, path),
    )


def _choose_photo(settings, view: str, path: str) -> None:
    path = os.path.abspath(bpy.path.abspath(path)) if path else ""
    setattr(settings, f"{view}_photo", references.photo_token(path))
    if path:
        settings.source = "PHOTOS"


class TETRAVIEW_PG_settings(bpy.types.PropertyGroup):
    """Settings of a request, one per scene. The properties of a request's fields are added below the class."""

    source: EnumProperty(
        name="Source",
        description="What the four views come from",
        items=(
            ("PROMPT", "Prompt", "Write what you want: all four views are painted", "TEXT", 0),
            ("PHOTOS", "Photos", "One to four photos: the views that none shows are painted", "IMAGE_DATA", 1),
        ),
    )
    style: EnumProperty(
        name="Style",
        description="Words at the end of the prompt",
        items=[(key, label, text, index) for index, (key, label, text, _) in enumerate(STYLES)],
        get=_style_index,
        set=_apply_style,
    )
    variation_count: IntProperty(name="Variations", description="How many to choose from", default=4, min=2, max=12, soft_max=6)
    strip: PointerProperty(type=TETRAVIEW_PG_strip)
    front: _photo_property("front", "its front")
    right: _photo_property("right", "its right side: the camera stands on +X, a quarter turn counter-clockwise from the front")
    back: _photo_property("back", "behind")
    left: _photo_property("left", "its left side: the camera stands on -X")
    front_photo: StringProperty(options={"HIDDEN"})  # the photos' tokens: the file says no more of them
    right_photo: StringProperty(options={"HIDDEN"})
    back_photo: StringProperty(options={"HIDDEN"})
    left_photo: StringProperty(options={"HIDDEN"})
    object_name: StringProperty(name="Name", description="Name of the new object; empty takes it from the prompt or the photos")
    poly_preset: EnumProperty(
        name="Preset",
        items=[(key, label, text, index) for index, (key, label, text, _) in enumerate(POLY_PRESETS)]
        + [("CUSTOM", "Custom", "A number of your own", len(POLY_PRESETS))],
        get=_preset_index,
        set=_apply_preset,
    )

    def photos(self) -> dict[str, str]:
        """Absolute path of each photo that is chosen, keyed by view; none where the source is the prompt."""
        if self.source == "PROMPT":
            return {}
        return {name: path for name in VIEW_NAMES if (path := getattr(self, name))}

    def request(self, context, output_dir: str, views_dir: str | None = None) -> GenerateRequest:
        """These settings as the frozen request that the engine takes; nothing is checked here."""
        preferences = addon_preferences(context)
        return GenerateRequest(
            photos=self.photos(),
            output_dir=output_dir,
            views_dir=views_dir,
            device=preferences.device,
            generator=chosen_generator(context),
            **values_of(self),
        )

    def adopt(self, request: GenerateRequest) -> None:
        """Take over the settings of an earlier request, but for its views."""
        for name in VIEW_NAMES:
            setattr(self, name, request.photos.get(name, ""))
        self.source = "PHOTOS" if request.photos else "PROMPT"
        adopt_values(self, request)

    def views_key(self) -> str:
        """The key of the views; equal to the strip's if the strip shows these settings."""
        return GenerateRequest(photos=self.photos(), output_dir="", **values_of(self)).views_key()

    def strip_is_current(self) -> bool:
        """Whether the mesh is made from the strip as it is; else the views that are not locked are painted again first.

        The photos may have been changed on the disk all the same: `views.photos_stamp` tells.
        """
        return bool(self.strip.job) and (self.strip.key == self.views_key() or len(self.strip.locked()) == len(VIEW_NAMES))


TETRAVIEW_PG_settings.__annotations__ |= properties_of()  # Blender reads the annotations when the class is registered

CLASSES = (TETRAVIEW_PG_strip, TETRAVIEW_PG_settings, TETRAVIEW_PG_status)


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
