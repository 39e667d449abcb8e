"""The extension's zip as an artist gets it, built by Blender's own builder; and what must agree between files."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest
import tetraview
from tetraview.engine import __version__

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "scripts" / "build_extension.py"
MANIFEST = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(
    not list((ROOT / ".venv-blender-4.5").glob("lib/python3.*/site-packages/bpy")),
    reason="no bpy in .venv-blender-4.5: run make setup",
)


@pytest.fixture(scope="module")
def extension_zip(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run([sys.executable, str(BUILDER), "--output", str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr  # validates source and zip, and refuses more than 75 MB
    (path,) = folder.glob("*.zip")
    assert path.name == f"tetraview-{__version__}.zip"
    assert path.stat().st_size < 75_000_000
    return zipfile.ZipFile(path)


def test_zip_holds_what_runs_and_nothing_else(extension_zip: zipfile.ZipFile) -> None:
    names = extension_zip.namelist()
    allowed = {"engine", "kernels", "operators", "panels", "wheels"}
    files = {"__init__.py", "__main__.py", "blender_manifest.toml", "LICENSE", "CHANGELOG.md", "MODEL_CARD.md"}
    for name in names:
        path = PurePosixPath(name)
        assert path.parts[0] in allowed if len(path.parts) > 1 else name in files, name
        assert not any(
            part.startswith(".") or part == "__pycache__" or part.endswith((".egg-info", ".pyc")) for part in path.parts
        ), name
    locks = {f"wheels/requirements-{variant}.txt" for variant in ("cpu", "cuda", "mps")}
    assert {name for name in names if name.startswith("wheels/")} == locks
    tracked = set(subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n"))
    assert files - {"__main__.py"} <= set(names)
    missing = [
        name for name in tracked if name.endswith((".py", ".cu", ".cuh")) and name.split("/")[0] in allowed and name not in names
    ]
    assert not missing


def test_weights_are_inside(extension_zip: zipfile.ZipFile) -> None:
    inside = [info for info in extension_zip.infolist() if info.filename.startswith("engine/weights/starter/")]
    suffixes = {PurePosixPath(info.filename).suffix for info in inside}
    assert {".json", ".safetensors"} <= suffixes
    assert sum(info.file_size for info in inside) < 60_000_000
    for info in inside:
        on_disk = ROOT / info.filename
        assert on_disk.stat().st_size == info.file_size, f"{info.filename} was cut short"


def test_zip_names_no_folder_of_one_machine(extension_zip: zipfile.ZipFile) -> None:
    machine = re.compile(rb"(?<![\w.])/(?:home|root|Users|work|workspace|opt|mnt)/[\w.-]+|[A-Z]:\\\\?Users\\")
    for info in extension_zip.infolist():
        if info.filename.endswith((".py", ".toml", ".txt", ".json", ".md", ".cu")):
            found = machine.search(extension_zip.read(info))
            assert found is None, f"{info.filename}: {found[0]!r}"


def test_every_module_in_the_zip_compiles_for_python_3_11(extension_zip: zipfile.ZipFile) -> None:
    for name in extension_zip.namelist():
        if name.endswith(".py"):
            compile(extension_zip.read(name), name, "exec", dont_inherit=True)


def test_one_version() -> None:
    assert MANIFEST["version"] == __version__ == importlib.metadata.version("tetraview")
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    literal = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    holders = [
        path.relative_to(ROOT).as_posix()
        for folder in ("engine", "kernels", "operators", "panels", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        if literal.search(path.read_text(encoding="utf-8"))
    ]
    assert holders == ["engine/version.py"]


def test_the_installed_package_is_this_tree() -> None:
    assert Path(str(tetraview.__file__)).resolve().parent == ROOT


def test_manifest_is_honest() -> None:
    assert MANIFEST["blender_version_min"] == "4.2.0"
    assert MANIFEST["license"] == ["SPDX:GPL-3.0-or-later"]
    assert set(MANIFEST["permissions"]) == {"files", "network"}
    for text in (MANIFEST["tagline"], *MANIFEST["permissions"].values()):
        assert 0 < len(text) <= 64 and text[-1].isalnum()
    assert "blender" not in MANIFEST["name"].lower()


def test_setuptools_packages_are_all_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {"tetraview"} | {
        ".".join(["tetraview", *path.parent.relative_to(ROOT).parts])
        for folder in ("engine", "kernels", "operators", "panels")
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == there


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]]
)
def test_links_and_pictures_of_a_page_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"", text)
    assert text.strip(), f"{page} is empty"
    for target in (link or picture for link, picture in targets):
        if not target.startswith(("https://", "http://", "mailto:", "#")):
            assert ((ROOT / page).parent / target.split("#")[0]).exists(), f"{page} points to {target}, which is not there"
