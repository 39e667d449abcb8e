"""Installing with real venv and pip child processes, from wheels made here and a package index on the loopback address."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tetraview.engine.client import environment, installer
from tetraview.engine.client.environment import InstallError, InstallPlan
from tetraview.engine.client.installer import InstallProgress, install, install_steps
from tetraview.engine.errors import CancelledError

TARGET = environment.target_name(sys.version_info[:2])


def make_wheel(folder: Path, name: str, extra_bytes: int = 0) -> Path:
    """A wheel of one module `name` with the constant `ANSWER`, and a data file of `extra_bytes` random bytes."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": b"ANSWER = 42\n",
        f"{name}_data.bin": os.urandom(extra_bytes),
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{member},sha256={digest},{len(content)}\n"
            archive.writestr(member, content)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", record + f"{name}-1.0.dist-info/RECORD,,\n")
    return path


class Index(http.server.ThreadingHTTPServer):
    """A package index that counts downloads and stops in the middle of `slow` wheels until `go_on` is set."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.folder = folder
        self.served: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()


class IndexHandler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        name = self.path.strip("/").split("/")[-1]
        wheel = self.server.folder / name
        if wheel.suffix == ".whl" and wheel.is_file():
            self.server.served.append(name)
            body, kind = wheel.read_bytes(), "application/octet-stream"
        else:
            links = "".join(f'<a href="/files/{path.name}">{path.name}</a>' for path in self.server.folder.glob(f"{name}-*.whl"))
            body, kind = f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600" if wheel.suffix == ".whl" else "no-store")
        self.end_headers()
        half = len(body) // 2 if wheel.suffix == ".whl" and name.startswith("slow") else len(body)
        try:
            self.wfile.write(body[:half])
            self.wfile.flush()
            if half < len(body):
                self.server.go_on.wait()
            self.wfile.write(body[half:])
        except ConnectionError:
            pass  # the installation was cancelled

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    server = Index(folder)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/simple")
    monkeypatch.setenv("PIP_TRUSTED_HOST", f"127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "must-not-be-seen"))
    yield server
    server.shutdown()
    server.server_close()


def make_plan(tmp_path: Path, wheels: list[Path], *, wrong_hash: bool = False) -> InstallPlan:
    lock_folder = tmp_path / "wheels"
    lock_folder.mkdir(exist_ok=True)
    lines = [f"# target {TARGET} {len(wheels)} {sum(wheel.stat().st_size for wheel in wheels)}"]
    for wheel in wheels:
        digest = "0" * 64 if wrong_hash else hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{wheel.name.split('-')[0]}==1.0 \\\n    --hash=sha256:{digest}")
    (lock_folder / "requirements-cpu.txt").write_text("\n".join(lines) + "\n")
    return environment.plan("cpu", tmp_path / "home", lock_folder=lock_folder)


def state(tmp_path: Path) -> str:
    return environment.status(tmp_path / "home", lock_folder=tmp_path / "wheels").state


def test_cancel_then_resume_then_use(tmp_path: Path, index: Index) -> None:
    plan = make_plan(tmp_path, [make_wheel(index.folder, "quickpkg", 3000), make_wheel(index.folder, "slowpkg", 400_000)])
    index.go_on.clear()
    seen: list[InstallProgress] = []

    with pytest.raises(CancelledError):  # does not wait for the download, which would not end
        install(plan, sys.executable, seen.append, lambda: seen[-1].package == "slowpkg")
    assert seen[-1].stage == "download" and 0 < seen[-1].fraction < 0.9
    assert state(tmp_path) == "missing" and not plan.folder.exists()
    assert index.served.count("quickpkg-1.0-py3-none-any.whl") == 1

    index.go_on.set()
    seen.clear()
    install(plan, sys.executable, seen.append, lambda: False)
    assert state(tmp_path) == "installed"
    assert index.served.count("quickpkg-1.0-py3-none-any.whl") == 1, "what was downloaded before is not downloaded again"
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert seen[-1].done == seen[-1].total == 2
    assert {progress.stage for progress in seen} == {"prepare", "download", "install", "check"}
    assert not (plan.home / "pip-cache").exists() and not (plan.home / "environment.partial").exists()
    marker = json.loads((plan.folder / environment.MARKER_NAME).read_text())
    assert marker["lock_sha256"] == plan.lock_sha256

    python = environment.status(plan.home, lock_folder=plan.lock.parent).python
    code = "import slowpkg, sys; print(slowpkg.ANSWER, [p for p in sys.path if 'must-not' in p])"
    said = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["42", "[]"]


def test_a_wrong_hash_installs_nothing_and_keeps_the_working_engine(tmp_path: Path, index: Index) -> None:
    plan = make_plan(tmp_path, [make_wheel(index.folder, "quickpkg")], wrong_hash=True)
    environment.make_own(plan.folder)
    (plan.folder / "kept").write_text("the engine that works")
    with pytest.raises(InstallError, match="quickpkg is not the file Tetraview was tested with"):
        install(plan, sys.executable, lambda progress: None, lambda: False)
    assert (plan.folder / "kept").exists()
    assert "DO NOT MATCH THE HASHES" in environment.report(plan.home)


def test_no_network_is_said_so(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(tmp_path, [make_wheel(index.folder, "quickpkg")])
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(InstallError, match="package index cannot be reached"):
        install(plan, sys.executable, lambda progress: None, lambda: False)
    assert state(tmp_path) == "missing"


def test_a_package_that_does_not_import_is_not_installed(tmp_path: Path, index: Index) -> None:
    wheel = make_wheel(index.folder, "xatlas")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("xatlas/__init__.py", "raise ImportError('no such library on this machine')")
    plan = make_plan(tmp_path, [wheel])
    with pytest.raises(InstallError, match="no such library on this machine"):
        install(plan, sys.executable, lambda progress: None, lambda: False)
    assert state(tmp_path) == "missing"


def test_closing_the_steps_ends_the_child(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(tmp_path, [make_wheel(index.folder, "slowpkg", 400_000)])
    children: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            children.append(self)

    monkeypatch.setattr(installer.subprocess, "Popen", Recorded)
    steps = install_steps(plan, sys.executable, wait_s=0)
    for _ in range(5):
        next(steps)
    (child,) = children
    assert child.poll() is None, "five steps do not wait for the environment to be made: a timer may take them"
    steps.close()
    assert child.poll() is not None
    with pytest.raises(StopIteration):
        next(steps)


def test_too_little_disk_is_refused_before_anything_is_made(tmp_path: Path, index: Index) -> None:
    plan = make_plan(tmp_path, [make_wheel(index.folder, "quickpkg")])
    plan = InstallPlan(**{**vars(plan), "needed_bytes": plan.free_bytes + 1})
    with pytest.raises(InstallError, match="free some space"):
        next(install_steps(plan, sys.executable))
    assert not plan.home.exists()


def test_a_python_that_is_none(tmp_path: Path, index: Index) -> None:
    plan = make_plan(tmp_path, [make_wheel(index.folder, "quickpkg")])
    with pytest.raises(InstallError, match="cannot be started"):
        install(plan, str(tmp_path / "no-python"), lambda progress: None, lambda: False)


@pytest.mark.slow
@pytest.mark.skipif("TETRAVIEW_FULL_INSTALL" not in os.environ, reason="downloads 350 MB: set TETRAVIEW_FULL_INSTALL=1 to run it")
def test_the_whole_engine_installs_from_the_shipped_lock(tmp_path: Path) -> None:
    plan = environment.plan("cpu", tmp_path / "home")
    install(plan, sys.executable, lambda progress: None, lambda: False)
    assert environment.status(plan.home).state == "installed"
