"""The command line of the reconstructor's training, and the options that all models share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from tetraview.engine.errors import InvalidRequestError
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.training import command, view_cache
from tetraview.engine.training.loop import LoopConfig
from tetraview.engine.training.options import loop_settings

from .test_training import TINY, box


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    return parser


def test_sources_are_weighted_by_name(parser: argparse.ArgumentParser) -> None:
    args = parser.parse_args(["reconstructor", "--data", "d", "--source-weight", "ycb=3", "--source-weight", "a=b=0.5"])
    assert dict(args.source_weight) == {"ycb": 3.0, "a=b": 0.5}


@pytest.mark.parametrize("text", ["ycb", "ycb=", "=3", "ycb=many", "ycb=-1", "ycb=nan"])
def test_another_kind_of_weight_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not SOURCE=WEIGHT"):
        command.source_weight(text)


@pytest.mark.parametrize("model", ["reconstructor", "cutout", "autoencoder", "generator", "distill"])
def test_every_model_takes_the_loop_s_options(parser: argparse.ArgumentParser, model: str) -> None:
    plain = LoopConfig(**loop_settings(parser.parse_args([model, "--data", "d"])))
    minutes = 45.0 if model == "cutout" else 60.0
    assert plain == LoopConfig(minutes=minutes)  # what is not given stays the model's default
    words = "--minutes 2 --max-steps 7 --learning-rate 0.5 --warmup-steps 9 --ema-decay 0.5 --accumulate 3 --sheet-every 11"
    words += " --no-bf16 --compile --seed 5"
    args = parser.parse_args([model, "--data", "d", *words.split(), "--start-from", "w", "--threads", "1", "--device", "cpu"])
    assert LoopConfig(**loop_settings(args)) == LoopConfig(
        minutes=2,
        max_steps=7,
        learning_rate=0.5,
        warmup_steps=9,
        ema_decay=0.5,
        accumulate=3,
        sheet_every=11,
        bf16=False,
        compile=True,
        seed=5,
    )
    assert args.start_from == "w"


def test_both_stages_of_the_reconstructor_run(
    parser: argparse.ArgumentParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_cache, "load_objects", lambda pack: [box("red", (0.5, 0.3, 0.6), (200, 30, 30))])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    (tmp_path / "train_00.npz").write_bytes(b"")
    Reconstructor(**TINY).save_pretrained(tmp_path / "given")
    out = tmp_path / "out"
    words = ["reconstructor", "--data", str(tmp_path), "--out", str(out), "--px", "32", "--targets", "3", "--objects", "1"]
    words += ["--rays", "64", "--workers", "1", "--no-bf16", "--device", "cpu", "--max-steps", "2"]
    with pytest.raises(InvalidRequestError, match="train stage volumetric first"):
        command.run(parser.parse_args([*words, "--stage", "mesh"]))
    with pytest.raises(InvalidRequestError, match=r"no config\.json"):
        command.run(parser.parse_args([*words, "--start-from", str(tmp_path / "nothing")]))
    assert command.run(parser.parse_args([*words, "--start-from", str(tmp_path / "given"), "--learning-rate", "1e-12"])) == 0
    trained, given = (Reconstructor.from_pretrained(folder) for folder in (out / "reconstructor", tmp_path / "given"))
    same = {name for name, p in given.named_parameters() if torch.allclose(p, trained.state_dict()[name], atol=1e-6)}
    assert {name for name, _ in given.named_parameters()} - same <= {"decoder.sdf.weight", "decoder.sdf.bias"}
    assert command.run(parser.parse_args([*words, "--stage", "mesh", "--export", str(tmp_path / "shipped")])) == 0
    assert (out / "mesh" / "checkpoint.pt").exists() and (tmp_path / "shipped" / "config.json").exists()
    settings = json.loads((out / "mesh" / "train_config.json").read_text())
    assert (settings["learning_rate"], settings["warmup_steps"], settings["batch"]["views"]) == (2e-4, 20, 2)
