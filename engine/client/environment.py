"""The engine's private Python environment: plan an installation, check it, remove it, report on it.

`<home>/environment/` exists only when complete: `installer.py` builds it beside that place, checks that the engine's packages
import, writes the marker last and moves the folder there. Standard library only.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError
from ..version import __version__
from .locate import environment_python

VARIANTS = ("cpu", "cuda", "mps")
LOCK_FOLDER = Path(__file__).resolve().parent.parent.parent / "wheels"
MARKER_NAME = "tetraview-environment.json"
OWNER_NAME = ".tetraview"
"""Marks a folder as made by the installer, from its first moment; no other folder is ever removed or replaced."""
LOG_NAME = "install.log"
UNPACKED_RATIO = 4.5
"""Disk an installation needs, as a multiple of its download: the wheels in the cache and their unpacked files."""

FOLDERS = ("environment", "environment.partial", "environment.old", "pip-cache")
"""Everything that the installer makes in the data folder, beside its log."""

PACKAGE = Path(__file__).absolute().parent.parent.parent

_START = r"(?:[A-Za-z]:\\{0,2}[\\/]|\\\\|/)"  # of a whole path: a drive, a share, or the root
_QUOTED_FOLDER = re.compile(rf"(?<=([\"\'`])){_START}[^\"\'`\n]*[\\/](?=[^\"\'`\n]*\1)")
_FOLDER = re.compile(rf"(?<![\w~>.:/\\-]){_START}(?:[^\s\"\'`<>|:*?\\/]+(?: [^\s\"\'`<>|:*?\\/]+)*[\\/]+)+")
"""A folder in a text, in quotation marks or not, with the slash behind it."""

_TARGET = re.compile(r"^# target (\S+) (\d+) (\d+)$", re.MULTILINE)
_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+==[^ ;\\]+)(?: ; (.*?))? \\\n(?: +--hash=.*\n?)+", re.MULTILINE)


class InstallError(EngineError):
    """The private environment cannot be made or removed; the text says why and what to do."""


@dataclass(frozen=True)
class InstallPlan:
    """The plan of an installation, shown before *Install engine* asks for consent.

    Attributes:
        variant: "cpu", "cuda" or "mps".
        target: Platform and Python, such as "linux-x64-3.11".
        lock: The lock file.
        lock_sha256: Its hash.
        packages: "name==version" of each package for this target, in the lock's order.
        download_bytes: Sum of their wheels' sizes.
        needed_bytes: Free disk that the installation wants (an estimate).
        free_bytes: Free disk where `folder` will lie.
        home: The add-on's data folder.
        folder: The environment's folder, `<home>/environment`.
        torch_index: Address of PyTorch's own package index, where the lock names a build only found there; else None.
    """

    variant: str
    target: str
    lock: Path
    lock_sha256: str
    packages: tuple[str, ...]
    download_bytes: int
    needed_bytes: int
    free_bytes: int
    home: Path
    folder: Path
    torch_index: str | None


@dataclass(frozen=True)
class EngineStatus:
    """Whether the private environment can be used.

    Attributes:
        state: "missing", "installed", "outdated" (made from another lock file: works, but is not the tested one) or "broken".
        message: One sentence for the preferences.
        python: The environment's Python if it is there.
        variant: The hardware it was made for.
    """

    state: str
    message: str
    python: str | None = None
    variant: str | None = None


def detect_variant(*, which: Callable[[str], str | None] = shutil.which) -> str:
    """The build for this machine: "cuda" if NVIDIA's driver tool answers, "mps" on Apple silicon, else "cpu"."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    tool = which("nvidia-smi")
    if tool is not None:
        try:
            flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # no console window on Windows
            if subprocess.run([tool, "-L"], capture_output=True, timeout=5, creationflags=flags).returncode == 0:
                return "cuda"
        except (OSError, subprocess.TimeoutExpired):
            pass  # a driver that does not answer is none we could use
    return "cpu"


def target_name(python_version: tuple[int, int]) -> str:
    """This machine's platform with a Python version, as the lock files name it: "linux-x64-3.11"."""
    system = {"linux": "linux", "win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{system}-{machine}-{python_version[0]}.{python_version[1]}"


def plan(
    variant: str, home: Path, *, python_version: tuple[int, int] | None = None, lock_folder: Path = LOCK_FOLDER
) -> InstallPlan:
    """Plan an installation, its downloads and its folder, without starting it.

    Args:
        variant: "auto", or a name of `VARIANTS`. "auto" takes the CPU build where the machine's own is not offered.
        home: The add-on's data folder.
        python_version: Version of the Python that will make the environment; None for this one's.
        lock_folder: Folder of the lock files.

    Raises:
        InstallError: No build fits this platform and Python.
    """
    target = target_name(python_version or sys.version_info[:2])
    wanted = [variant] if variant != "auto" else list(dict.fromkeys([detect_variant(), "cpu"]))
    for name in wanted:
        if name not in VARIANTS:
            raise InstallError(f"There is no {name!r} engine: choose one of {', '.join(VARIANTS)}.")
        lock = lock_folder / f"requirements-{name}.txt"
        text = lock.read_text(encoding="utf-8")
        sizes = {found[1]: int(found[3]) for found in _TARGET.finditer(text)}
        if target in sizes:
            pins = tuple(read_pins(text, target))
            build = next((re.search(r"\+(\w+)$", pin) for pin in pins if pin.startswith("torch==")), None)
            return InstallPlan(
                variant=name, target=target, lock=lock, lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest(), packages=pins,
                download_bytes=sizes[target], needed_bytes=int(sizes[target] * UNPACKED_RATIO), free_bytes=free_disk(home),
                home=home, folder=home / "environment",
                torch_index=f"https://download.pytorch.org/whl/{build[1]}" if build else None,
            )  # fmt: skip
    raise InstallError(
        f"There is no {wanted[0]} engine for {target}: choose another device, or name the engine's Python in the preferences.",
        fix="preferences",
    )


def read_pins(lock_text: str, target: str) -> dict[str, str]:
    """The requirements of a lock file that are for `target`: "name==version" -> the requirement with its hashes, as written."""
    return {pin[1]: pin[0] for pin in _REQUIREMENT.finditer(lock_text) if marker_holds(pin[2], target)}


def marker_holds(marker: str | None, target: str) -> bool:
    """Whether a lock line is for `target`; its marker has the form that `scripts/lock_wheels.py` writes.

    Raises:
        ValueError: It has another form.
    """
    if not marker:
        return True
    system, _, python = target.split("-")
    sys_platform = {"windows": "win32", "macos": "darwin"}.get(system, system)
    facts = {f"sys_platform == '{name}'": name == sys_platform for name in ("linux", "win32", "darwin")}
    minor = int(python.split(".")[1])
    facts |= {"python_version < '3.12'": minor < 12, "python_version >= '3.12'": minor >= 12}
    clauses = [clause.split(" and ") for clause in marker.split(" or ")]
    for fact in (fact for clause in clauses for fact in clause):
        if fact not in facts:
            raise ValueError(f"marker {marker!r} is not one of the lock files'")
    return any(all(facts[fact] for fact in clause) for clause in clauses)


def free_disk(folder: Path) -> int:
    """Free bytes on the disk where `folder` is or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def status(home: Path, *, lock_folder: Path = LOCK_FOLDER) -> EngineStatus:
    """Whether the environment under `home` can be used; quick enough for a panel (reads one small file and one lock)."""
    folder = home / "environment"
    if not folder.exists():
        if (home / "environment.partial").exists():
            return EngineStatus("missing", "The engine's installation was interrupted: press Install engine to go on with it.")
        return EngineStatus("missing", "The engine is not installed.")
    python = environment_python(home)
    try:
        marker = json.loads((folder / MARKER_NAME).read_text(encoding="utf-8"))
        variant, lock_sha256 = str(marker["variant"]), marker["lock_sha256"]
        current = hashlib.sha256((lock_folder / f"requirements-{variant}.txt").read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return EngineStatus("broken", "The engine's folder is damaged: press Install engine to create it again.")
    if not python.is_file():  # also when the Blender that lent its Python is gone
        return EngineStatus(
            "broken", "The engine's Python is gone, perhaps with an older Blender: install the engine again.", None, variant
        )
    if lock_sha256 != current:
        message = "The engine is from another version of Tetraview: press Install engine to update it."
        return EngineStatus("outdated", message, str(python), variant)
    return EngineStatus("installed", f"The engine is installed ({variant.upper()}).", str(python), variant)


def remove(home: Path) -> None:
    """Delete the environment, a partial one and the download cache; nothing else under `home`.

    Raises:
        InstallError: A folder of such a name is not the engine's; or a file cannot be deleted, for instance because the engine
            is running (Windows).
    """
    foreign = [home / name for name in FOLDERS if not is_own(home / name)]
    for name in FOLDERS:
        if home / name not in foreign:
            remove_folder(home / name)
    if foreign:
        raise InstallError(f"{foreign[0]} was not made by Tetraview and stays: delete it yourself if you do not need it.")


def is_own(folder: Path) -> bool:
    """Whether the installer made a folder, or there is none; a link to a folder is not its own."""
    if folder.is_symlink() or not folder.exists():
        return not folder.is_symlink()
    return (folder / OWNER_NAME).is_file() or (folder / MARKER_NAME).is_file()


def make_own(folder: Path) -> None:
    """Make a folder, marked as the installer's, if it is not there.

    Raises:
        InstallError: A folder of this name is there that the installer did not make, or it cannot be written.
    """
    if not is_own(folder):
        raise InstallError(f"{folder} was not made by Tetraview: move it away, or choose another folder in the preferences.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OWNER_NAME).write_text("Made by Tetraview's Install Engine; removed by Remove Engine.\n", encoding="utf-8")
    except OSError as error:
        raise InstallError(f"{folder} cannot be written ({error.strerror}): choose another folder in the preferences.") from error


def remove_folder(folder: Path) -> None:
    """Delete `folder` if it is there.

    Raises:
        InstallError: The installer did not make it, or it cannot be deleted.
    """
    if not is_own(folder):
        raise InstallError(f"{folder} was not made by Tetraview: move it away, or choose another folder in the preferences.")
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        reason = error.strerror or error
        raise InstallError(f"{folder.name} cannot be deleted ({reason}): close other Blenders and try again.") from error


def report(home: Path, *, log_lines: int = 200) -> str:
    """A report to copy into an issue: versions, machine, state and the end of the install log, with paths made anonymous."""
    state = status(home)
    log = home / LOG_NAME
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-log_lines:] if log.exists() else ["(no log)"]
    facts = [
        f"Tetraview {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"Build for this machine: {detect_variant()}, {target_name(sys.version_info[:2])}",
        f"Engine: {state.state} ({state.message})",
        f"Free disk: {free_disk(home) / 1e9:.1f} GB",
        f"--- last lines of {LOG_NAME} ---",
    ]
    return anonymise("\n".join([*facts, *lines]), home)


def anonymise(text: str, home: Path | None, folders: Iterable[str] = ()) -> str:
    """`text` without this machine's folders, the user's names, and passwords in addresses; the user's home becomes `~`.

    Args:
        text: A text with anything in it.
        home: The add-on's data folder; None if there is none.
        folders: Other folders that it may name, with blanks in their names or not.
    """
    named = {str(PACKAGE): "<tetraview>", sys.prefix: "<python>", str(Path.home()): "~", **dict.fromkeys(folders, "<folder>")}
    if home is not None:
        named[str(home)] = "<data folder>"
    known = {variant: name for path, name in named.items() for variant in _spellings(path)}
    for path in sorted(known, key=len, reverse=True):  # the inner folders first
        name = known[path]
        text = re.sub(rf"{re.escape(path)}(?![\w-])", lambda _, name=name: name, text, flags=re.IGNORECASE)  # type: ignore[misc]
    text = re.sub(r"://[^/\s@]+@", "://<secret>@", text)
    text = _QUOTED_FOLDER.sub("<folder>/", text)
    text = _FOLDER.sub("<folder>/", text)
    for user in _user_names():
        text = re.sub(rf"(?<![^\W\d_]){re.escape(user)}(?![^\W\d_])", "<user>", text, flags=re.IGNORECASE)
    return text


def _spellings(path: str) -> set[str]:
    """A path as texts may have it: through links or not, with other slashes, and as JSON or a traceback writes backslashes."""
    found = {path, os.path.realpath(path)} if len(path) > 1 else set()
    found |= {other.replace(os.sep, "/") for other in found}
    return {spelling for other in found for spelling in (other, other.replace("\\", "\\\\")) if len(spelling) > 1}


def _user_names() -> set[str]:
    """Names of the user of this computer: of the login, of the home folder, and in full."""
    names = {Path.home().name}
    with contextlib.suppress(KeyError, OSError, ImportError):  # no name for this user id
        names.add(getpass.getuser())
    with contextlib.suppress(KeyError, OSError, ImportError, AttributeError):  # Windows has no such list
        import pwd

        names.add(pwd.getpwuid(os.getuid()).pw_gecos.split(",")[0])
    return {name for name in names if len(name) > 1}
