"""Runs inside a Blender window: a mesh arrives while the artist holds a tool; nothing may crash, change or be lost.

    blender --factory-startup --enable-event-simulate --python modal_tools.py -- EXTENSION.zip PHOTOS REPORT [PASSES [NAME]]

NAME is a part of the names of the tools to try; all are tried if it is left out.

One real job is run first. Its events are then delivered again, through the add-on's own path, by a child process that ends while
a tool is held: a stroke with the mouse button down, a transform, a cut. REPORT gets a line a tool, and at last "passed" or
"failed"; if Blender crashes, it ends before that.
"""

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bpy

ZIP, PHOTOS, REPORT, *REST = sys.argv[sys.argv.index("--") + 1 :]
PASSES = int(REST[0]) if REST else 1
ONLY = REST[1] if len(REST) > 1 else ""
CHILD_S, HELD_AFTER_S, LIMIT_S = 0.6, 1.0, 20.0
Steps = Iterator[float]


@dataclass(frozen=True)
class Tool:
    """Something that an artist holds.

    Attributes:
        name: What it is called in the report.
        mode: Mode of the object that it works on.
        operator: What is invoked, such as "transform.translate"; empty for a stroke, which begins with the mouse button.
        options: Its arguments.
        presses: Whether the mouse button goes down after it has begun.
        ends: Key that ends it.
        kind: Type of the object.
    """

    name: str
    mode: str = "OBJECT"
    operator: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    presses: bool = False
    ends: str = "RET"
    kind: str = "MESH"


def stroke(name: str, mode: str, kind: str = "MESH") -> Tool:
    return Tool(name, mode, presses=True, ends="", kind=kind)


TOOLS = [
    Tool("grab an object", operator="transform.translate"),
    Tool("rotate an object", operator="transform.rotate"),
    Tool("scale an object", operator="transform.resize"),
    Tool("select with a box", operator="view3d.select_box", presses=True, ends=""),
    Tool("select with a circle", operator="view3d.select_circle", ends="ESC"),
    Tool("orbit the view", operator="view3d.rotate", ends="ESC"),
    Tool("pan the view", operator="view3d.move", ends="ESC"),
    Tool("walk through the scene", operator="view3d.walk", ends="ESC"),
    Tool("fly through the scene", operator="view3d.fly", ends="ESC"),
    Tool("border a render region", operator="view3d.render_border", presses=True, ends=""),
    Tool("a tool of another add-on", operator="probe.hold", ends="ESC"),
    Tool("grab in Edit Mode", "EDIT", "transform.translate"),
    Tool("bevel", "EDIT", "mesh.bevel"),
    Tool("extrude", "EDIT", "mesh.extrude_region_move"),
    Tool("inset", "EDIT", "mesh.inset"),
    Tool("loop cut", "EDIT", "mesh.loopcut_slide", presses=True),
    Tool("knife", "EDIT", "mesh.knife_tool", presses=True),
    Tool("bisect", "EDIT", "mesh.bisect", presses=True, ends=""),
    Tool("slide a vertex", "EDIT", "transform.vert_slide"),
    Tool("shear", "EDIT", "transform.shear"),
    stroke("sculpt", "SCULPT"),
    stroke("paint vertices", "VERTEX_PAINT"),
    stroke("paint weights", "WEIGHT_PAINT"),
    stroke("paint a texture", "TEXTURE_PAINT"),
    Tool("grab a bone", "POSE", "transform.rotate", kind="ARMATURE"),
    Tool("grab points of a curve", "EDIT", "transform.translate", kind="CURVE"),
]


class PROBE_OT_hold(bpy.types.Operator):  # type: ignore[misc]
    """A modal operator like that of any other add-on"""

    bl_idname = "probe.hold"
    bl_label = "Hold"

    def invoke(self, context: Any, event: Any) -> set[str]:
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        return {"FINISHED"} if event.type == "ESC" else {"RUNNING_MODAL"}


class Replay:
    """A job whose real child process ends after a while; then it hands over the events of an earlier job."""

    def __init__(self, events: list[Any]) -> None:
        self._events = list(events)
        self.child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({CHILD_S})"])

    @property
    def ended(self) -> bool:
        return self.child.poll() is not None

    @property
    def done(self) -> bool:
        return self.ended and not self._events

    def poll(self) -> list[Any]:
        events, self._events = (self._events, []) if self.ended else ([], self._events)
        return events

    def cancel(self) -> None:
        self.child.kill()


def say(*words: object) -> None:
    line = " ".join(str(word) for word in words)
    print(line, flush=True)
    with open(REPORT, "a", encoding="utf-8") as report:
        report.write(line + "\n")


def viewport() -> tuple[Any, Any, Any]:
    """The window, the 3-D viewport and its main region."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return window, area, next(region for region in area.regions if region.type == "WINDOW")


def middle() -> tuple[int, int]:
    _, _, region = viewport()
    return region.x + region.width // 2, region.y + region.height // 2


def move(dx: int = 0, dy: int = 0) -> None:
    x, y = middle()
    viewport()[0].event_simulate(type="MOUSEMOVE", value="NOTHING", x=x + dx, y=y + dy)


def key(kind: str, value: str) -> None:
    x, y = middle()
    viewport()[0].event_simulate(type=kind, value=value, x=x, y=y)


def modal_operators() -> list[str]:
    return [operator.bl_idname for operator in viewport()[0].modal_operators]


def call(operator: str, *arguments: Any, **options: Any) -> set[str]:
    window, area, region = viewport()
    package, name = operator.split(".")
    with bpy.context.temp_override(window=window, area=area, region=region):
        return getattr(getattr(bpy.ops, package), name)(*arguments, **options)


def wait_until(met: Callable[[], bool], what: str) -> Steps:
    """Steps that wait until something is met.

    Raises:
        AssertionError: It is not, in time.
    """
    until = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < until, f"{what}: not in {LIMIT_S:.0f} s"
        yield 0.1


def subject(tool: Tool) -> Any:
    """A fresh object for a tool, active, selected and in its mode."""
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        call("object.mode_set", mode="OBJECT")
    call("object.select_all", action="SELECT")
    call("object.delete", use_global=False)
    if tool.kind == "MESH":
        call("mesh.primitive_grid_add", x_subdivisions=12, y_subdivisions=12, size=3)
        call("mesh.uv_texture_add") if not bpy.context.object.data.uv_layers else None
    elif tool.kind == "CURVE":
        call("curve.primitive_bezier_circle_add", radius=1)
    else:
        call("object.armature_add")
    obj = bpy.context.object
    obj.name = "mine"
    if tool.mode == "TEXTURE_PAINT":
        image = bpy.data.images.get("canvas") or bpy.data.images.new("canvas", 128, 128)
        bpy.context.scene.tool_settings.image_paint.mode = "IMAGE"
        bpy.context.scene.tool_settings.image_paint.canvas = image
    if tool.mode != "OBJECT":
        call("object.mode_set", mode=tool.mode)
    if tool.mode == "POSE":
        call("pose.select_all", action="SELECT")
    view = viewport()[1].spaces.active.region_3d
    view.view_perspective, view.view_distance = "PERSP", 8.0
    call("view3d.view_axis", type="TOP")
    return obj


def state(context: Any) -> tuple[Any, ...]:
    """What must not change behind the artist's back."""
    active = context.view_layer.objects.active
    return active.name, active.mode, sorted(obj.name for obj in context.view_layer.objects.selected), len(bpy.data.objects)


def meshes_made() -> list[Any]:
    return [obj for obj in bpy.data.objects if obj.name != "mine"]


def try_tool(tool: Tool, module: Any, events: list[Any]) -> Steps:
    """Hold a tool while a result arrives, let it go, and have the result placed once.

    Raises:
        AssertionError: Something changed, or was lost.
    """
    session, arrival = module("operators.session"), module("operators.arrival")
    subject(tool)
    yield 0.5
    call("ed.undo_push", message="ready")
    # The job starts, and the tool.
    task = module("operators.generate").GenerateTask()

    def submit(request: Any, name: str, stop_after: str | None) -> Replay:
        task._request = request
        return Replay(events)

    task.submit = submit
    run = module("operators.task").TaskRun(task)
    assert run.start(bpy.context), run.outcome
    bpy.app.timers.register(module("operators.task").advance, first_interval=0.1, persistent=True)
    move()
    yield 0.1
    if tool.operator:
        answer = call(tool.operator, "INVOKE_DEFAULT", **dict(tool.options))
        assert answer == {"RUNNING_MODAL"}, f"{tool.operator} answers {answer}"
    if tool.presses:
        key("LEFTMOUSE", "PRESS")
    yield from wait_until(lambda: bool(modal_operators()), "the tool begins")
    held, before = modal_operators(), state(bpy.context)
    # It is held until well after the job has ended.
    ended, step = 0.0, 0
    while not ended or time.monotonic() - ended < HELD_AFTER_S:
        step += 1
        move(10 * (step % 7) - 30, 8 * (step % 5) - 16)
        yield 0.05
        assert modal_operators() == held, f"{held} became {modal_operators()}"
        assert state(bpy.context) == before, f"{before} became {state(bpy.context)}"
        ended = ended or (time.monotonic() if run._job.ended else 0.0)
    # Let go.
    if tool.presses:
        key("LEFTMOUSE", "RELEASE")
        yield 0.1
    if modal_operators() and tool.ends:
        key(tool.ends, "PRESS")
        key(tool.ends, "RELEASE")
    yield from wait_until(lambda: not modal_operators(), "the tool ends")
    mode = bpy.context.object.mode
    assert mode == before[1], f"mode {before[1]} became {mode}"
    # In Object Mode the mesh is placed by itself, in others when it is asked for.
    if mode == "OBJECT":
        yield from wait_until(lambda: bool(meshes_made()), "the mesh is placed")
    else:
        yield from wait_until(lambda: bool(session.ready_results), "the mesh is ready")
        yield 0.6
        assert not meshes_made() and bpy.context.object.mode == mode
        assert call("tetraview.place_result") == {"FINISHED"}
        assert bpy.context.object.mode == mode, f"placing changed the mode to {bpy.context.object.mode}"
    yield 0.6
    assert len(meshes_made()) == 1 and not session.ready_results, "placed once"
    assert bpy.context.view_layer.objects.active.name == "mine" or mode == "OBJECT"
    assert not session.is_busy() and arrival.is_calm(bpy.context)
    # Undo still works. Where every step holds the scene, one takes the mesh away, and Redo brings it back.
    call("ed.undo")
    yield 0.3
    assert mode in ("EDIT", "SCULPT") or not meshes_made(), "undo takes the mesh away"
    call("ed.redo")
    yield 0.3
    assert len(meshes_made()) == 1, "redo brings the mesh back"


def real_job(module: Any, events: list[Any]) -> Steps:
    """One mesh by the engine; its events are kept."""
    settings = bpy.context.scene.tetraview
    for name in ("front", "right", "back", "left"):
        setattr(settings, name, f"{PHOTOS}/{name}.png")
    task_class = module("operators.generate").GenerateTask
    handle = task_class.handle

    def kept(self: Any, context: Any, event: Any) -> None:
        events.append(event)
        handle(self, context, event)

    task_class.handle = kept
    call("tetraview.generate", "INVOKE_DEFAULT")
    until = time.monotonic() + 200
    while bpy.context.window_manager.tetraview.running:
        assert time.monotonic() < until, "the real job takes too long"
        yield 0.5
    task_class.handle = handle
    assert not bpy.context.window_manager.tetraview.error, bpy.context.window_manager.tetraview.error
    assert len(events) > 1, "the real job told nothing"


def script() -> Steps:
    package = next(name for name in sys.modules if name.endswith(".tetraview"))

    def module(name: str) -> Any:
        return sys.modules[f"{package}.{name}"]

    events: list[Any] = []
    yield 1.0
    yield from real_job(module, events)
    events = [event for event in events if type(event).__name__ in ("Views", "Asset")]
    failed = 0
    for number in range(PASSES):
        for tool in (tool for tool in TOOLS if ONLY in tool.name):
            try:
                yield from try_tool(tool, module, events)
                say(f"pass {number + 1}: {tool.name}: held, kept, placed once")
            except Exception as error:
                failed += 1
                say(f"pass {number + 1}: {tool.name}: FAILED: {type(error).__name__}: {error}")
                traceback.print_exc()
                for kind in ("LEFTMOUSE", "ESC", "RET"):
                    key(kind, "RELEASE" if kind == "LEFTMOUSE" else "PRESS")
                    yield 0.3
                module("operators.arrival").stop()
                if module("operators.session").current_run() is not None:
                    module("operators.session").current_run().abandon()
                yield 0.5
    say("failed" if failed else "passed", f"{PASSES} passes over {len(TOOLS)} tools, {failed} failures, {bpy.app.version_string}")


def tick() -> float | None:
    try:
        return next(STEPS)
    except StopIteration:
        pass
    except Exception:
        traceback.print_exc()
        say("failed:", traceback.format_exc(limit=2))
    bpy.ops.wm.quit_blender()
    return None


bpy.utils.register_class(PROBE_OT_hold)
bpy.context.preferences.view.show_splash = False
bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True, overwrite=True)
STEPS = script()
bpy.app.timers.register(tick, first_interval=1.5, persistent=True)
