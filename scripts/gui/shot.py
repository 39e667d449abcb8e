"""Runs inside a Blender window: install the extension, press its buttons, take a picture of the screen, quit.

    blender --factory-startup --python shot.py -- EXTENSION.zip PHOTOS PICTURE.png [PROMPT [LAST]]

With a prompt: its views, the orbit preview, the mesh; LAST ("views" or "orbit") ends earlier. Without: the mesh of the photos.
A Blender with a window does not quit when its script fails, so every step is guarded. The picture is taken by ImageMagick of
the whole virtual screen: Blender's own screenshot operator writes black under software GL.
"""

import math
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from mathutils import Quaternion

ZIP, PHOTOS, PICTURE, *REST = sys.argv[sys.argv.index("--") + 1 :]
PROMPT, LAST = [*REST, "", ""][:2]
LIMIT_S = 300.0
started = time.monotonic()


def say(*words: object) -> None:
    print(f"[{time.monotonic() - started:5.1f} s]", *words, flush=True)


def view_3d() -> tuple[Any, Any, Any, Any]:
    """The window, 3-D viewport, its main region and its sidebar."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    regions = {region.type: region for region in area.regions}
    return window, area, regions["WINDOW"], regions["UI"]


def prepare() -> float:
    _, area, _, _ = view_3d()
    for obj in list(bpy.data.objects):  # the start-up scene's cube, camera and light
        bpy.data.objects.remove(obj)
    space = area.spaces.active
    space.show_region_ui = True
    space.shading.type, space.shading.color_type, space.shading.light = "SOLID", "TEXTURE", "STUDIO"
    space.overlay.show_cursor = False
    if PROMPT:
        bpy.context.scene.tetraview.prompt = PROMPT
        return 1.0
    for name in ("front", "right", "back", "left"):
        (path,) = Path(PHOTOS).glob(f"*{name}.*")
        setattr(bpy.context.scene.tetraview, name, str(path))
    return 1.0


def show_tab() -> float:
    _, area, _, sidebar = view_3d()
    sidebar.active_panel_category = "Tetraview"  # may be set only once the sidebar has been drawn
    area.tag_redraw()
    return 1.0


def press(operator: str) -> Callable[[], float]:
    """A step that presses a button as the artist does: the job runs on behind the window."""

    def step() -> float:
        window, area, region, _ = view_3d()
        with bpy.context.temp_override(window=window, area=area, region=region):
            say(operator, getattr(bpy.ops.tetraview, operator)("INVOKE_DEFAULT"))
        return 1.0

    return step


def wait() -> float | None:
    status = bpy.context.window_manager.tetraview
    if status.running and time.monotonic() - started < LIMIT_S:
        return None
    if status.error or status.running:
        Path(PICTURE).with_name("failed").write_text(status.error or "no result in time")
    say(status.note, status.error)
    return 0.5


def frame() -> float:
    window, area, region, _ = view_3d()
    view = area.spaces.active.region_3d
    view.view_rotation = Quaternion((0, 0, 1), math.radians(30)) @ Quaternion((1, 0, 0), math.radians(72))
    with bpy.context.temp_override(window=window, area=area, region=region):
        bpy.ops.view3d.view_selected()
    view.view_distance *= 1.6  # the sidebar covers a third of the view
    return 3.0


def shoot() -> float:
    _, area, _, sidebar = view_3d()
    area.tag_redraw()
    sidebar.tag_redraw()
    return 2.0


def finish() -> float:
    subprocess.run(["import", "-window", "root", PICTURE], check=True, timeout=60)
    say("saved", PICTURE)
    bpy.ops.wm.quit_blender()
    return 1.0


STEPS: list[Callable[[], float | None]] = [prepare, show_tab]
if PROMPT:
    STEPS += [press("paint_views"), wait]
if PROMPT and LAST != "views":
    STEPS += [press("orbit_views"), wait]
if not LAST:
    STEPS += [press("generate"), wait, frame]
STEPS += [shoot, finish]


def tick() -> float | None:
    """Run the next step; `wait` asks to be run again by returning None."""
    try:
        pause = STEPS[0]()
    except Exception:
        traceback.print_exc()
        Path(PICTURE).with_name("failed").write_text(f"{STEPS[0].__name__}: {traceback.format_exc(limit=1)}")
        STEPS[:] = [shoot, finish] if STEPS[0] is not finish else [bpy.ops.wm.quit_blender]
        return 1.0
    if pause is None:
        return 0.5
    STEPS.pop(0)
    return pause if STEPS else None


bpy.context.preferences.view.show_splash = False
say(bpy.app.version_string, sys.version.split()[0])
try:
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True, overwrite=True)
except RuntimeError:
    traceback.print_exc()
    bpy.ops.wm.quit_blender()
bpy.app.timers.register(tick, first_interval=1.5)
