"""Make the engine's private environment: pip in a child process, with true progress, cancel and resume.

The folder is built as `<home>/environment.partial`; a working environment stays in use until the new one is complete. pip's
downloads stay in `<home>/pip-cache` until then, so that an interrupted installation resumes where it stopped.
Standard library only.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from ..errors import CancelledError
from ..version import __version__
from .environment import FOLDERS, LOG_NAME, MARKER_NAME, InstallError, InstallPlan, is_own, make_own, read_pins, remove_folder
from .locate import environment_python
from .process import clean_environment

SILENCE_S = 1200.0
"""pip unpacks the largest wheel without a word; longer than this it hangs."""

IMPORT_NAMES = {
    "cupy-cuda13x": "cupy", "diffusers": "diffusers", "embreex": "embreex", "fast-simplification": "fast_simplification",
    "numpy": "numpy", "opencv-python-headless": "cv2", "pillow": "PIL", "pillow-heif": "pillow_heif",
    "safetensors": "safetensors", "scipy": "scipy", "torch": "torch", "trimesh": "trimesh", "xatlas": "xatlas",
}  # fmt: skip
"""Distribution -> module that must import before the environment counts as installed."""

_CHECK = """
import importlib, importlib.metadata, json, sys
wanted = json.loads(sys.argv[1])
for name, version in wanted["versions"].items():
    found = importlib.metadata.version(name)
    assert found == version, f"{name} {found} is there instead of {version}"
for module in wanted["imports"]:
    importlib.import_module(module)
"""


@dataclass(frozen=True)
class InstallProgress:
    """Progress of the installation.

    Attributes:
        stage: "prepare", "download", "install" or "check".
        fraction: Share of the whole, 0..1, never falling.
        package: The package in hand, "" if none.
        done, total: Packages ready and in all.
        bytes_done, bytes_total: Bytes downloaded (or found in the cache) and in all.
        bytes_per_s: Download speed since the stage began; 0 if nothing was downloaded yet.
    """

    stage: str
    fraction: float
    package: str
    done: int
    total: int
    bytes_done: int
    bytes_total: int
    bytes_per_s: float = 0.0


def install(
    plan: InstallPlan, base_python: str, on_progress: Callable[[InstallProgress], None], is_cancelled: Callable[[], bool]
) -> None:
    """Make the environment, blocking: see `install_steps`.

    Raises:
        CancelledError: `is_cancelled()` became true; what was downloaded is kept for the next time.
        InstallError: As `install_steps`.
    """
    steps = install_steps(plan, base_python)
    try:
        for progress in steps:
            on_progress(progress)
            if is_cancelled():
                raise CancelledError("The installation was cancelled; what was downloaded is kept.")
    finally:
        steps.close()


def install_steps(plan: InstallPlan, base_python: str, *, wait_s: float = 0.1) -> Generator[InstallProgress, None, None]:
    """Make the environment of `plan`; each step waits `wait_s` at most for news, so a timer may drive it with `wait_s=0`.

    Closing the generator kills the child process; the next call goes on from what was downloaded.

    Args:
        plan: From `environment.plan`.
        base_python: The Python that makes the environment and whose version `plan` was made for: Blender's own `sys.executable`.
        wait_s: Longest time in seconds that one step may take, but for deleting an old folder.

    Yields:
        `InstallProgress`, at each step.

    Raises:
        InstallError: One sentence with what to do: no network, a file with another hash, no disk space, no `venv`.
    """
    if plan.free_bytes < plan.needed_bytes:
        raise InstallError(
            f"The engine needs {plan.needed_bytes / 1e9:.1f} GB free and {plan.home} has {plan.free_bytes / 1e9:.1f} GB: "
            "free some space or choose another folder in the preferences."
        )
    partial = plan.home / "environment.partial"
    for name in FOLDERS:
        if not is_own(plan.home / name):
            text = f"{plan.home / name} was not made by Tetraview: move it away, or choose another folder in the preferences."
            raise InstallError(text)
    remove_folder(partial)
    for folder in (partial, plan.home / "pip-cache"):
        make_own(folder)
    python = partial / environment_python(plan.home).relative_to(plan.folder)
    watch = _Watch(plan, partial)
    with open(plan.home / LOG_NAME, "w", encoding="utf-8") as log:
        run = _Runner(plan, log, wait_s)
        yield watch.progress()
        for _ in run([base_python, "-I", "-m", "venv", str(partial)]):
            yield watch.progress()
        for arguments in _pip_runs(plan, partial):
            pip = [str(python), "-I", "-m", "pip", "install", *arguments]
            for line in run([*pip, "--progress-bar", "raw" if watch.raw_progress else "off"]):
                watch.read(line)
                yield watch.progress()
            watch.raw_progress = _has_raw_progress(partial)
        watch.stage = "check"
        names = dict(package.split("==") for package in plan.packages)
        wanted = {"versions": names, "imports": [module for name, module in IMPORT_NAMES.items() if name in names]}
        for _ in run([str(python), "-I", "-c", _CHECK, json.dumps(wanted)]):
            yield watch.progress()
    marker = {"variant": plan.variant, "lock_sha256": plan.lock_sha256, "target": plan.target, "version": __version__}
    (partial / MARKER_NAME).write_text(json.dumps(marker, indent=2), encoding="utf-8")
    _move_into_place(partial, plan.folder)
    remove_folder(plan.home / "pip-cache")
    yield watch.progress(finished=True)


def _pip_runs(plan: InstallPlan, partial: Path) -> Iterator[list[str]]:
    """Arguments of each `pip install`: a pip that reports its progress, torch from its own index, the whole lock."""
    always = [
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-input",
        "--disable-pip-version-check",
        "--no-warn-script-location",
    ]
    for requirement, text in read_pins(plan.lock.read_text(encoding="utf-8"), plan.target).items():
        name = requirement.split("==")[0]
        if name == "pip" or (name == "torch" and plan.torch_index is not None):
            own = partial / f"{name}-requirement.txt"
            own.write_text(text, encoding="utf-8")
            index = ["--extra-index-url", plan.torch_index] if name == "torch" and plan.torch_index else []
            yield [*always, "--no-deps", *index, "-r", str(own)]
    yield [*always, "-r", str(plan.lock)]


def _has_raw_progress(partial: Path) -> bool:
    """Whether the environment's pip is 24.1 or later, which can report bytes line by line."""
    found = [re.search(r"pip-(\d+)\.(\d+)", folder.name) for folder in _site_packages(partial).glob("pip-*.dist-info")]
    return any(version is not None and (int(version[1]), int(version[2])) >= (24, 1) for version in found)


def _site_packages(partial: Path) -> Path:
    return next(iter(partial.glob("lib/python3.*/site-packages")), partial / "Lib" / "site-packages")


def _move_into_place(partial: Path, folder: Path) -> None:
    old = folder.with_name("environment.old")
    try:
        remove_folder(old)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except OSError as error:
        raise InstallError(
            f"The old engine cannot be replaced ({error.strerror}): close other Blenders and try again."
        ) from error
    remove_folder(old)


class _Runner:
    """Runs children one after the other, yielding their lines; "" when there is no news. Writes them to the log."""

    def __init__(self, plan: InstallPlan, log: IO[str], wait_s: float) -> None:
        self._log, self._wait_s = log, wait_s
        environment = clean_environment(os.environ, plan.home)
        for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_NO_CACHE_DIR"):
            environment.pop(name, None)
        self._environment = {**environment, "PIP_USER": "0", "PIP_CACHE_DIR": str(plan.home / "pip-cache"), "PYTHONUTF8": "1"}

    def __call__(self, command: list[str]) -> Iterator[str]:
        self._log.write(f"$ {' '.join(command[:8])}\n")
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment,
                creationflags=flags, start_new_session=sys.platform != "win32",
            )  # fmt: skip
        except OSError as error:
            message = f"{command[0]} cannot be started ({error.strerror}): choose another Python in the preferences."
            raise InstallError(message) from error
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert child.stdout is not None
        reader = threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True)
        reader.start()
        said: list[str] = []
        heard = time.monotonic()
        try:
            while True:
                try:
                    line = lines.get(timeout=self._wait_s) if self._wait_s > 0 else lines.get_nowait()
                except queue.Empty:
                    if time.monotonic() - heard > SILENCE_S:
                        raise InstallError(f"The installer was silent for {SILENCE_S / 60:.0f} minutes: try again.") from None
                    yield ""
                    continue
                heard = time.monotonic()
                if line is None:
                    break
                if not line.startswith("Progress "):
                    said.append(line)
                    self._log.write(line + "\n")
                    self._log.flush()
                yield line
            if child.wait(timeout=60) != 0:
                raise InstallError(explain_failure(said))
        finally:
            _kill(child)
            reader.join(timeout=10)
            child.stdout.close()


def _read_lines(stream: IO[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    for line in iter(stream.readline, b""):
        lines.put(line.decode("utf-8", "replace").rstrip())
    lines.put(None)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and, where the system can, what it started."""
    if sys.platform != "win32" and child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait(timeout=60)


class _Watch:
    """Turns pip's lines into progress."""

    WEIGHTS: ClassVar = {"prepare": 0.03, "download": 0.7, "install": 0.22, "check": 0.05}

    def __init__(self, plan: InstallPlan, partial: Path) -> None:
        self.stage = "prepare"
        self.raw_progress = False
        self._plan, self._partial = plan, partial
        self._package = ""
        self._collected: set[str] = set()
        self._bytes_before = self._bytes_now = self._downloaded = 0
        self._started: float | None = None
        self._bytes_per_s = 0.0
        self._best = 0.0

    def read(self, line: str) -> None:
        """Take note of one line that pip printed."""
        if found := re.match(r"Collecting ([A-Za-z0-9_.-]+)==|Requirement already satisfied: ([A-Za-z0-9_.-]+)==", line):
            self.stage = "download"
            self._end_file()
            self._package = found[1] or found[2]
            self._collected.add(self._package)
        elif found := re.match(r"Progress (\d+) of (\d+)", line):
            self._started = self._started or time.monotonic()
            self._downloaded += max(0, int(found[1]) - self._bytes_now)
            self._bytes_now = int(found[1])
            elapsed = time.monotonic() - self._started
            self._bytes_per_s = self._downloaded / elapsed if elapsed > 0 else 0.0
        elif found := re.match(r"\s*(?:Using cached|Downloading) \S+\.whl \(([\d.]+) (bytes|kB|MB|GB)\)", line):
            self._end_file()
            if "Using cached" in line or not self.raw_progress:
                self._bytes_now = int(float(found[1]) * {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]])
        elif found := re.match(r"Processing (\S.*\.whl)", line):
            self._end_file()
            self.stage = "download"
            self._package = os.path.basename(found[1]).split("-")[0].replace("_", "-").lower()
            self._collected.add(self._package)
            self._bytes_now = os.path.getsize(found[1]) if os.path.exists(found[1]) else 0
        elif line.startswith("Installing collected packages"):
            self._end_file()
            self.stage = "install"

    def _end_file(self) -> None:
        self._bytes_before += self._bytes_now
        self._bytes_now = 0

    def progress(self, *, finished: bool = False) -> InstallProgress:
        """The current progress of the installation."""
        total = len(self._plan.packages)
        bytes_done = min(self._bytes_before + self._bytes_now, self._plan.download_bytes)
        installed = min(total, sum(1 for _ in _site_packages(self._partial).glob("*.dist-info")))
        done = installed if self.stage == "install" else len(self._collected)
        weights = self.WEIGHTS
        share = weights["download"] * bytes_done / max(self._plan.download_bytes, 1) + weights["install"] * installed / max(
            total, 1
        )
        if self.stage != "prepare":
            share += weights["prepare"]
        if self.stage == "check":  # nothing else is left, whatever the lock said of sizes
            done, share = total, 1.0 - weights["check"]
        self._best = 1.0 if finished else max(self._best, share)
        return InstallProgress(
            self.stage, self._best, self._package, min(done, total), total, bytes_done, self._plan.download_bytes,
            self._bytes_per_s,
        )  # fmt: skip


def explain_failure(lines: Iterable[str]) -> str:
    """One sentence for the artist from what a failed child printed."""
    said = "\n".join(lines)
    if "DO NOT MATCH THE HASHES" in said:
        found = re.search(r"^\s+(\S+?)(?:==\S+)? from (\S+)", said, re.MULTILINE)
        name = found[1] if found else "package"
        return (
            f"The downloaded {name} is not the file Tetraview was tested with (wrong hash), so it was left out: try again later."
        )
    if re.search(
        r"NewConnectionError|NameResolution|ConnectTimeout|ReadTimeout|ProxyError|Connection ?(refused|reset|broken|aborted|to )"
        r"|Max retries|Retrying \(Retry|Failed to establish|timed out",
        said,
    ):
        return "The package index cannot be reached: check the network and proxy, then install again; nothing is lost."
    if re.search(r"CERTIFICATE_VERIFY_FAILED|SSLError", said):
        return "The package index's certificate is not trusted: check the clock and any network filter, then try again."
    if re.search(r"No space left on device|Errno 28|WinError 112", said):
        return "The disk is full: free some space, then press Install engine again."
    if re.search(r"ensurepip is not available|No module named '?(ensurepip|venv)", said):
        return "This Python cannot make environments (venv is missing): on Debian install python3-venv, or choose another Python."
    if "No matching distribution found" in said or "Could not find a version" in said:
        found = re.search(r"No matching distribution found for (\S+)|requirement (\S+)", said)
        name = (found[1] or found[2]) if found else "such package"
        if "from versions: none" in said:  # an index that does not answer has no version of anything
            return f"The package index cannot be reached, or has no {name} for this machine: check the network, then try again."
        return f"The package index has no {name} for this machine: try again later, or report it."
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "no message")
    return f"The installation failed: {last.strip()[:300]}"
