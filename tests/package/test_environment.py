"""The plan, the status and the report of the engine's private environment; no child process is started here."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tetraview.engine.client import environment
from tetraview.engine.client.environment import InstallError
from tetraview.engine.client.installer import explain_failure, install_steps

LOCKS = environment.LOCK_FOLDER
TARGETS = {
    "cpu": [f"{system}-{python}" for system in ("linux-x64", "windows-x64", "macos-arm64") for python in ("3.11", "3.13")],
    "cuda": ["linux-x64-3.11", "linux-x64-3.13", "windows-x64-3.13"],
    "mps": ["macos-arm64-3.11", "macos-arm64-3.13"],
}
ON_EVERY_TARGET = {
    "torch", "numpy", "pillow", "pillow-heif", "scipy", "opencv-python-headless", "trimesh", "embreex", "xatlas", "safetensors",
}  # fmt: skip


def pretend_target(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr(environment, "target_name", lambda python_version: target)


@pytest.mark.parametrize(("variant", "target"), [(variant, target) for variant, names in TARGETS.items() for target in names])
def test_lock_holds_each_package_once_for_each_target(variant: str, target: str) -> None:
    text = (LOCKS / f"requirements-{variant}.txt").read_text()
    pins = list(environment.read_pins(text, target))
    names = [pin.split("==")[0] for pin in pins]
    assert len(names) == len(set(names))
    assert set(names) >= ON_EVERY_TARGET
    assert f"# target {target} {len(names)} " in text
    has_cuda = any(name.startswith(("nvidia-", "cupy")) for name in names)
    assert has_cuda == (variant == "cuda")


@pytest.mark.parametrize("variant", TARGETS)
def test_every_requirement_is_pinned_and_hashed(variant: str) -> None:
    text = (LOCKS / f"requirements-{variant}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    requirements = [line for line in lines if not line.startswith(" ")]
    hashes = [line for line in lines if line.startswith(" ")]
    assert len(requirements) > 20
    for place, line in enumerate(lines):
        if not line.startswith(" "):
            assert "==" in line and line.endswith(" \\"), line
            assert lines[place + 1].strip().startswith("--hash=sha256:"), line
    for line in hashes:
        assert len(line.strip().removesuffix(" \\").removeprefix("--hash=sha256:")) == 64
    assert "://" not in text


def test_plan_tells_the_bill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_target(monkeypatch, "linux-x64-3.11")
    plan = environment.plan("cpu", tmp_path / "not" / "yet")
    assert plan.folder == tmp_path / "not" / "yet" / "environment"
    assert 100e6 < plan.download_bytes < 600e6
    assert plan.needed_bytes > 2 * plan.download_bytes
    assert plan.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert "torch==2.13.0+cpu" in plan.packages
    assert plan.torch_index == "https://download.pytorch.org/whl/cpu"
    assert plan.lock_sha256 == hashlib.sha256(plan.lock.read_bytes()).hexdigest()
    assert not plan.home.exists()


@pytest.mark.parametrize(
    ("machine", "target", "variant", "index"),
    [
        ("cuda", "linux-x64-3.11", "cuda", None),
        ("cuda", "windows-x64-3.13", "cuda", "https://download.pytorch.org/whl/cu130"),
        ("cuda", "windows-x64-3.11", "cpu", None),  # no CUDA build of torch is locked there: degrade
        ("mps", "macos-arm64-3.13", "mps", None),
        ("cpu", "linux-x64-3.13", "cpu", "https://download.pytorch.org/whl/cpu"),
    ],
)
def test_auto_takes_the_machines_build_or_the_cpu_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, target: str, variant: str, index: str | None
) -> None:
    pretend_target(monkeypatch, target)
    monkeypatch.setattr(environment, "detect_variant", lambda: machine)
    plan = environment.plan("auto", tmp_path)
    assert (plan.variant, plan.torch_index) == (variant, index)


@pytest.mark.parametrize(
    ("variant", "target"), [("cpu", "linux-x64-3.14"), ("mps", "linux-x64-3.11"), ("rocm", "linux-x64-3.11")]
)
def test_plan_refuses_what_no_lock_offers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variant: str, target: str) -> None:
    pretend_target(monkeypatch, target)
    with pytest.raises(InstallError, match=f"no '?{variant}'? engine"):
        environment.plan(variant, tmp_path)


@pytest.mark.parametrize(
    ("marker", "target", "holds"),
    [
        (None, "linux-x64-3.11", True),
        ("sys_platform == 'win32'", "linux-x64-3.11", False),
        ("sys_platform == 'win32' or sys_platform == 'darwin'", "macos-arm64-3.13", True),
        ("sys_platform == 'linux' and python_version < '3.12'", "linux-x64-3.13", False),
        ("python_version >= '3.12'", "windows-x64-3.13", True),
    ],
)
def test_markers(marker: str | None, target: str, holds: bool) -> None:
    assert environment.marker_holds(marker, target) is holds


def test_an_unknown_marker_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="extra"):
        environment.marker_holds("extra == 'x'", "linux-x64-3.11")


def test_detect_variant_asks_the_driver(tmp_path: Path) -> None:
    def driver(exit_status: int) -> str:
        tool = tmp_path / f"nvidia-smi-{exit_status}"
        tool.write_text(f"#!/bin/sh\nexit {exit_status}\n")
        tool.chmod(0o755)
        return str(tool)

    assert environment.detect_variant(which=lambda name: driver(0)) == "cuda"
    assert environment.detect_variant(which=lambda name: driver(9)) in ("cpu", "mps")
    assert environment.detect_variant(which=lambda name: None) in ("cpu", "mps")


def make_installed(home: Path, lock_sha256: str | None = None) -> None:
    python = environment.environment_python(home)
    python.parent.mkdir(parents=True)
    python.write_text("")
    own = hashlib.sha256((LOCKS / "requirements-cpu.txt").read_bytes()).hexdigest()
    marker = {"variant": "cpu", "lock_sha256": lock_sha256 or own}
    (home / "environment" / environment.MARKER_NAME).write_text(json.dumps(marker))


def test_status_of_each_state(tmp_path: Path) -> None:
    assert environment.status(tmp_path).state == "missing"
    (tmp_path / "environment.partial").mkdir()
    interrupted = environment.status(tmp_path)
    assert interrupted.state == "missing" and "interrupted" in interrupted.message

    make_installed(tmp_path)
    installed = environment.status(tmp_path)
    assert (installed.state, installed.variant) == ("installed", "cpu")
    assert installed.python == str(environment.environment_python(tmp_path))

    environment.environment_python(tmp_path).unlink()
    assert environment.status(tmp_path).state == "broken"


def test_status_of_another_lock_is_outdated(tmp_path: Path) -> None:
    make_installed(tmp_path, lock_sha256="0" * 64)
    assert environment.status(tmp_path).state == "outdated"


@pytest.mark.parametrize("text", ["", "[]", '{"variant": "cpu"}', '{"variant": "../..", "lock_sha256": ""}'])
def test_a_folder_without_a_sound_marker_is_never_taken_for_installed(tmp_path: Path, text: str) -> None:
    make_installed(tmp_path)
    (tmp_path / "environment" / environment.MARKER_NAME).write_text(text)
    assert environment.status(tmp_path).state == "broken"


def test_remove_leaves_everything_else(tmp_path: Path) -> None:
    make_installed(tmp_path)
    environment.make_own(tmp_path / "pip-cache")
    (tmp_path / "jobs").mkdir()
    environment.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


@pytest.mark.parametrize("name", ["environment", "environment.partial", "environment.old", "pip-cache"])
def test_a_users_folder_is_neither_removed_nor_replaced(tmp_path: Path, name: str) -> None:
    """The data folder may be chosen freely, and hold a folder of such a name already."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(InstallError, match=r"not made by Tetraview and stays"):
        environment.remove(tmp_path)
    plan = environment.InstallPlan("cpu", "x", tmp_path, "", (), 0, 0, 1, tmp_path, tmp_path / "environment", None)
    with pytest.raises(InstallError, match=r"was not made by Tetraview: move it"):
        next(install_steps(plan, "python"))
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"


def test_a_link_to_a_folder_is_not_removed(tmp_path: Path) -> None:
    environment.make_own(tmp_path / "elsewhere")
    (tmp_path / "environment").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(InstallError, match="stays"):
        environment.remove(tmp_path)
    assert (tmp_path / "elsewhere").is_dir() and (tmp_path / "environment").is_symlink()


def test_report_names_no_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment.getpass, "getuser", lambda: "ada")
    log = f"Processing {tmp_path}/x.whl\n{Path.home()}/secret.txt\nindex https://ada:pw1@host/simple\nC:/Users/ada/x adamant\n"
    (tmp_path / environment.LOG_NAME).write_text("first line\n" + log)
    text = environment.report(tmp_path, log_lines=4)
    assert "<data folder>/x.whl" in text and "~/secret.txt" in text and "adamant" in text
    for secret in (str(tmp_path), str(Path.home()) + "/", "ada:", "pw1", "/ada/", "first line"):
        assert secret not in text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated...\n"
            "    six==1.16.0 from https://host/six.whl (from -r r.txt (line 1)):\n        Expected sha256 aa\n   Got 8a",
            "downloaded six is not the file",
        ),
        (
            "WARNING: Retrying ... NewConnectionError('...')\nERROR: No matching distribution found for six==1.16.0",
            "cannot be reached",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "ERROR: Could not find a version that satisfies the requirement pip==26.3 (from versions: none)\n"
            "ERROR: No matching distribution found for pip==26.3",
            "cannot be reached",
        ),
        ("ERROR: No matching distribution found for torch==9", "no torch==9 for this machine"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "venv is missing"),
        ("something\nodd happened\n\n", "odd happened"),
        ("", "no message"),
    ],
)
def test_failures_are_said_in_one_sentence(said: str, expected: str) -> None:
    sentence = explain_failure(said.splitlines())
    assert expected in sentence and "\n" not in sentence
