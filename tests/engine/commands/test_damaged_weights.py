"""Damaged weights of an artist's own on the command line: one sentence, exit status 1, no remarks of libraries, no network."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tetraview.engine import cli
from tetraview.engine.errors import WeightsError
from tetraview.engine.models.loading import load_generator
from tetraview.engine.models.registry import CONFIG_FILE, WEIGHTS_FILE
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.types import VIEW_NAMES

from ...tiny_generators import tiny_components, tiny_sdxl_components
from ..process.conftest import TINY


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of whole weights: "reconstructor", "generator" of the starter's layout, and "sdxl" of the full-size one."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("whole")
    Reconstructor(**TINY).save_pretrained(place / "reconstructor")
    FourViewPipeline(**tiny_components()).save_pretrained(place / "generator")
    FourViewPipeline(**tiny_sdxl_components()).save_pretrained(place / "sdxl")
    return place


@pytest.fixture
def command(whole, tmp_path, monkeypatch) -> Callable[[str], list[str]]:
    """Copies the model of a name to `mine`, and gives the words of a command that uses it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path / "home"))
    Path("views").mkdir()
    for name in VIEW_NAMES:
        Image.new("RGBA", (64, 64), (40, 90, 200, 255)).save(f"views/{name}.png")

    def words(model: str) -> list[str]:
        shutil.copytree(whole / model, "mine")
        if model == "reconstructor":
            return ["reconstruct", "--views", "views", "--model", "mine", "-o", "out", "--stop-after", "planes"]
        return ["generate", "a chair", "--generator", "mine", "--views-only", "--steps", "1", "-o", "out"]

    return words


def one_sentence(said: str) -> str:
    """The one line of a standard error stream, the progress bar left out."""
    lines = [line for line in re.split(r"[\r\n]+", said) if line.strip() and "%|" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "unexpected" not in said, said
    return lines[0]


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def first(weights: dict[str, torch.Tensor]) -> str:
    """The name of the first weight that is a floating-point number."""
    return min(name for name, tensor in weights.items() if tensor.is_floating_point())


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:99]),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "no weights": lambda path: path.write_bytes(b"no weights" * 100),
    "endless header": lambda path: path.write_bytes(b"\xff" * 7 + path.read_bytes()[7:]),
    "a pickle": lambda path: torch.save({"weight": torch.zeros(2)}, path),
    "gone": lambda path: path.unlink(),
    "one missing": lambda path: rewrite(path, lambda weights: weights.pop(first(weights))),
    "one too many": lambda path: rewrite(path, lambda weights: weights.update(more=torch.zeros(2))),
    "another shape": lambda path: rewrite(path, lambda weights: weights.update({first(weights): torch.zeros(3)})),
    "another network": lambda path: save_file({"other": torch.zeros(2)}, path, metadata={"format": "pt"}),
    "not a number": lambda path: rewrite(path, lambda weights: weights[first(weights)].fill_(float("nan"))),
    "whole numbers": lambda path: rewrite(path, lambda weights: weights.update({first(weights): weights[first(weights)].int()})),
}
SETTINGS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "half": lambda path: path.write_text(path.read_text()[:40]),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "a list": lambda path: path.write_text("[]"),
    "a number": lambda path: path.write_text("3"),  # diffusers takes it for the name of a model on the network
    "deep": lambda path: path.write_text("[" * 100_000),
    "words for numbers": lambda path: path.write_text(
        json.dumps({key: value if key.startswith("_") else "x" for key, value in json.loads(path.read_text()).items()})
    ),
}
CASES = [
    *(("reconstructor", WEIGHTS_FILE, kind) for kind in WEIGHTS),
    *(("reconstructor", CONFIG_FILE, kind) for kind in SETTINGS),
    *(("generator", f"{part}/{WEIGHTS_FILE}", kind) for part in ("unet", "vae", "text_encoder") for kind in WEIGHTS),
    *(("generator", f"{part}/{CONFIG_FILE}", kind) for part in ("unet", "vae", "text_encoder") for kind in SETTINGS),
    *(("generator", "scheduler/scheduler_config.json", kind) for kind in SETTINGS),
    *(("generator", "model_index.json", kind) for kind in SETTINGS if kind != "words for numbers"),  # it has no numbers
    *(("sdxl", f"unet/{WEIGHTS_FILE}", kind) for kind in ("cut short", "gone", "one missing", "another shape")),
    *(("sdxl", f"vae/{WEIGHTS_FILE}", kind) for kind in ("cut short", "one missing", "another network")),
    *(("sdxl", "text_encoder/model.safetensors", kind) for kind in ("cut short", "gone", "one missing", "another shape")),
    *(("sdxl", "text_encoder_2/model.safetensors", kind) for kind in ("one missing", "another network")),
    *(("sdxl", "text_encoder/config.json", kind) for kind in SETTINGS),
    *(("sdxl", "tokenizer/tokenizer_config.json", kind) for kind in SETTINGS),
]


@pytest.mark.parametrize(("model", "file", "kind"), CASES, ids=["-".join(case).replace("/", ":") for case in CASES])
def test_each_kind_of_damage_is_one_sentence(command, monkeypatch, capfd, caplog, model, file, kind):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("the network was asked"))
    words = command(model)
    (SETTINGS if file.endswith(".json") else WEIGHTS)[kind](Path("mine") / file)
    assert cli.main(words) == 1
    sentence = one_sentence(capfd.readouterr().err)
    assert re.search(r"mine.* (cannot be read|are damaged|it needs)", sentence)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_nothing_is_filled_in_where_accelerate_is_not_installed(command, monkeypatch, part):
    """The engine's own environment has no accelerate; diffusers then begins from random numbers, not from empty weights."""
    monkeypatch.setattr("diffusers.utils.import_utils._accelerate_available", False)
    command("sdxl")
    WEIGHTS["one missing"](Path("mine") / part / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match="generator weights in mine cannot be read"):
        load_generator(Path("mine"), "cpu")


@pytest.mark.parametrize("model", ["generator", "sdxl"])
def test_a_card_without_room_is_no_damage(command, monkeypatch, model):
    """Jobs go on with the processor then, for which they must learn of it."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FourViewPipeline, "to", full)
    command(model)
    with pytest.raises(torch.OutOfMemoryError):
        load_generator(Path("mine"), "cpu")


@pytest.mark.parametrize("model", ["reconstructor", "generator", "sdxl"])
def test_whole_weights_are_used(command, model):
    words = command(model)
    assert cli.main(words) == 0 or model != "reconstructor"  # the others' weights are random: what they paint may be empty
    assert Path("out/log.txt").is_file() and "cannot load" not in Path("out/log.txt").read_text()


def test_words_without_rows_are_named(command, capfd):
    words = command("generator")
    path = Path("mine/tokenizer/vocab.txt")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-5]))
    assert cli.main(words) == 1
    assert re.search("generator weights in .*mine cannot be read", one_sentence(capfd.readouterr().err))


def test_a_process_of_its_own_says_no_more(command):
    """The log of the job has the traceback, standard error has not."""
    words = command("reconstructor")
    WEIGHTS["one missing"](Path("mine") / WEIGHTS_FILE)
    done = subprocess.run([sys.executable, "-m", "tetraview", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search("The reconstructor weights in .*mine cannot be read: download them again", one_sentence(done.stderr))
    assert "Traceback" in Path("out/log.txt").read_text()
