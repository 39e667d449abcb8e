"""What the artist sets: `Scene.tetraview`. Saved with the .blend, and it follows undo.

Panels take everything they need of this package from here; the strip is in `strip.py`, the state of a job in `status.py`.
"""

import json
import math
import os

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from ..engine.types import (
    GUIDANCE_RANGE,
    MAX_PROMPT_LETTERS,
    OBJECT_SIZE_RANGE,
    POLY_BUDGET_RANGE,
    STEPS_RANGE,
    TEXTURE_SIZES_PX,
    VIEW_NAMES,
    GenerateRequest,
)
from . import session
from .pictures import icon_of
from .status import TETRAVIEW_PG_status
from .strip import TETRAVIEW_PG_strip

__all__ = ["POLY_PRESETS", "REQUEST_KEY", "VIEW_NAMES", "addon_id", "addon_preferences", "engine_changed", "icon_of"]

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

SEED_LIMIT = 2**31 - 1


def addon_id() -> str:
    """The extension's own module name (`bl_ext.<repository>.tetraview`): the key of its preferences."""
    return __package__.rpartition(".")[0]


def addon_preferences(context):
    """The extension's preferences."""
    return context.preferences.addons[addon_id()].preferences


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
        update=lambda settings, _: _photo_chosen(settings, view),
    )


def _photo_chosen(settings, view: str) -> None:
    if getattr(settings, view):
        settings.source = "PHOTOS"


class TETRAVIEW_PG_settings(bpy.types.PropertyGroup):
    """What to make, and how: one per scene."""

    source: EnumProperty(
        name="Source",
        description="What the four views come from",
        items=(
            ("PROMPT", "Prompt", "Write what you want: all four views are painted", "TEXT", 0),
            ("PHOTOS", "Photos", "One to four photos: the views that none shows are painted", "IMAGE_DATA", 1),
        ),
    )
    prompt: StringProperty(
        name="Prompt",
        description="What the object is, such as: a red armchair",
        maxlen=MAX_PROMPT_LETTERS,
        options={"TEXTEDIT_UPDATE"},
    )
    style: EnumProperty(
        name="Style",
        description="Words at the end of the prompt",
        items=[(key, label, text, index) for index, (key, label, text, _) in enumerate(STYLES)],
        get=_style_index,
        set=_apply_style,
    )
    negative_prompt: StringProperty(name="Avoid", description="What the object must not be", maxlen=MAX_PROMPT_LETTERS)
    steps: IntProperty(
        name="Steps",
        description="Runs of the painter: more are slower, and finer up to a point",
        default=GenerateRequest.steps,
        min=STEPS_RANGE[0],
        max=STEPS_RANGE[1],
        soft_max=20,
    )
    guidance: FloatProperty(
        name="Guidance",
        description="How closely the prompt is followed",
        default=GenerateRequest.guidance,
        min=GUIDANCE_RANGE[0],
        max=GUIDANCE_RANGE[1],
        soft_max=10.0,
    )
    object_size: FloatProperty(
        name="Object Size",
        description="How much of its view the object fills, where painting does not begin from an example",
        subtype="FACTOR",
        default=GenerateRequest.object_size,
        min=OBJECT_SIZE_RANGE[0],
        max=OBJECT_SIZE_RANGE[1],
    )
    use_examples: BoolProperty(
        name="Start from Examples",
        description="Begin with the known object whose description is nearest to the prompt, instead of with grey blobs",
        default=GenerateRequest.use_examples,
    )
    variation_count: IntProperty(name="Variations", description="How many to choose from", default=4, min=2, max=12, soft_max=6)
    strip: PointerProperty(type=TETRAVIEW_PG_strip)
    front: _photo_property("front", "its front")
    right: _photo_property("right", "its right side: the camera stands on +X, a quarter turn counter-clockwise from the front")
    back: _photo_property("back", "behind")
    left: _photo_property("left", "its left side: the camera stands on -X")
    object_name: StringProperty(name="Name", description="Name of the new object; empty takes it from the prompt or the photos")
    cutout: EnumProperty(
        name="Cut-out",
        description="How the object is separated from its background",
        items=(
            (
                "auto",
                "Automatic",
                "Use the photo's transparency if it has any, else find the background; a small network helps where it is busy",
            ),
            ("alpha", "Transparency", "Trust the transparency of the photos"),
            ("plain", "Plain Background", "Photos taken before a plain wall, cloth or table"),
            ("birefnet", "BiRefNet", "A neural cut-out for busy backgrounds; needs its weights on this computer"),
        ),
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
        default=GenerateRequest.poly_budget,
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
    find_elevation: BoolProperty(
        name="Find Elevation",
        description="With photos of all four sides: look for the elevation they were taken at, beginning with this one. "
        "Renders with a transparent background keep the one above",
        default=True,
    )
    seed: IntProperty(
        name="Seed", description="Same prompt or photos, settings and seed: same views and mesh", default=0, min=0, max=SEED_LIMIT
    )

    def photos(self) -> dict[str, str]:
        """Absolute path of each photo that is chosen, keyed by view; none where the source is the prompt."""
        if self.source == "PROMPT":
            return {}
        return {name: bpy.path.abspath(getattr(self, name)) for name in VIEW_NAMES if getattr(self, name)}

    def request(self, context, output_dir: str, views_dir: str | None = None) -> GenerateRequest:
        """These settings as the frozen request that the engine takes; nothing is checked here."""
        preferences = addon_preferences(context)
        return GenerateRequest(
            photos=self.photos(),
            output_dir=output_dir,
            prompt=self.prompt.strip(),
            negative_prompt=self.negative_prompt.strip(),
            views_dir=views_dir,
            poly_budget=self.poly_budget,
            texture_px=int(self.texture_px),
            elevation_deg=round(math.degrees(self.elevation), 3),
            find_elevation=self.find_elevation,
            cutout=self.cutout,
            device=preferences.device,
            generator=os.environ.get("TETRAVIEW_GENERATOR") or bpy.path.abspath(preferences.generator) or None,
            seed=self.seed,
            steps=self.steps,
            guidance=round(self.guidance, 4),
            object_size=round(self.object_size, 4),
            use_examples=self.use_examples,
        )

    def adopt(self, request: GenerateRequest) -> None:
        """Take over the settings of an earlier request, but for its views."""
        for name in VIEW_NAMES:
            setattr(self, name, request.photos.get(name, ""))
        self.source = "PHOTOS" if request.photos else "PROMPT"
        for name in (
            "prompt",
            "negative_prompt",
            "steps",
            "guidance",
            "object_size",
            "use_examples",
            "poly_budget",
            "seed",
            "cutout",
            "find_elevation",
        ):
            setattr(self, name, getattr(request, name))
        self.texture_px = str(request.texture_px)
        self.elevation = math.radians(request.elevation_deg)

    def views_key(self) -> str:
        """What the views depend on. The same as the strip's: the strip stands for these settings."""
        photos = self.photos()
        painting = [
            self.prompt.strip(), self.negative_prompt.strip(), self.seed, self.steps, round(self.guidance, 4),
            round(self.object_size, 4), self.use_examples,
        ]  # fmt: skip
        return json.dumps(
            [photos, [self.cutout, self.find_elevation] if photos else "", painting if len(photos) < len(VIEW_NAMES) else ""],
            sort_keys=True,
        )

    def strip_is_current(self) -> bool:
        """Whether the mesh is made from the strip as it is; else its views that are not locked are made anew first.

        The photos may have been changed on the disk all the same: `views.photos_stamp` tells.
        """
        return bool(self.strip.folder) and (self.strip.key == self.views_key() or len(self.strip.locked()) == len(VIEW_NAMES))


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
