"""Faults on the command line: each is one sentence without a traceback, and leaves nothing half done."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from tetraview.engine import cli
from tetraview.engine.errors import explained
from tetraview.engine.types import VIEW_NAMES


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with photos and framed views, to run commands in."""
    for kind, mode, background in (("photos", "RGB", "#dde0e4"), ("views", "RGBA", None)):
        (tmp_path / kind).mkdir()
        for name in VIEW_NAMES:
            image = Image.new(mode, (128, 128), background)
            ImageDraw.Draw(image).ellipse((40, 40, 88, 88), fill=(40, 90, 200))
            image.save(tmp_path / kind / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii"])
def test_output_in_an_old_encoding_is_escaped_not_an_error(place, encoding):
    words = ["reconstruct", "--views", "views", "-o", "стул-椅子-é", "--stop-after", "photos"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-m", "tetraview", *words], cwd=place, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("ascii", "replace")
    assert b"Stopped after photos" in done.stdout and (place / "стул-椅子-é" / "views" / "left.png").is_file()


def failure(capsys, *words: str) -> str:
    """The one sentence of a command that fails."""
    assert cli.main(list(words)) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "unexpected" not in said
    sentences = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1
    return sentences[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_no_picture(place, capsys):
    for kind, words in (("views", ["--views", "views"]), ("photos", ["photos"])):
        (place / kind / "left.png").unlink()
        os.mkfifo(place / kind / "left.png")
        assert "is not a file" in failure(capsys, "reconstruct", *words, "-o", "out", "--stop-after", "photos")
    assert not (place / "out").exists()


def test_pictures_that_are_far_too_large(place, capsys):
    Image.new("RGBA", (12_000, 12_000)).save(place / "views" / "left.png", compress_level=1)
    assert "too large" in failure(capsys, "reconstruct", "--views", "views", "-o", "out", "--stop-after", "photos")
    with open(place / "photos" / "left.png", "r+b") as file:
        file.truncate(40_000_000_000)  # sparse: takes no room
    assert "larger than 1 GB" in failure(capsys, "reconstruct", "photos", "-o", "out", "--stop-after", "photos")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"elevation_deg": NaN}', '{"elevation_deg": 1e308}', '{"elevation_deg": []}'])
def test_a_damaged_elevation_is_named(place, capsys, text):
    (place / "views" / "elevation.json").write_text(text)
    words = ["reconstruct", "--views", "views", "--find-elevation", "-o", "out", "--stop-after", "photos"]
    assert "elevation.json cannot be read" in failure(capsys, *words)


def test_a_deep_request_is_no_job(place, capsys):
    (place / "job").mkdir()
    (place / "job" / "request.json").write_text("[" * 100_000)
    assert "is not a job folder" in failure(capsys, "orbit", "job", "-o", "x.gif", "--volumetric")


def test_a_job_that_cannot_begin_leaves_no_folder_in_the_home(place, capsys):
    assert "typo.png" in failure(capsys, "reconstruct", "--front", "typo.png", "--prompt", "a ball", "--views-only")
    assert not list((place / "home" / "jobs").iterdir())


def test_any_whole_number_is_a_seed(place):
    assert cli.main(["reconstruct", "--views", "views", "--seed", "-5", "-o", "out", "--stop-after", "planes"]) == 0


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_second_interrupt_ends_at_once_without_a_traceback(place):
    """The command hangs while it ends, as one does that waits for a step."""
    code = """if True:
        import sys, time
        from tetraview.engine import cli
        class Command:
            @staticmethod
            def run(args):
                try:
                    print("ready", flush=True)
                    time.sleep(600)
                finally:
                    print("ending", flush=True)
                    time.sleep(600)
        options = {"command": "x", "verbose": False, "debug": False}
        cli.command_module = lambda name: Command
        cli.build_parser = lambda chosen: __import__("argparse").ArgumentParser()
        cli.argparse.ArgumentParser.parse_args = lambda self, words: cli.argparse.Namespace(**options)
        sys.exit(cli.main([]))"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for word in ("ready", "ending"):
        assert child.stdout.readline().strip() == word
        child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in said


@pytest.mark.parametrize("text", ["libtorch_cpu.so: failed to map segment from shared object", "std::bad_alloc"])
def test_a_library_that_finds_no_memory_is_understood(text):
    assert "out of memory" in str(explained(ImportError(text)))
    assert "out of memory" in str(explained(OSError(errno.ENOMEM, "Cannot allocate memory")))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
def test_an_engine_that_cannot_be_loaded_for_lack_of_memory_says_so(place):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    command = [sys.executable, "-m", "tetraview", "reconstruct", "--views", "views", "-o", "out", "--stop-after", "planes"]
    done = subprocess.run(command, cwd=place, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 1 and "out of memory" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--views", "--model", "--front", "-o"])
@pytest.mark.parametrize("path", ["a\0b", "half \ud800 pair"])
def test_a_path_that_no_file_can_have_is_named(place, capsys, option, path):
    views = [] if option in ("--views", "--front") else ["--views", "views"]
    out = [] if option == "-o" else ["-o", "out"]
    assert "no path can have" in failure(capsys, "reconstruct", *views, *out, option, path, "--prompt", "a chair")
