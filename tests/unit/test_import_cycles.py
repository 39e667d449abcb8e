"""No module imports itself by way of others, and no package of the engine does; imports inside functions count as well."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from .test_import_rules import MODULES, PACKAGES, ROOT, imports_of

FOR_EVERYBODY = frozenset({"engine.job.folder", "engine.models.integrity", "engine.models.registry"})
"""Modules that need only each other and the modules at the engine's root, so that every package may know them."""

Graph = dict[str, set[str]]


def module_of(path: str) -> str:
    """The name of the module in a file, relative to the root: "engine.job.folder"."""
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


def module_graph(sources: Mapping[str, str]) -> Graph:
    """Every module with the modules of this package that it imports, anywhere; imports for type checkers alone are left out.

    Args:
        sources: The text of each file by its path, relative to the root.
    """
    graph: Graph = {}
    for path, source in sources.items():
        module = module_of(path)
        targets = {entry.target for entry in imports_of(path, source) if entry.internal and entry.target in MODULES}
        graph[module] = targets - {module}
    return graph


def package_graph(modules: Graph) -> Graph:
    """The same of packages: `engine.job`, `kernels`; a module of `FOR_EVERYBODY` is a package of its own."""
    names = {module: ".".join(module.split(".")[: 2 if module.startswith("engine.") else 1]) for module in modules}
    names |= {module: module for module in FOR_EVERYBODY}
    graph: Graph = {}
    for module, targets in modules.items():
        graph.setdefault(names[module], set()).update({names[target] for target in targets} - {names[module]})
    return graph


def cycle_of(graph: Graph) -> list[str] | None:
    """One cycle of a graph, its first node repeated at the end, or None."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return None


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_no_module_imports_itself_by_way_of_others(sources: dict[str, str]) -> None:
    graph = module_graph(sources)
    assert len(graph) > 150 and sum(map(len, graph.values())) > 400
    cycle = cycle_of(graph)
    assert cycle is None, " imports ".join(cycle)


def test_no_package_imports_itself_by_way_of_others(sources: dict[str, str]) -> None:
    modules = module_graph(sources)
    graph = package_graph(modules)
    assert {"engine.job", "engine.models", "engine.types", "kernels", *FOR_EVERYBODY} <= set(graph)
    needed = {target for module in FOR_EVERYBODY for target in modules[module]}
    assert all(target.count(".") == 1 for target in needed - FOR_EVERYBODY)
    cycle = cycle_of(graph)
    assert cycle is None, " imports ".join(cycle)


@pytest.mark.parametrize(
    ("path", "line", "cycle"),
    [
        (
            "engine/job/elevation_score.py",
            "def late():\n    from .generate import generate",
            {"engine.job.elevation_score", "engine.job.generate"},
        ),
        (
            "engine/models/registry.py",
            "from ..photos.starter_cutout import segment_starter",
            {"engine.models.registry", "engine.photos.starter_cutout"},
        ),
        ("kernels/sources.py", "def late():\n    from . import loader", {"kernels.sources", "kernels.loader"}),
    ],
)
def test_a_planted_cycle_of_modules_is_found(sources: dict[str, str], path: str, line: str, cycle: set[str]) -> None:
    found = cycle_of(module_graph({**sources, path: f"{sources[path]}\n{line}\n"}))
    assert found is not None and cycle <= set(found)


@pytest.mark.parametrize(
    ("path", "line", "cycle"),
    [
        (
            "engine/rendering/turntable.py",
            "def late():\n    from ..texturing import gutters",
            {"engine.rendering", "engine.texturing"},
        ),
        ("engine/photos/plain.py", "from ..multiview import grid", {"engine.photos", "engine.multiview"}),
    ],
)
def test_a_planted_cycle_of_packages_is_found(sources: dict[str, str], path: str, line: str, cycle: set[str]) -> None:
    planted = module_graph({**sources, path: f"{sources[path]}\n{line}\n"})
    assert cycle_of(planted) is None  # the modules alone have none
    found = cycle_of(package_graph(planted))
    assert found is not None and cycle <= set(found)


def test_imports_for_type_checkers_alone_make_no_cycle(sources: dict[str, str]) -> None:
    path = "engine/job/elevation_score.py"
    line = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .generate import generate\n"
    assert cycle_of(module_graph({**sources, path: f"{sources[path]}\n{line}"})) is None
