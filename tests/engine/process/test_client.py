"""Real engine processes: jobs, cancelling, crashes, silence, garbage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tetraview.engine.client import EngineProcess
from tetraview.engine.client.process import LAUNCHER, clean_environment
from tetraview.engine.errors import CancelledError, EngineMissingError, EngineStoppedError, InvalidRequestError, WeightsError
from tetraview.engine.job.generate import generate
from tetraview.engine.job.history import TimingHistory
from tetraview.engine.process import protocol
from tetraview.engine.types import VIEW_NAMES, Asset, Planes, Preview, Progress, Views
from tetraview.engine.version import __version__

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def until(condition, timeout_s: float = 600) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def wait_for_phase(job, phase: str) -> None:
    """Poll until the job reports this phase."""
    seen = []
    until(lambda: seen.extend(job.poll()) or any(isinstance(event, Progress) and event.phase == phase for event in seen))


def lingering(pid: int) -> bool:
    """Whether the process still runs (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_hello_names_versions_and_device(warm_engine):
    until(lambda: warm_engine.ready)
    hello = warm_engine.hello
    assert hello["protocol"] == protocol.PROTOCOL_VERSION
    assert hello["engine_version"] == __version__
    assert hello["torch"] == torch.__version__
    assert hello["device"] in ("cpu", "cuda", "mps")
    assert hello["pid"] == warm_engine.pid != os.getpid()


def test_job_result_equals_generate_in_process(warm_engine, request_from_views, tmp_path):
    events = list(warm_engine.submit(request_from_views("child")).run())
    assert [type(event) for event in events if not isinstance(event, Progress)] == [Views, Planes, Asset]
    here = list(generate(request_from_views("here"), history=TimingHistory(tmp_path)))[-1]
    child = events[-1]
    with np.load(child.mesh) as one, np.load(here.mesh) as two:
        for name in two.files:
            assert np.array_equal(one[name], two[name]), name
    assert np.array_equal(np.asarray(Image.open(child.albedo)), np.asarray(Image.open(here.albedo)))
    assert (child.n_faces, child.weights_sha256, child.engine_version) == (here.n_faces, here.weights_sha256, here.engine_version)


def test_painting_in_the_child_shows_the_same_as_here(warm_engine, request_to_paint, photos_dir, tmp_path):
    photos = {"front": str(photos_dir / "front.jpg")}
    events = list(warm_engine.submit(request_to_paint("child", photos=photos, steps=3), stop_after="views").run())
    here = list(generate(request_to_paint("here", photos=photos, steps=3), stop_after="views", history=TimingHistory(tmp_path)))
    child, here = ([event for event in found if not isinstance(event, Progress)] for found in (events, here))
    assert [type(event) for event in child] == [Preview, Preview, Preview, Views]
    for one, other in zip(child, here, strict=True):
        assert list(one.paths) == list(other.paths)
        assert all(Path(one.paths[name]).read_bytes() == Path(other.paths[name]).read_bytes() for name in one.paths)
    strip = {"views_dir": str(tmp_path / "child" / "views"), "repaint": ("left",), "seed": 9, "photos": {}}
    new = list(warm_engine.submit(request_to_paint("new", **strip), stop_after="views").run())[-1]
    same = [name for name in VIEW_NAMES if Path(new.paths[name]).read_bytes() == Path(child[-1].paths[name]).read_bytes()]
    assert same == ["front", "right", "back"]


def test_cancelling_a_painting_keeps_the_process(warm_engine, request_to_paint):
    until(lambda: warm_engine.ready)
    pid = warm_engine.pid
    job = warm_engine.submit(request_to_paint(steps=100), stop_after="views")
    seen = []
    until(lambda: seen.extend(job.poll()) or any(isinstance(event, Preview) for event in seen))
    job.cancel()
    until(lambda: job.ended)
    with pytest.raises(CancelledError):
        list(job.run())
    assert not list(Path(request_to_paint().output_dir, "views").iterdir()) and warm_engine.pid == pid


def test_done_comes_last(warm_engine, request_from_views):
    job = warm_engine.submit(request_from_views(), stop_after="photos")
    events = []
    until(lambda: events.extend(job.poll()) or job.done)
    assert isinstance(events[-1], Views) and job.poll() == []


@posix
def test_poll_returns_while_the_engine_says_nothing(own_engine, lasting_request):
    job = own_engine.submit(lasting_request)
    wait_for_phase(job, "planes")
    os.kill(own_engine.pid, signal.SIGSTOP)
    until(lambda: not job.poll())  # what it had said before
    assert [job.poll() for _ in range(1000)] == [[]] * 1000  # a poll that waits for a message would never come back
    os.kill(own_engine.pid, signal.SIGCONT)
    job.cancel()
    until(lambda: job.ended)


def test_jobs_run_one_after_the_other(warm_engine, request_from_views):
    jobs = [warm_engine.submit(request_from_views(f"job{i}"), stop_after="planes") for i in range(3)]
    assert [isinstance(list(job.run(300))[-1], Planes) for job in jobs] == [True] * 3


def test_errors_arrive_as_their_class_and_the_process_lives_on(warm_engine, request_from_views, tmp_path):
    pid = warm_engine.pid
    with pytest.raises(WeightsError, match="no reconstructor weights"):
        list(warm_engine.submit(request_from_views(model=str(tmp_path))).run())
    with pytest.raises(InvalidRequestError):
        warm_engine.submit(request_from_views(poly_budget=3))
    assert isinstance(list(warm_engine.submit(request_from_views(), stop_after="photos").run())[-1], Views)
    assert warm_engine.pid == pid


def test_cancel_ends_the_job_and_keeps_the_process(warm_engine, request_from_views, lasting_request):
    pid = warm_engine.pid
    job = warm_engine.submit(lasting_request)
    waiting = warm_engine.submit(request_from_views("waiting"))
    wait_for_phase(job, "planes")
    waiting.cancel()
    job.cancel()
    until(lambda: job.ended and waiting.ended)
    for cancelled in (job, waiting):
        with pytest.raises(CancelledError):
            list(cancelled.run())
    assert not Path(request_from_views().output_dir, "asset.glb").exists()
    assert not Path(request_from_views("waiting").output_dir).exists()
    assert list(warm_engine.submit(request_from_views(), stop_after="photos").run())
    assert warm_engine.pid == pid


def test_no_thread_outlives_a_closed_engine_even_just_after_a_cancel(tmp_path, lasting_request):
    before = set(threading.enumerate())
    with EngineProcess(sys.executable, tmp_path / "home", grace_s=60) as engine:
        job = engine.submit(lasting_request)
        wait_for_phase(job, "photos")
        job.cancel()
        with pytest.raises(CancelledError):
            list(job.run(300))
    assert set(threading.enumerate()) <= before


def test_closing_the_iterator_cancels(warm_engine, lasting_request):
    job = warm_engine.submit(lasting_request)
    events = job.run()
    next(events)
    events.close()
    until(lambda: job.ended)
    with pytest.raises(CancelledError):
        list(job.run())


@posix
def test_deaf_engine_is_killed_after_the_grace_period_and_restarted(tmp_path, request_from_views, lasting_request):
    with EngineProcess(sys.executable, tmp_path / "home", grace_s=1.0) as engine:
        job = engine.submit(lasting_request)
        wait_for_phase(job, "photos")
        os.kill(engine.pid, signal.SIGSTOP)
        deaf = engine.pid
        job.cancel()
        until(lambda: job.ended, 30)
        with pytest.raises(CancelledError):
            list(job.run())
        until(lambda: not lingering(deaf), 30)
        assert list(engine.submit(request_from_views(), stop_after="photos").run(300))
        assert engine.pid != deaf


@posix
def test_killed_engine_is_reported_with_its_signal_and_log(own_engine, request_from_views, lasting_request):
    job = own_engine.submit(lasting_request)
    wait_for_phase(job, "planes")
    os.kill(own_engine.pid, signal.SIGKILL)
    with pytest.raises(EngineStoppedError, match="killed by signal 9") as caught:  # and not: has not answered for so long
        list(job.run())
    assert caught.value.exit_code == -9
    assert any("INFO tetraview.engine" in line for line in caught.value.log_tail)
    assert caught.value.log_tail[-1] in str(caught.value)
    assert not own_engine.alive
    assert list(own_engine.submit(request_from_views(), stop_after="photos").run(300))  # and it starts again


@posix
def test_a_job_that_a_dying_engine_never_heard_of_is_done_by_a_new_one(own_engine, request_from_views):
    until(lambda: own_engine.ready)
    first = own_engine.pid
    os.kill(first, signal.SIGSTOP)  # whatever is sent now stays in the pipe
    job = own_engine.submit(request_from_views(), stop_after="photos")
    os.kill(first, signal.SIGKILL)
    assert isinstance(list(job.run())[-1], Views)
    assert own_engine.pid != first


@posix
def test_it_is_sent_again_only_once_and_not_after_a_cancel(own_engine, request_from_views):
    for ask_cancel, expected in ((False, EngineStoppedError), (True, CancelledError)):
        own_engine.start()
        until(lambda: own_engine.ready)
        first = own_engine.pid
        os.kill(first, signal.SIGSTOP)
        job = own_engine.submit(request_from_views(), stop_after="photos")
        if ask_cancel:
            job.cancel()
        os.kill(first, signal.SIGKILL)
        if not ask_cancel:
            until(lambda job=job, first=first: job.poll() == [] and own_engine.alive and own_engine.pid != first)
            os.kill(own_engine.pid, signal.SIGKILL)
        with pytest.raises(expected):
            list(job.run())


@posix
def test_native_crash_leaves_its_trace_in_the_report(own_engine, lasting_request):
    job = own_engine.submit(lasting_request)
    wait_for_phase(job, "planes")
    os.kill(own_engine.pid, signal.SIGSEGV)
    with pytest.raises(EngineStoppedError) as caught:
        list(job.run())
    assert "most recent call first" in own_engine.log_path.read_text()
    assert caught.value.log_tail


@posix
def test_silent_engine_is_stopped(tmp_path, lasting_request):
    with EngineProcess(sys.executable, tmp_path / "home", silence_limit_s=1.5) as engine:
        job = engine.submit(lasting_request)
        wait_for_phase(job, "photos")
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(EngineStoppedError, match=r"not answered for 1.5 seconds"):
            list(job.run())
        until(lambda: not engine.alive, 30)


def test_engine_that_cannot_start(tmp_path, request_from_views):
    with pytest.raises(EngineMissingError, match="cannot be started") as caught:
        EngineProcess(str(tmp_path / "nothing"), tmp_path).submit(request_from_views())
    assert caught.value.fix == "tetraview.install_engine"


@posix
def test_python_without_the_packages_is_reported_with_its_log(tmp_path, request_from_views):
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.exit(\\"no module named torch\\")"\n')
    bare.chmod(0o755)
    job = EngineProcess(str(bare), tmp_path).submit(request_from_views())
    with pytest.raises(EngineStoppedError, match=r"exit status 1.*no module named torch"):
        list(job.run())


def test_run_gives_up_after_its_timeout(own_engine, request_from_views):
    with pytest.raises(EngineStoppedError, match="longer than"):
        list(own_engine.submit(request_from_views()).run(timeout_s=0.01))


def test_close_ends_the_process_and_its_jobs(tmp_path, lasting_request):
    with EngineProcess(sys.executable, tmp_path / "home") as engine:
        job = engine.submit(lasting_request)
        wait_for_phase(job, "photos")
        pid = engine.pid
        engine.close()
        assert not engine.alive and not lingering(pid)
        with pytest.raises(CancelledError):
            list(job.run())  # and the second close, on leaving, does no harm


@posix
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_engine_exits_when_its_parent_is_killed(tmp_path):
    script = f"""
        import signal, sys, time
        from pathlib import Path
        from tetraview.engine.client import EngineProcess
        engine = EngineProcess(sys.executable, Path({str(tmp_path)!r}))
        engine.start()
        while not engine.ready:
            time.sleep(0.05)
        print(engine.pid, flush=True)
        signal.pause()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    with parent:
        pid = int(parent.stdout.readline())
        assert lingering(pid)
        parent.kill()
    until(lambda: not lingering(pid), 30)


class RawEngine:
    """The engine process without the client, to speak to it as badly as one likes."""

    def __init__(self, home: Path, command: list[str] | None = None, environment: dict[str, str] | None = None) -> None:
        self.child = subprocess.Popen(
            command or [sys.executable, "-I", str(LAUNCHER), "--home", str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment or clean_environment(os.environ, home),
        )  # fmt: skip

    def __enter__(self) -> RawEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            stream.close()

    def send(self, line: bytes) -> None:
        self.child.stdin.write(line + b"\n")
        self.child.stdin.flush()

    def next(self, *kinds: str) -> dict:
        """The next message of one of these kinds; every line must be a message."""
        while True:
            message = protocol.decode(self.child.stdout.readline(), "message")
            if message["message"] in kinds:
                return message


def test_garbage_on_stdin_is_answered_not_fatal(tmp_path):
    garbage = [
        b"garbage", b"\xff\xfe\x00", b"[1, 2]", b"{}", b'{"command": 5}', b'{"command": "dance"}', b'{"command": "generate"}',
        b'{"command": "cancel"}', b"[" * 100_000, b"x" * (protocol.MAX_LINE_BYTES + 10),
    ]  # fmt: skip
    with RawEngine(tmp_path) as engine:
        for line in garbage:
            engine.send(line)
            error = engine.next("error")
            assert error["job_id"] is None and "bad command" in error["text"]
        wrong = [{}, [], 3, {"photos": 5, "output_dir": "x"}, {"photos": {}, "output_dir": "x", "seed": "y"}, {"colour": 1}]
        for index, request in enumerate(wrong):
            engine.send(json.dumps({"command": "generate", "job_id": f"j{index}", "request": request}).encode())
            error = engine.next("error")
            assert error["job_id"] == f"j{index}" and error["kind"] == "InvalidRequestError"
        engine.send(b'{"command": "generate", "job_id": "k", "request": {}, "stop_after": "lunch"}')
        assert engine.next("error")["kind"] == "InvalidRequestError"
        engine.send(b'{"command": "cancel", "job_id": "unknown"}')
        engine.send(b'{"command": "ping", "token": 7}')
        assert engine.next("pong")["token"] == 7
        engine.child.stdin.close()
        assert engine.child.wait(60) == 0


def test_stray_prints_do_not_break_the_protocol(tmp_path, request_from_views):
    """Prints from Python and from native code, during a job, go to the log."""
    script = f"""
        import os, runpy, sys
        sys.argv = [{str(LAUNCHER)!r}, "--home", {str(tmp_path)!r}]
        from importlib import import_module
        launch = runpy.run_path({str(LAUNCHER)!r})
        launch["load_package"](launch["Path"]({str(LAUNCHER)!r}).parents[2])
        steps = import_module("tetraview.engine.job.run")
        original = steps.frame_views
        def noisy(*arguments):
            print("stray print")
            os.write(1, b"stray native write\\n")
            os.system("echo stray child")
            assert sys.stdin.read() == ""
            return original(*arguments)
        steps.frame_views = noisy
        import_module("tetraview.engine.process.worker").main(sys.argv[1:])
    """
    request = protocol.request_to_dict(request_from_views())
    with RawEngine(tmp_path, [sys.executable, "-I", "-c", textwrap.dedent(script)]) as engine:
        engine.send(json.dumps({"command": "generate", "job_id": "a", "request": request, "stop_after": "photos"}).encode())
        assert engine.next("done", "error")["message"] == "done"
        engine.child.stdin.close()
        log = engine.child.stderr.read().decode()
    for words in ("stray print", "stray native write", "stray child"):
        assert words in log


def test_unexpected_errors_are_told_and_logged(tmp_path, request_from_views):
    script = f"""
        import runpy
        from importlib import import_module
        launch = runpy.run_path({str(LAUNCHER)!r})
        launch["load_package"](launch["Path"]({str(LAUNCHER)!r}).parents[2])
        steps = import_module("tetraview.engine.job.run")
        def broken(*arguments):
            raise ZeroDivisionError("by us")
        steps.frame_views = broken
        import_module("tetraview.engine.process.worker").main(["--home", {str(tmp_path)!r}])
    """
    request = protocol.request_to_dict(request_from_views())
    with RawEngine(tmp_path, [sys.executable, "-I", "-c", textwrap.dedent(script)]) as engine:
        engine.send(json.dumps({"command": "generate", "job_id": "a", "request": request}).encode())
        error = engine.next("done", "error")
        assert error["kind"] == "EngineError" and "ZeroDivisionError: by us" in error["text"]
        engine.child.stdin.close()
        assert "Traceback" in engine.child.stderr.read().decode()
    assert "Traceback" in Path(request["output_dir"], "log.txt").read_text()


def test_a_cuda_toolkit_stays_out_of_the_engines_environment(tmp_path):
    toolkit, driver = tmp_path / "cuda-11" / "lib64", tmp_path / "driver"
    for path in (toolkit / "libcudart.so.11.0", toolkit / "libcublas.so.11", driver / "libcuda.so.1"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    environment = {
        "CUDA_PATH": str(toolkit), "CUDA_PATH_V11_8": str(toolkit), "CUDA_HOME": str(toolkit), "CUDA_ROOT": str(toolkit),
        "CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": f"{toolkit}:{driver}:{tmp_path / 'gone'}",
    }  # fmt: skip
    cleaned = clean_environment(environment, tmp_path)
    assert {name for name in cleaned if name.startswith("CUDA")} == {"CUDA_VISIBLE_DEVICES"}
    assert cleaned["LD_LIBRARY_PATH"] == f"{driver}:{tmp_path / 'gone'}"
    assert "LD_LIBRARY_PATH" not in clean_environment({"LD_LIBRARY_PATH": str(toolkit)}, tmp_path)
    assert "LD_LIBRARY_PATH" not in clean_environment({}, tmp_path)


def test_package_loads_from_a_folder_of_another_name_and_ignores_the_environment(tmp_path, request_from_views):
    """As in Blender, where the folder may be called anything, PYTHONPATH may point anywhere, and nothing is written there."""
    renamed = tmp_path / "bl_ext_user_default"
    renamed.symlink_to(LAUNCHER.parents[2], target_is_directory=True)
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "torch.py").write_text("raise SystemExit('wrong torch')")
    environment = {**os.environ, "PYTHONPATH": str(poison), "PYTHONHOME": str(poison), "VIRTUAL_ENV": "x"}
    cleaned = clean_environment(environment, tmp_path)
    assert [name for name in cleaned if name.startswith(("PYTHON", "VIRTUAL"))] == ["PYTHONNOUSERSITE"]
    command = [sys.executable, "-I", str(renamed / "engine" / "process" / "launch.py"), "--home", str(tmp_path)]
    with RawEngine(tmp_path, command, {**cleaned, "PYTHONPATH": str(poison)}) as engine:
        assert engine.next("hello")["torch"] == torch.__version__
