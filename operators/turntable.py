"""A turntable: a scene of its own in which a camera walks once around copies of objects. The user's scene is not touched."""

import math

import bpy
from mathutils import Vector

MARK = "tetraview_turntable"
"""Custom property of everything a turntable made; on its scene, the scene it was made from."""

FPS = 24
ENGINES = {"WORKBENCH": ("BLENDER_WORKBENCH",), "CYCLES": ("CYCLES",), "EEVEE": ("BLENDER_EEVEE", "BLENDER_EEVEE_NEXT")}
LENS_FOV = math.radians(30.0)
MARGIN = 1.08


def build_turntable(
    objects, source: bpy.types.Scene, *, frames: int, size_px: int, elevation: float, engine: str
) -> bpy.types.Scene:
    """A scene with copies of `objects` (sharing their data) and a camera that circles them once in `frames` frames.

    Frame `frames + 1` would equal frame 1: the loop is exact.

    Args:
        objects: Mesh objects; at least one.
        source: The scene they are shown in now.
        frames: Length of the loop.
        size_px: Width and height of the picture.
        elevation: Height of the camera, radians above the horizon.
        engine: A key of `ENGINES`.

    Raises:
        ValueError: No objects.
    """
    if not objects:
        raise ValueError("expected at least one object")
    corners = [obj.matrix_world @ Vector(corner) for obj in objects for corner in obj.bound_box]
    low = Vector(min(corner[axis] for corner in corners) for axis in range(3))
    high = Vector(max(corner[axis] for corner in corners) for axis in range(3))
    centre = (low + high) / 2
    radius = max((high - low).length / 2, 1e-4)
    distance = orbit_distance([corner - centre for corner in corners], elevation)

    scene = bpy.data.scenes.new("Tetraview Turntable")
    scene[MARK] = source
    for obj in objects:
        copy = obj.copy()
        copy.parent = None
        copy.constraints.clear()
        copy.matrix_world = obj.matrix_world
        copy.animation_data_clear()
        _link(scene, copy).select_set(False, view_layer=scene.view_layers[0])
    pivot = _link(scene, bpy.data.objects.new("Turntable Pivot", None))
    pivot.location = centre
    pivot.empty_display_size = radius * 0.1
    camera_data = bpy.data.cameras.new("Turntable Camera")
    camera_data.angle = LENS_FOV
    camera_data.clip_start, camera_data.clip_end = distance * 0.01, distance * 10
    camera = _link(scene, bpy.data.objects.new("Turntable Camera", camera_data))
    camera.parent = pivot
    camera.location = (0.0, -distance * math.cos(elevation), distance * math.sin(elevation))
    camera.rotation_euler = (math.pi / 2 - elevation, 0.0, 0.0)
    scene.camera = camera
    _add_lights(scene, camera, radius)
    _animate(pivot, frames)
    scene.frame_start, scene.frame_end, scene.frame_current = 1, frames, 1
    scene.render.fps = FPS
    scene.render.resolution_x = scene.render.resolution_y = size_px
    scene.render.resolution_percentage = 100
    _set_look(scene, engine)
    return scene


def orbit_distance(points, elevation: float) -> float:
    """Least distance at which a camera circling the origin sees every point from everywhere, with a margin.

    Args:
        points: Vectors from the pivot.
        elevation: Height of the camera, radians above the horizon.
    """
    needed = 1e-3
    for point in points:
        out = math.hypot(point.x, point.y)
        for step in range(72):
            angle = step * math.pi / 36
            across, towards = out * math.sin(angle), out * math.cos(angle)  # the point as the camera passes by
            back = towards * math.cos(elevation) + point.z * math.sin(elevation)
            up = point.z * math.cos(elevation) - towards * math.sin(elevation)
            needed = max(needed, max(abs(across), abs(up)) * MARGIN / math.tan(LENS_FOV / 2) + back)
    return needed


def remove_turntable(scene: bpy.types.Scene) -> None:
    """Remove a turntable and everything made for it; the data that its copies share stays."""
    data = [scene.world]
    for obj in list(scene.collection.objects):
        if obj.animation_data and obj.animation_data.action:
            data.append(obj.animation_data.action)
        if obj.type in {"CAMERA", "LIGHT"}:
            data.append(obj.data)
        data.append(obj)
    bpy.data.scenes.remove(scene)
    bpy.data.batch_remove([block for block in data if block is not None])


def turntable_scenes() -> list[bpy.types.Scene]:
    """The turntables in this file."""
    return [scene for scene in bpy.data.scenes if MARK in scene]


def render_frame(scene: bpy.types.Scene, frame: int, filepath: str) -> None:
    """Render one frame of a turntable, which no window needs to show, to a PNG."""
    scene.frame_set(frame)
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = filepath
    try:
        with bpy.context.temp_override(scene=scene):  # render(scene=...) would take the frame of the scene that is shown
            bpy.ops.render.render(write_still=True)
    finally:
        scene.render.filepath = ""  # the file may be saved before the turntable is removed


def set_engine(scene: bpy.types.Scene, engine: str) -> None:
    """Choose the render engine by a key of `ENGINES`, under the name it has in this Blender."""
    for name in ENGINES[engine]:
        try:
            scene.render.engine = name
            return
        except TypeError:
            continue
    raise ValueError(f"this Blender has no {engine} engine")


def _link(scene, obj):
    scene.collection.objects.link(obj)
    return obj


def _animate(pivot, frames: int) -> None:
    for frame, angle in ((1, 0.0), (frames + 1, 2 * math.pi)):
        pivot.rotation_euler[2] = angle
        pivot.keyframe_insert("rotation_euler", index=2, frame=frame)
    for curve in action_curves(pivot.animation_data.action):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"


def action_curves(action):
    """The F-curves of an action with one slot: they moved into channel bags in Blender 5.0."""
    if hasattr(action, "fcurves"):
        return action.fcurves
    return action.layers[0].strips[0].channelbags[0].fcurves


def _add_lights(scene, camera, radius: float) -> None:
    """A key from the upper left and a fill from the right, both walking with the camera."""
    for name, energy, rotation in (("Key", 1.3, (-0.7, -0.6, 0.0)), ("Fill", 0.4, (-0.1, 0.9, 0.0))):
        light = bpy.data.lights.new(f"Turntable {name}", "SUN")
        light.energy, light.angle = energy, 0.3
        obj = _link(scene, bpy.data.objects.new(light.name, light))
        obj.parent = camera
        obj.rotation_euler = rotation
        obj.location = (0.0, 0.0, radius)


def _set_look(scene, engine: str) -> None:
    set_engine(scene, engine)
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("Turntable World")
    scene.world = world
    world.color = (0.6, 0.6, 0.6)
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    world.node_tree.nodes.clear()
    output = world.node_tree.nodes.new("ShaderNodeOutputWorld")
    background = world.node_tree.nodes.new("ShaderNodeBackground")
    background.inputs["Color"].default_value = (0.8, 0.8, 0.8, 1.0)
    background.inputs["Strength"].default_value = 0.75
    world.node_tree.links.new(background.outputs["Background"], output.inputs["Surface"])
    shading = scene.display.shading
    shading.light, shading.color_type = "STUDIO", "TEXTURE"
    shading.show_object_outline = False
    if engine == "CYCLES":
        scene.cycles.device = "CPU"
        scene.cycles.samples = 16
        scene.cycles.use_denoising = False
        scene.cycles.max_bounces = 3
    elif engine == "EEVEE":
        scene.eevee.taa_render_samples = 16
