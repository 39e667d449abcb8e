"""The command line, run as a person runs it: exit statuses, messages, files."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tetraview.engine import cli
from tetraview.engine.commands import doctor, orbit
from tetraview.engine.commands.options import (
    add_painting_options,
    add_result_options,
    add_strip_options,
    build_request,
    named_photos,
    photos_in_folder,
)
from tetraview.engine.commands.reconstruct import given_photos
from tetraview.engine.errors import EngineError, InvalidRequestError
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.request_fields import describe, request_from_dict, request_to_dict
from tetraview.engine.types import VIEW_NAMES, GenerateRequest

from ..process.conftest import TINY, save_tiny_generator


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with tiny models, photos and framed views, to run commands in."""
    import torch
    from tetraview.engine.reconstructor import Reconstructor

    folder = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    model = Reconstructor(**TINY)
    with torch.no_grad():
        model.decoder.sdf.weight.zero_()
        model.decoder.sdf.bias.fill_(0.5)
    model.save_pretrained(folder / "model")
    save_tiny_generator(folder / "generator")
    for kind, mode, background in (("photos", "RGB", "#dde0e4"), ("views", "RGBA", None)):
        (folder / kind).mkdir()
        for name in VIEW_NAMES:
            image = Image.new(mode, (128, 128), background)
            ImageDraw.Draw(image).ellipse((40, 40, 88, 88), fill=(40, 90, 200))
            image.save(folder / kind / f"{name}.png")
    return folder


def tetraview(*words: str | Path, cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with its home under `cwd`."""
    environment = {**os.environ, "TETRAVIEW_HOME": str(cwd / "home")}
    command = [sys.executable, "-m", "tetraview", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def finished(place) -> subprocess.CompletedProcess[str]:
    """A whole run into `place/out`."""
    options = ("--poly-budget", "500", "--texture", "256", "--model", "model", "--seed", "3")
    return tetraview("reconstruct", "--views", "views", "-o", "out", *options, cwd=place)


def test_help_is_fast_and_names_the_commands(place):
    result = tetraview("--help", cwd=place)
    assert result.returncode == 0
    for name in cli.SUMMARIES:
        assert re.search(rf"^ +{name} ", result.stdout, re.M), name
    script = "import sys, tetraview.engine.cli as cli; cli.build_parser('reconstruct'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("name", ["generate", "reconstruct", "orbit", "doctor"])
def test_help_of_commands(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: python -m tetraview" in shown and max(map(len, shown.splitlines())) < 140


@pytest.mark.parametrize(
    "words",
    [
        [], ["dance"], ["reconstruct"], ["reconstruct", "one.png", "two.png"], ["reconstruct", "a", "--views", "b"],
        ["reconstruct", "a", "--front", "b"], ["reconstruct", "a", "--texture", "77"],
        ["reconstruct", "a", "--stop-after", "lunch"], ["reconstruct", "a", "--views-only", "--stop-after", "mesh"],
        ["generate"], ["generate", "  "], ["generate", "a", "b"], ["generate", "--views", "v", "--flip", "top"],
        ["generate", "--views", "v", "--repaint", ","], ["generate", "a chair", "--steps", "many"],
        ["orbit"], ["orbit", "x", "-o", "x.mp3"], ["orbit", "x", "-o", "x.gif", "--frames", "0"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_reconstruct_leaves_the_promised_files(place, finished):
    assert finished.returncode == 0, finished.stderr
    job = JobFolder(place / "out")
    assert finished.stdout.splitlines()[0] == str(job.glb)
    assert job.glb.read_bytes()[:4] == b"glTF"
    request = GenerateRequest.from_json(job.request.read_text())
    assert (request.poly_budget, request.texture_px, request.seed) == (500, 256, 3)
    assert set(json.loads(job.timings.read_text())) == {*request.phases, "total"}
    assert all(path.is_file() for path in job.view_paths.values())
    assert "100%" in finished.stderr and "Traceback" not in finished.stderr
    assert (place / "home" / "history.json").is_file()


def test_events_are_one_json_object_a_line(place):
    result = tetraview("reconstruct", "photos", "-o", "cut", "--stop-after", "photos", "--events", "json", cwd=place)
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["type"] for event in events][-1] == "Views" and {event["type"] for event in events[:-1]} == {"Progress"}
    assert {Path(path).parent for path in events[-1]["paths"].values()} == {place / "cut" / "views"}


def test_without_output_a_job_is_made_in_the_home(place):
    result = tetraview("reconstruct", "--views", "views", "--stop-after", "photos", cwd=place)
    assert result.returncode == 0, result.stderr
    folder = Path(result.stdout.split(": ")[1].strip())
    assert folder.parent == place / "home" / "jobs" and (folder / "views" / "front.png").is_file()


def test_a_prompt_is_painted_one_view_again_and_another_mirrored(place, monkeypatch, capsys):
    """The session that the help of `generate` shows, up to the mesh."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAVIEW_HOME", str(place / "home"))
    small = ["--generator", "generator", "--steps", "2", "--views-only", "--device", "cpu"]
    assert cli.main(["generate", "a red chair", "--seed", "7", "-o", "first", *small]) == 0
    again = ["--views", "first/views", "--repaint", "left", "--seed", "8", "--flip", "back", "--front", "photos/front.png"]
    assert cli.main(["generate", "a red chair", *again, "-o", "second", *small]) == 0
    assert capsys.readouterr().out.splitlines() == [f"Stopped after views: {place / name}" for name in ("first", "second")]
    first, second = ({name: JobFolder(place / job).view(name) for name in VIEW_NAMES} for job in ("first", "second"))
    assert first["right"].read_bytes() == second["right"].read_bytes()
    assert first["left"].read_bytes() != second["left"].read_bytes()
    assert np.array_equal(np.asarray(Image.open(first["back"]))[:, ::-1], np.asarray(Image.open(second["back"])))
    assert tuple(np.asarray(Image.open(second["front"]))[256, 256]) == (40, 90, 200, 255)
    request = GenerateRequest.from_json(JobFolder(place / "second").request.read_text())
    assert (request.replace, request.repaint, request.flip) == (("front",), ("left",), ("back",))


def test_one_photo_and_a_prompt_to_a_mesh_with_its_orbit(place):
    words = ["--front", "photos/front.png", "--prompt", "a ball", "--orbit", "--orbit-frames", "4", "--orbit-px", "64"]
    small = ["--generator", "generator", "--model", "model", "--steps", "2", "--texture", "256", "--poly-budget", "500"]
    result = tetraview("reconstruct", *words, *small, "-o", "ball", cwd=place)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[:2] == [str(place / "ball" / "orbit.gif"), str(place / "ball" / "asset.glb")]
    assert {"views", "orbit"} <= set(json.loads((place / "ball" / "timings.json").read_text()))
    assert "Warning" not in result.stderr and "Loading pipeline" not in result.stderr


def test_every_painting_option_reaches_the_request(tmp_path):
    numbers = ["--seed", "3", "--steps", "9", "--guidance", "2.5", "--object-size", "0.7"]
    words = ["--negative", "wood", *numbers, "--no-examples", "--generator", "g", "--model", "m", "-o", str(tmp_path)]
    args = cli.build_parser("generate").parse_args(["generate", "a chair", *words])
    request = build_request(args, named_photos(args), args.prompt)
    assert (request.prompt, request.negative_prompt, request.seed, request.steps) == ("a chair", "wood", 3, 9)
    assert (request.guidance, request.object_size, request.use_examples, request.orbit_frames) == (2.5, 0.7, False, 0)
    assert (request.generator, request.model) == (str(Path("g").absolute()), str(Path("m").absolute()))
    assert request.photos == {} and request.views_dir is None and args.stop_after is None


def test_photos_may_be_one_folder_the_front_alone_or_all_four(tmp_path):
    (tmp_path / "back.png").write_bytes(b"")
    assert given_photos([str(tmp_path)]) == {"back": str(tmp_path / "back.png")}
    assert given_photos(["chair.jpg"]) == {"front": "chair.jpg"}
    assert given_photos(list("abcd")) == dict(zip(VIEW_NAMES, "abcd", strict=True))
    assert given_photos([]) == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reconstruct", "nowhere"], "is not a folder"),
        (["reconstruct", "a.png", "b.png", "c.png", "d.png"], "a.png"),
        (["reconstruct", "gone.png", "--generator", "generator"], "gone.png"),
        (["reconstruct", "--front", "photos/front.png", "--generator", "nowhere"], "no generator weights"),
        (["generate", "a chair", "--generator", "nowhere"], "no generator weights"),
        (["generate", "a chair", "--generator", "generator", "--steps", "0"], "out of range"),
        (["generate", "a chair", "--generator", "generator", "--flip", "left"], "no views to flip"),
        (["generate", "--views", "views", "--flip", "left", "--views-only", "-o", "."], "another output folder"),
        (["reconstruct", "model"], "no photo named front"),
        (["reconstruct", "photos", "--poly-budget", "7"], "out of range"),
        (["reconstruct", "photos", "--device", "abacus"], "device 'abacus' is not offered"),
        (["reconstruct", "--views", "views", "--model", "nowhere"], "no reconstructor weights"),
        (["orbit", "nowhere", "-o", "x.gif"], "holds no asset"),
        (["orbit", "nowhere.glb", "-o", "x.gif"], "no file"),
        (["orbit", "out", "-o", "x.gif", "--background", "plaid"], "not a colour"),
    ],
)
def test_failures_exit_with_1_and_one_sentence(place, words, sentence, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAVIEW_HOME", str(place / "home"))
    assert cli.main([*words, *([] if "-o" in words else ["-o", "failed"])]) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and sentence in errors[0] and lines[-1] == errors[0]


def test_unexpected_errors_are_a_sentence_unless_debugging(monkeypatch, capsys):
    def broken(args):
        raise ZeroDivisionError("by us")

    monkeypatch.setattr(doctor, "run", broken)
    assert cli.main(["doctor"]) == 1
    assert "ZeroDivisionError: by us" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", "doctor"])


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
@pytest.mark.parametrize("kilobytes", [1, 20, 60])
def test_a_full_disk_is_one_sentence_and_leaves_no_partial_file(place, kilobytes):
    """A limit on the size of files stands for a disk that fills up, in whichever phase."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    out = f"full{kilobytes}"
    words = ["reconstruct", "--views", "views", "-o", out, "--model", "model", "--texture", "256", "--poly-budget", "500"]
    environment = {**os.environ, "TETRAVIEW_HOME": str(place / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "tetraview", *words], cwd=place, env=environment, preexec_fn=limit, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: There is no room left to write ")
    assert "Traceback" not in done.stderr
    assert not list((place / out).rglob(".tmp-*")) and not (place / out / "asset.glb").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_interrupt_exits_with_130_and_no_asset(place):
    environment = {**os.environ, "TETRAVIEW_HOME": str(place / "home")}
    words = ["reconstruct", "--views", "views", "-o", "stopped", "--model", "model", "--events", "json"]
    command = [sys.executable, "-m", "tetraview", *words]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=place, env=environment, stdout=pipe, stderr=pipe, text=True)
    while '"planes"' not in child.stdout.readline():
        pass
    child.send_signal(signal.SIGINT)
    _, log = child.communicate(timeout=60)
    assert child.returncode == 130 and log.splitlines()[-1] == "interrupted"
    assert not (place / "stopped" / "asset.glb").exists()


def test_doctor_passes_only_if_jobs_can_run(place):
    good = tetraview("doctor", "--model", "model", "--generator", "generator", cwd=place)
    assert good.returncode == 0 and "threads" in good.stdout and re.search("^kernels: ", good.stdout, re.M)
    assert len(re.findall(r"sha256 [0-9a-f]{64}", good.stdout)) == 4 and "views of 16 px" in good.stdout
    bad = tetraview("doctor", "--model", "nowhere", "--generator", "nowhere", cwd=place)
    assert bad.returncode == 1
    assert all(f"PROBLEM: There are no {what} weights" in bad.stdout for what in ("reconstructor", "generator"))


def test_doctor_says_which_kernels_run_compiled(monkeypatch, tmp_path):
    from tetraview.kernels import loader, programs

    lines: list[str] = []
    doctor._kernels(lines, ["mps", "cpu"])
    assert lines == ["kernels: PyTorch twins, as on every machine without an NVIDIA GPU"]

    def backend(source, definitions, device):
        if source == "raster":
            warnings.warn("no raster: update the driver", RuntimeWarning, stacklevel=1)
            return None
        assert definitions == loader.variants(source)[0]
        return object()

    monkeypatch.setattr(loader, "target", lambda device: "sm_90")
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path))
    others = ", ".join(name for name in loader.sources() if name != "raster")
    lines.clear()
    with programs.use_backend("cuda", backend):
        doctor._kernels(lines, ["cuda", "cpu"])
    assert lines == [
        f"kernels: {others} compiled for sm_90, kept in {tmp_path / 'kernels'}",
        "kernels: PyTorch twins for raster",
        "  no raster: update the driver",
    ]
    lines.clear()
    with programs.use_backend("cuda", lambda *_: None):
        doctor._kernels(lines, ["cuda", "cpu"])
    assert lines == [f"kernels: PyTorch twins for {', '.join(loader.sources())}"]


def test_doctor_hides_the_home_folder(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jane"))
    assert doctor.anonymise("python: /home/jane/x/python") == "python: ~/x/python"


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ""])
def test_orbit_of_a_job(place, finished, suffix, monkeypatch, capsys):
    assert finished.returncode == 0, finished.stderr
    monkeypatch.chdir(place)
    output = place / f"orbit{suffix}"
    assert cli.main(["orbit", "out", "-o", str(output), "--frames", "6", "--size", "64", "--seconds", "1.2"]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    if suffix in (".gif", ".webp"):
        with Image.open(output) as image:
            assert image.n_frames == 6 and image.size == (64, 64) and image.info["loop"] == 0
            image.seek(1)
            image.load()
            assert image.info["duration"] == 200
            frame = np.asarray(image.convert("RGB"))
    elif suffix == ".png":
        with Image.open(output) as sheet:
            assert sheet.size == (3 * 64, 2 * 64)
            frame = np.asarray(sheet.convert("RGB"))[:64, :64]
    else:
        frames = sorted(output.iterdir())
        assert [path.name for path in frames] == [f"frame_{i:04d}.png" for i in range(6)]
        frame = np.asarray(Image.open(frames[0]).convert("RGB"))
    assert (frame[:4, :4] > 245).all()  # white ground
    middle = frame[32, 32].astype(int)
    assert middle[2] > middle[0] + 50  # the blue ball


def test_orbit_of_a_glb_shows_the_same_object(place, finished):
    assert finished.returncode == 0, finished.stderr
    from_job, from_glb = orbit.load_source(place / "out"), orbit.load_source(place / "out" / "asset.glb")
    spread = [np.ptp(mesh.verts, axis=0) for mesh in (from_job, from_glb)]
    assert np.allclose(spread[0] / spread[0].max(), spread[1] / spread[1].max(), atol=0.01)
    assert len(from_job.faces) == len(from_glb.faces)


def test_orbit_of_the_field(place, finished, monkeypatch):
    assert finished.returncode == 0, finished.stderr
    monkeypatch.chdir(place)
    words = ["--volumetric", "--frames", "1", "--size", "32", "--background", "none"]
    assert cli.main(["orbit", "out", "-o", "field.png", *words]) == 0
    pixels = np.asarray(Image.open(place / "field.png"))
    assert pixels.shape == (32, 32, 4) and pixels[0, 0, 3] == 0 and pixels[16, 16, 3] > 128


def test_damaged_assets_are_named(tmp_path):
    job = JobFolder(tmp_path)
    job.asset.write_bytes(b"no archive")
    Image.new("RGB", (4, 4)).save(job.albedo)
    with pytest.raises(EngineError, match="damaged"):
        orbit.load_source(tmp_path)


def test_photos_in_folder_by_name_whatever_case_and_suffix(tmp_path):
    for name in ("Front.JPG", "right.png", "back.webp", "notes.txt", "left.txt"):
        (tmp_path / name).write_bytes(b"")
    assert {name: Path(path).name for name, path in photos_in_folder(tmp_path).items()} == {
        "front": "Front.JPG", "right": "right.png", "back": "back.webp",
    }  # fmt: skip
    (tmp_path / "front.png").write_bytes(b"")
    with pytest.raises(InvalidRequestError, match="two photos of the front view"):
        photos_in_folder(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["front.HEIC", "Right.heif", "back.jfif"], {"front": "front.HEIC", "right": "Right.heif", "back": "back.jfif"}),
        (["chair_front.JPG", "chair_left.JPG"], {"front": "chair_front.JPG", "left": "chair_left.JPG"}),
        (["IMG_1.HEIC", "IMG_2.HEIC"], "holds no photo named front, right, back or left: rename its 2 photos"),
        (["front.jpg", "left.cr2"], "left.cr2 is a raw photo, which cannot be read here"),
        (["notes.txt"], "put photos there"),
    ],
)
def test_photos_in_folder_are_told_as_in_blender(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    if isinstance(expected, dict):
        assert {name: Path(path).name for name, path in photos_in_folder(tmp_path).items()} == expected
    else:
        with pytest.raises(InvalidRequestError, match=expected):
            photos_in_folder(tmp_path)


@pytest.mark.parametrize("name", ["front.HEIC", "front.jfif", "front.pdf"])
def test_one_photo_of_any_kind_is_the_front(tmp_path, name):
    assert given_photos([name]) == {"front": name}
    (tmp_path / "photo").write_bytes(b"")
    assert given_photos([str(tmp_path / "photo")]) == {"front": str(tmp_path / "photo")}


@dataclasses.dataclass(frozen=True)
class GlossyRequest(GenerateRequest):
    """A request with one more field: nothing else knows of it."""

    gloss: float = dataclasses.field(
        default=0.5,
        metadata=describe("How glossy it is", label="Gloss", bounds=(0, 1), unit="share", changes="painting", group="painting"),
    )


def test_a_new_field_is_an_option_is_checked_and_survives_the_wire(capsys):
    parser = argparse.ArgumentParser()
    add_strip_options(parser, GlossyRequest)
    add_painting_options(parser, GlossyRequest)
    add_result_options(parser, GlossyRequest)
    assert "--gloss X" in parser.format_help() and "how glossy it is; 0 to 1 (default 0.5)" in " ".join(
        parser.format_help().split()
    )
    plain, glossy = (
        build_request(parser.parse_args(["-o", "out", *words]), {}, "a ball", GlossyRequest) for words in ([], ["--gloss", "0.9"])
    )
    assert (plain.gloss, glossy.gloss) == (0.5, 0.9)
    assert plain.views_key() != glossy.views_key()
    assert GlossyRequest.from_json(glossy.to_json()) == glossy
    assert request_from_dict(GlossyRequest, json.loads(json.dumps(request_to_dict(glossy)))) == glossy
    with pytest.raises(InvalidRequestError, match="The request's gloss must be a number, not 'much'"):
        request_from_dict(GlossyRequest, {**request_to_dict(glossy), "gloss": "much"})
    with pytest.raises(InvalidRequestError, match="Gloss 2 is out of range: use 0 to 1"):
        dataclasses.replace(glossy, gloss=2.0).check()
