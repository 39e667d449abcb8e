"""The whole product in Blender without a window: four photos -> .blend, .glb, orbit GIF and preview picture.

Runs in pip bpy. Enables the real extension from this folder in a Blender profile of its own, presses the real buttons, and
prints how long each phase took.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDON = "bl_ext.user_default.tetraview"
VIEWS = ("front", "right", "back", "left")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photos", type=Path, default=ROOT / "docs" / "demo" / "photos", help="folder with front, right, back and left"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "demo", help="folder for the results")
    parser.add_argument("--name", default="Delivery Van", help="name of the object")
    parser.add_argument("--frames", type=int, default=36, help="frames of the orbit GIF")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory(prefix="tetraview-demo-") as profile:
        os.environ["BLENDER_USER_RESOURCES"] = profile  # before bpy is imported
        os.environ.setdefault("TETRAVIEW_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
        enable_extension(Path(profile))
        try:
            run(arguments, output)
        finally:  # pip bpy hangs at exit while classes are registered
            import addon_utils

            addon_utils.disable(ADDON)
    return 0


def enable_extension(profile: Path) -> None:
    """Link this folder into the profile as an installed extension, and switch it on as the preferences would."""
    folder = profile / "extensions" / "user_default"
    folder.mkdir(parents=True)
    (folder / "tetraview").symlink_to(ROOT, target_is_directory=True)
    import bpy  # noqa: F401  brings addon_utils
    import addon_utils  # isort: skip

    if addon_utils.enable(ADDON, default_set=True) is None:
        sys.exit("The extension could not be enabled.")


def run(arguments: argparse.Namespace, output: Path) -> None:
    """Press the buttons and write the results."""
    import bpy

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene, status = bpy.context.scene, bpy.context.window_manager.tetraview
    files = [{"name": path.name} for path in sorted(arguments.photos.iterdir()) if path.stem in VIEWS]
    bpy.ops.tetraview.choose_photos(directory=str(arguments.photos), files=files)
    scene.tetraview.object_name = arguments.name
    print(f"Blender {bpy.app.version_string}, {len(files)} photos from {arguments.photos}")

    started = time.perf_counter()
    bpy.ops.tetraview.preview_cutout()
    print(f"cut-outs, engine starting cold   {time.perf_counter() - started:6.1f} s")
    for warning in status.warnings.splitlines():
        print(f"  warning: {warning}")
    started = time.perf_counter()
    bpy.ops.tetraview.generate()
    elapsed = time.perf_counter() - started
    obj = bpy.context.view_layer.objects.active
    job = Path(status.result_folder)
    for phase, seconds in json.loads((job / "timings.json").read_text(encoding="utf-8")).items():
        print(f"  {phase:30} {seconds:6.2f} s" if isinstance(seconds, (int, float)) else f"  {phase}: {seconds}")
    print(f"photos to object in the scene    {elapsed:6.1f} s")
    print(f"{obj.name}: {len(obj.data.polygons):,} triangles, {len(obj.data.vertices):,} vertices")

    shutil.copyfile(job / "asset.glb", output / "asset.glb")
    bpy.ops.wm.save_as_mainfile(filepath=str(output / "demo.blend"), copy=True)
    render_preview(obj, output / "preview.png")
    started = time.perf_counter()
    bpy.ops.tetraview.orbit_preview(
        output="GIF", filepath=str(output / "orbit.gif"), frames=arguments.frames, size_px=320, engine="CYCLES"
    )
    print(f"orbit of {arguments.frames} frames (Cycles)     {time.perf_counter() - started:6.1f} s")
    for name in ("demo.blend", "asset.glb", "orbit.gif", "preview.png"):
        print(f"{output / name}  {(output / name).stat().st_size / 1e6:.2f} MB")


def render_preview(obj, path: Path) -> None:
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
