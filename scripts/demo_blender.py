"""The whole product in Blender without a window: prompt or photos -> four views -> orbit preview -> mesh.

Writes the views (strip.png), the orbit preview that is there before the mesh (orbit_views.gif), .blend, .glb, an orbit of the
mesh (orbit.gif) and a picture of it. Runs in pip bpy: enables the real extension from this folder in a Blender profile of its
own, presses the real buttons, and prints how long each phase took. Without a prompt it takes the four photos, and then, if
the generator's weights are there, a prompt as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ADDON = "bl_ext.user_default.tetraview"
VIEWS = ("front", "right", "back", "left")
GENERATOR = ROOT / "engine" / "weights" / "starter" / "generator"
DEFAULT_PROMPT = "a red armchair"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", help="what to make; without it, the photos are taken first")
    parser.add_argument("--seed", type=int, default=0, help="seed of a prompt's views")
    parser.add_argument(
        "--photos", type=Path, default=ROOT / "docs" / "demo" / "photos", help="folder with front, right, back and left"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "demo", help="folder for the results")
    parser.add_argument("--name", default="Delivery Van", help="name of the object of the photos")
    parser.add_argument("--frames", type=int, default=36, help="frames of the orbit GIF")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)

    keep_blender_quiet(output / "blender.log")
    with tempfile.TemporaryDirectory(prefix="tetraview-demo-") as profile:
        os.environ["BLENDER_USER_RESOURCES"] = profile  # before bpy is imported
        os.environ.setdefault("TETRAVIEW_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
        enable_extension(Path(profile))
        try:
            if arguments.prompt:
                from_prompt(arguments, arguments.prompt, output)
            else:
                from_photos(arguments, output)
                if has_generator():
                    from_prompt(arguments, DEFAULT_PROMPT, output / "prompt")
                else:
                    print("There are no weights of the generator: no prompt is shown.")
        finally:  # pip bpy hangs at exit while classes are registered
            import addon_utils

            addon_utils.disable(ADDON)
    return 0


def keep_blender_quiet(log: Path) -> None:
    """Send what Blender itself prints, a line for each sample that Cycles renders, to a file; Python keeps the terminal."""
    sys.stdout.flush()
    terminal = os.dup(1)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
    sys.stdout = os.fdopen(terminal, "w", buffering=1)
    print(f"What Blender prints is in {log}")


def enable_extension(profile: Path) -> None:
    """Link this folder into the profile as an installed extension, and switch it on as the preferences would."""
    folder = profile / "extensions" / "user_default"
    folder.mkdir(parents=True)
    (folder / "tetraview").symlink_to(ROOT, target_is_directory=True)
    import bpy  # noqa: F401  brings addon_utils
    import addon_utils  # isort: skip

    if addon_utils.enable(ADDON, default_set=True) is None:
        sys.exit("The extension could not be enabled.")


def has_generator() -> bool:
    """Whether views can be painted."""
    return bool(os.environ.get("TETRAVIEW_GENERATOR")) or (GENERATOR / "model_index.json").is_file()


def from_photos(arguments: argparse.Namespace, output: Path) -> None:
    """The four photos, all the way."""
    import bpy

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    files = [{"name": path.name} for path in sorted(arguments.photos.iterdir()) if path.stem in VIEWS]
    bpy.ops.tetraview.choose_photos(directory=str(arguments.photos), files=files)
    bpy.context.scene.tetraview.object_name = arguments.name
    print(f"Blender {bpy.app.version_string}, {len(files)} photos from {arguments.photos}")
    make(arguments, output)


def from_prompt(arguments: argparse.Namespace, prompt: str, output: Path) -> None:
    """A prompt, all the way."""
    import bpy

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.scene.tetraview.prompt, bpy.context.scene.tetraview.seed = prompt, arguments.seed
    print(f'Blender {bpy.app.version_string}, "{prompt}", seed {arguments.seed}')
    make(arguments, output)


def make(arguments: argparse.Namespace, output: Path) -> None:
    """Press the buttons one after the other, and write the results."""
    import bpy

    output.mkdir(parents=True, exist_ok=True)
    settings, status = bpy.context.scene.tetraview, bpy.context.window_manager.tetraview
    with timed("four views, engine starting cold where it is new"):
        bpy.ops.tetraview.paint_views()
    for warning in settings.strip.warnings.splitlines():
        print(f"  warning: {warning}")
    write_strip([settings.strip.path(name) for name in VIEWS], output / "strip.png")
    with timed("orbit preview of 24 frames, before the mesh"):
        bpy.ops.tetraview.orbit_views()
    bpy.ops.tetraview.save_orbit(kind="GIF", filepath=str(output / "orbit_views.gif"))
    with timed("views to object in the scene"):
        bpy.ops.tetraview.generate()
    obj = bpy.context.view_layer.objects.active
    job = Path(status.result_folder)
    for phase, seconds in json.loads((job / "timings.json").read_text(encoding="utf-8")).items():
        print(f"  {phase:44} {seconds:6.2f} s" if isinstance(seconds, (int, float)) else f"  {phase}: {seconds}")
    print(f"{obj.name}: {len(obj.data.polygons):,} triangles, {len(obj.data.vertices):,} vertices")

    shutil.copyfile(job / "asset.glb", output / "asset.glb")
    bpy.ops.wm.save_as_mainfile(filepath=str(output / "demo.blend"), copy=True)
    render_preview(obj, output / "preview.png")
    with timed(f"orbit of {arguments.frames} frames (Cycles)"):
        bpy.ops.tetraview.orbit_preview(
            output="GIF", filepath=str(output / "orbit.gif"), frames=arguments.frames, size_px=320, engine="CYCLES"
        )
    for name in ("strip.png", "orbit_views.gif", "demo.blend", "asset.glb", "orbit.gif", "preview.png"):
        print(f"{output / name}  {(output / name).stat().st_size / 1e6:.2f} MB")


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    started = time.perf_counter()
    yield
    print(f"{what:46} {time.perf_counter() - started:6.1f} s")


def write_strip(paths: list[str], target: Path) -> None:
    """The views side by side on white, at half their size."""
    import bpy
    import numpy as np

    views = []
    for path in paths:
        image = bpy.data.images.load(path, check_existing=False)
        image.colorspace_settings.name = "Non-Color"
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
        rgba = pixels.reshape(height, width, 4)
        on_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        views.append(on_white.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)))
    row = np.concatenate(views, 1)  # [S / 2, 2 S, 3]
    strip = bpy.data.images.new("strip", row.shape[1], row.shape[0])
    strip.colorspace_settings.name = "Non-Color"
    strip.pixels.foreach_set(np.concatenate([row, np.ones_like(row[..., :1])], -1).astype(np.float32).ravel())
    strip.filepath_raw, strip.file_format = str(target), "PNG"
    strip.save()
    bpy.data.images.remove(strip)


def render_preview(obj: Any, path: Path) -> None:
    """One picture by Cycles, three quarters from the front, on a ground that takes the shadow."""
    import importlib

    import bpy

    turntable = importlib.import_module(f"{ADDON}.operators.turntable")
    scene = turntable.build_turntable(
        [obj], bpy.context.scene, frames=12, size_px=640, elevation=math.radians(24), engine="CYCLES"
    )
    ground_mesh = bpy.data.meshes.new("Ground")
    ground_mesh.from_pydata([(-40, -40, 0), (40, -40, 0), (40, 40, 0), (-40, 40, 0)], [], [(0, 1, 2, 3)])
    ground = bpy.data.objects.new("Ground", ground_mesh)
    ground.location = obj.location
    scene.collection.objects.link(ground)
    scene.cycles.samples = 96
    turntable.render_frame(scene, 12, str(path))  # 30 degrees to the left of the front
    turntable.remove_turntable(scene)
    bpy.data.meshes.remove(ground_mesh)


if __name__ == "__main__":
    sys.exit(main())
