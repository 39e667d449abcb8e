"""The layers of the package, enforced: who may import whom. One table below, read from the syntax tree of every file."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "kernels", "operators", "panels")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for name in PACKAGES
    for path in (ROOT / name).rglob("*.py")
}
STDLIB = frozenset(sys.stdlib_module_names)

# Modules to layers: the longest prefix counts. What else lies in engine/ is its core.
LAYERS = {
    "": "root", "__main__": "command line",
    "kernels": "kernels",
    "engine": "core",
    "engine.request_fields": "client", "engine.photo_names": "client", "engine.cameras": "client",
    "engine.types": "client", "engine.errors": "client", "engine.version": "client",
    "engine.client": "client", "engine.process.protocol": "client", "engine.process.launch": "client",
    "engine.job.folder": "client", "engine.job.history": "client",
    "engine.cli": "command line", "engine.commands": "command line",
    "engine.training": "studio", "engine.dataset": "studio", "engine.evaluation": "studio",
    "operators": "operators", "operators.properties": "properties",
    "panels": "panels",
}  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """What a layer may import of this package, and what of the outside it may never import (or never while it is imported)."""

    may: frozenset[str]
    never: frozenset[str]
    never_at_import: frozenset[str] = frozenset()
    only_stdlib_and: frozenset[str] | None = None  # at import time, of the outside


ENGINE = frozenset({"core", "client", "kernels"})
RULES = {
    "root": Rules(frozenset({"operators", "panels"}), frozenset({"torch", "numpy"}), frozenset({"bpy", "operators", "panels"})),
    "kernels": Rules(frozenset({"kernels"}), frozenset({"bpy"}), frozenset({"cupy"})),
    "core": Rules(ENGINE, frozenset({"bpy"}), frozenset({"cupy"})),
    "client": Rules(frozenset({"client"}), frozenset({"bpy", "torch"}), only_stdlib_and=frozenset({"numpy"})),
    "command line": Rules(ENGINE | {"command line", "studio"}, frozenset({"bpy"})),
    "studio": Rules(ENGINE | {"studio"}, frozenset({"bpy"})),
    "operators": Rules(
        frozenset({"operators", "properties", "client"}),
        frozenset({"torch", "cupy"}),
        only_stdlib_and=frozenset({"bpy", "mathutils", "numpy"}),
    ),
    "properties": Rules(frozenset({"operators", "properties", "client"}), frozenset({"torch", "cupy", "numpy"})),
    "panels": Rules(frozenset({"panels", "properties"}), frozenset({"torch", "cupy"}), only_stdlib_and=frozenset({"bpy"})),
}
RESERVED = {"nvdiffrast": "engine.training"}
"""Outside packages that only one package of ours may import, and not while it is imported itself: their licence allows research
only, so nothing an artist runs may need them."""


@dataclass(frozen=True)
class Import:
    """One imported module: `target` is relative to the package's root if `internal`."""

    target: str
    internal: bool
    at_import: bool
    line: int


def layer_of(module: str) -> str:
    """The layer of a module of this package, such as "engine.client.job"."""
    if module == "engine":  # engine/__init__.py itself
        return "client"
    while module not in LAYERS:
        module = module.rpartition(".")[0]
    return LAYERS[module]


def imports_of(path: str, source: str) -> Iterator[Import]:
    """Every import in the source of the file `path` (relative to the root); imports for type checkers alone are left out."""
    package = list(Path(path).parts[:-1])

    def visit(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.orelse:
                yield from visit(child, at_import)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, False, at_import, node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield Import(node.module or "", False, at_import, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level], *((node.module or "").split(".") if node.module else [])]
            for alias in node.names:
                named = ".".join([*base, alias.name])
                yield Import(named if named in MODULES else ".".join(base), True, at_import, node.lineno)
        inside = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(source), True)


def violations(path: str, source: str) -> list[str]:
    """What the file `path` (relative to the root) imports against the rules, one sentence each."""
    module = ".".join(Path(path).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    own = layer_of(module)
    rules = RULES[own]
    found = []
    for entry in imports_of(path, source):
        where = f"{path}:{entry.line}: "
        top = entry.target.split(".")[0]
        if not entry.internal:
            if top in ("tetraview", *PACKAGES):
                found.append(
                    where + f"absolute import of {entry.target}; inside the package only relative imports work in Blender"
                )
            elif top in RESERVED and not f"{module}.".startswith(f"{RESERVED[top]}."):
                found.append(where + f"{own} must not import {top}: only {RESERVED[top]} may")
            elif top in RESERVED and entry.at_import:
                found.append(where + f"{own} must not import {top} at import time")
            elif top in rules.never or (entry.at_import and top in rules.never_at_import):
                found.append(where + f"{own} must not import {top}" + ("" if top in rules.never else " at import time"))
            elif entry.at_import and rules.only_stdlib_and is not None and top not in STDLIB | rules.only_stdlib_and:
                found.append(where + f"{own} must not import {top} at import time")
        elif layer_of(entry.target) not in rules.may:
            found.append(where + f"{own} must not import {entry.target} ({layer_of(entry.target)})")
        elif entry.at_import and top in rules.never_at_import:
            found.append(where + f"{own} must not import {entry.target} at import time")
    return found


def test_no_file_breaks_the_layers() -> None:
    files = [ROOT / "__init__.py", *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]
    files += [path for path in [ROOT / "__main__.py"] if path.exists()]
    assert len(files) > 40
    found = [text for path in files for text in violations(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("__init__.py", "import bpy", "root must not import bpy at import time"),
        ("__init__.py", "from . import operators", "root must not import operators at import time"),
        ("kernels/reference.py", "from ..engine.cameras import pixel_rays", "kernels must not import engine.cameras"),
        ("kernels/reference.py", "import cupy", "cupy at import time"),
        ("kernels/reference.py", "def f():\n    import bpy", "kernels must not import bpy"),
        ("engine/job/generate.py", "def f():\n    import bpy", "core must not import bpy"),
        ("engine/job/generate.py", "from ..training import losses", "core must not import engine.training.losses"),
        (
            "engine/job/generate.py",
            "def f():\n    from ..dataset.render import render_views",
            "core must not import engine.dataset.render",
        ),
        ("engine/geometry/extract.py", "from ..evaluation import metrics", "core must not import engine.evaluation"),
        ("engine/geometry/extract.py", "from ...operators import session", "core must not import operators.session"),
        ("engine/types.py", "import torch", "client must not import torch"),
        ("engine/client/job.py", "def f():\n    import torch", "client must not import torch"),
        ("engine/client/job.py", "import PIL.Image", "client must not import PIL at import time"),
        ("engine/client/job.py", "from ..job.generate import generate", "client must not import engine.job.generate"),
        ("engine/job/folder.py", "if True:\n    import scipy", "client must not import scipy at import time"),
        ("engine/training/losses.py", "from ...panels import sidebar", "studio must not import panels.sidebar"),
        ("engine/cli.py", "def f():\n    from ..operators import session", "command line must not import operators.session"),
        ("operators/generate.py", "from ..engine.job.generate import generate", "operators must not import engine.job.generate"),
        (
            "operators/generate.py",
            "def f():\n    from ..engine.job import generate",
            "operators must not import engine.job.generate",
        ),
        ("operators/generate.py", "from ..kernels import reference", "operators must not import kernels.reference"),
        ("operators/generate.py", "def f():\n    import torch", "operators must not import torch"),
        ("operators/generate.py", "class A:\n    from ..panels import sidebar", "operators must not import panels.sidebar"),
        ("panels/sidebar.py", "from ..engine.types import VIEW_NAMES", "panels must not import engine.types"),
        (
            "panels/sidebar.py",
            "from ..operators.generate import TETRAVIEW_OT_generate",
            "panels must not import operators.generate",
        ),
        ("panels/sidebar.py", "import numpy", "panels must not import numpy at import time"),
        ("operators/generate.py", "from tetraview.engine.types import Asset", "absolute import of tetraview.engine.types"),
        ("engine/job/generate.py", "from kernels import reference", "absolute import of kernels"),
        ("engine/rendering/rasterizer.py", "def f():\n    import nvdiffrast.torch", "core must not import nvdiffrast: only"),
        ("engine/cli.py", "def f():\n    from nvdiffrast import torch", "command line must not import nvdiffrast: only"),
        ("engine/evaluation/run.py", "def f():\n    import nvdiffrast", "studio must not import nvdiffrast: only"),
        ("kernels/raster.py", "def f():\n    import nvdiffrast", "kernels must not import nvdiffrast"),
        ("engine/training/losses.py", "import nvdiffrast.torch as dr", "studio must not import nvdiffrast at import time"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str, complaint: str) -> None:
    found = violations(path, source)
    assert len(found) == 1 and complaint in found[0], found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "def register():\n    import bpy\n    from . import operators, panels"),
        ("kernels/triplane.py", "def load():\n    import cupy"),
        ("engine/job/generate.py", "import torch\nfrom ...kernels import reference\nfrom ..types import Asset"),
        ("engine/client/job.py", "import json\nimport numpy as np\nfrom ..types import Event\nfrom . import locate"),
        ("engine/client/job.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("engine/cli.py", "def f():\n    from .training import reconstructor"),
        ("engine/training/losses.py", "from ..reconstructor.field import Field\nfrom ..dataset import packs"),
        ("engine/training/losses.py", "def f():\n    import nvdiffrast.torch as dr"),
        (
            "operators/generate.py",
            "import bpy\nfrom mathutils import Vector\nfrom ..engine.client import Job\nfrom . import session",
        ),
        ("panels/sidebar.py", "import bpy\nfrom ..operators.properties import VIEW_NAMES"),
    ],
)
def test_what_the_table_allows_passes(path: str, source: str) -> None:
    assert violations(path, source) == []
