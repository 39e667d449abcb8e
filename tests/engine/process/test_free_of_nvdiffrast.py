"""Nothing an artist runs imports nvdiffrast, whose licence allows research only: a module of that name that ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

POISON = """
import os, sys, traceback
traceback.print_stack()
print("nvdiffrast was imported", file=sys.stderr, flush=True)
os._exit(97)  # unlike an ImportError, nobody can catch it
"""
IMPORT_EVERYTHING = """
import importlib, sys
from pathlib import Path
import tetraview

root = Path(tetraview.__file__).parent
studio = ("engine.training", "engine.dataset", "engine.evaluation")
names = []
for path in sorted([*(root / "engine").rglob("*.py"), *(root / "kernels").rglob("*.py")]):
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    if not name.startswith(studio):
        importlib.import_module(f"tetraview.{name}")
        names.append(name)
print(len(names), "modules")
"""
RUN = """
import sys
from tetraview.engine.cli import main

status = main(sys.argv[1:])
assert "nvdiffrast" not in sys.modules
sys.exit(status)
"""


@pytest.fixture
def poisoned(tmp_path):
    """Runs Python code in a process where importing nvdiffrast ends it with status 97."""
    package = tmp_path / "poison" / "nvdiffrast"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(POISON)
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "TETRAVIEW_HOME": str(tmp_path / "home")}

    def run(code: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    return run


@pytest.mark.parametrize("code", ["import nvdiffrast.torch", "try:\n    import nvdiffrast\nexcept BaseException:\n    pass"])
def test_the_poison_works(poisoned, code):
    done = poisoned(code)
    assert done.returncode == 97 and "nvdiffrast was imported" in done.stderr


def test_every_module_of_the_engine_is_imported_without_it(poisoned):
    done = poisoned(IMPORT_EVERYTHING)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[0]) > 60


def test_a_photo_becomes_an_asset_and_an_orbit_without_it(poisoned, photos_dir, model_dir, generator_dir, tmp_path):
    out = tmp_path / "out"
    done = poisoned(
        RUN, "reconstruct", "--front", photos_dir / "front.jpg", "--prompt", "a mug", "--model", model_dir,
        "--generator", generator_dir, "--steps", 2, "--poly-budget", 500, "--texture", 256, "-o", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "asset.glb").stat().st_size > 1000
    done = poisoned(RUN, "orbit", out, "--frames", 3, "--size", 64, "-o", tmp_path / "orbit.gif")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "orbit.gif").stat().st_size > 1000
