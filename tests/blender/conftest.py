"""The real extension in pip bpy: the repository linked into a Blender profile of its own, enabled as Blender does it.

Tests take everything of ours from the `ext` fixture: the same module under another name would be another module.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = {name: str(ROOT / "docs" / "demo" / "photos" / f"{name}.png") for name in ("front", "right", "back", "left")}
ADDON = "bl_ext.user_default.tetraview"

_profile = Path(tempfile.mkdtemp(prefix="tetraview-blender-"))
os.environ["BLENDER_USER_RESOURCES"] = str(_profile)  # before the first `import bpy`
os.environ.setdefault("TETRAVIEW_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
os.environ.pop("TETRAVIEW_HOME", None)


class Traces:
    """What an extension could leave behind in a running Blender."""

    def __init__(self) -> None:
        import bpy

        self.types = set(dir(bpy.types))
        self.operators = set(dir(bpy.ops.tetraview))
        self.scene_properties = {key for cls in (bpy.types.Scene, bpy.types.WindowManager, bpy.types.Object) for key in vars(cls)}
        self.handlers = {key: len(value) for key, value in vars_of_handlers(bpy.app.handlers).items()}
        self.path = list(sys.path)
        self.threads = {thread.name for thread in threading.enumerate()}
        self.modules = set(sys.modules)


def vars_of_handlers(handlers) -> dict[str, list]:
    """Every list of `bpy.app.handlers` by name."""
    return {key: getattr(handlers, key) for key in dir(handlers) if isinstance(getattr(handlers, key), list)}


class Extension:
    """The enabled extension."""

    name = ADDON

    def __init__(self) -> None:
        self.before: Traces | None = None  # of the process before the extension was enabled for the first time

    def module(self, path: str):
        """A module of the extension under the name Blender gives it: `ext.module("engine.types")`."""
        return importlib.import_module(f"{ADDON}.{path}")

    def enable(self) -> None:
        import addon_utils

        assert addon_utils.enable(ADDON, default_set=True) is not None

    def disable(self) -> None:
        import addon_utils

        addon_utils.disable(ADDON, default_set=True)

    @property
    def settings(self):
        import bpy

        return bpy.context.scene.tetraview

    @property
    def status(self):
        import bpy

        return bpy.context.window_manager.tetraview


@pytest.fixture(scope="session")
def installed():
    """The extension, enabled; switched off at the end, else pip bpy hangs at exit."""
    folder = _profile / "extensions" / "user_default"
    folder.mkdir(parents=True)
    (folder / "tetraview").symlink_to(ROOT, target_is_directory=True)
    extension = Extension()
    extension.before = Traces()
    extension.enable()
    try:
        yield extension
    finally:
        extension.disable()
        shutil.rmtree(_profile, ignore_errors=True)


@pytest.fixture
def ext(installed):
    """The extension in an empty scene with default settings, no strip and no error; the engine stays warm between tests."""
    import bpy

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    installed.status.begin("")
    installed.status.result_uid = 0
    installed.module("operators.session").ready_results.clear()
    yield installed
    assert not installed.status.running, "a job outlived its test"


@pytest.fixture
def photos(ext):
    """The four demo photos, chosen in the scene's settings."""
    for name, path in PHOTOS.items():
        setattr(ext.settings, name, path)
    return PHOTOS


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory) -> str:
    """Folder of a four-view generator with random weights, made by the engine's Python: Blender's own has no torch."""
    folder = tmp_path_factory.mktemp("generator")
    code = (
        "import sys, torch; torch.manual_seed(0); torch.set_num_threads(1)\n"
        f"sys.path.append({str(ROOT)!r})\n"
        "from tests.tiny_generators import tiny_components\n"
        "from tetraview.engine.multiview.pipeline import FourViewPipeline\n"
        "parts = tiny_components()\n"
        "last = parts['vae'].decoder.layers[-1]\n"  # untrained, it paints next to nothing: give it contrast
        "torch.nn.init.normal_(last.weight, std=0.3); torch.nn.init.constant_(last.bias, 0.5)\n"
        "FourViewPipeline(**parts).save_pretrained(sys.argv[1])\n"
    )
    subprocess.run([os.environ["TETRAVIEW_ENGINE_PYTHON"], "-I", "-c", code, str(folder)], check=True, timeout=300)
    return str(folder)


@pytest.fixture
def painter(ext, tiny_generator, monkeypatch):
    """The extension with a prompt, two steps of a tiny random generator, and a small mesh."""
    monkeypatch.setenv("TETRAVIEW_GENERATOR", tiny_generator)
    settings = ext.settings
    settings.prompt, settings.steps, settings.seed, settings.use_examples = "a red armchair", 2, 5, False
    settings.poly_budget, settings.texture_px = 800, "256"
    return ext


@pytest.fixture(scope="session", autouse=True)
def _no_thread_left():
    """Threads that are still alive at the end would keep the interpreter."""
    yield
    left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    assert not left, left
    assert sys.modules.get("torch") is None, "the engine's packages were loaded into Blender"


_status = 0


def pytest_sessionfinish(exitstatus):
    """Keep the exit status for `pytest_unconfigure`."""
    global _status
    _status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    """Leave without Blender's own clean-up: the module of 4.5 sometimes waits for itself for ever in there."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status)
