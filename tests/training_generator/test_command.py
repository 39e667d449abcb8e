"""`python -m tetraview train`: every stage of the generator from the command line, one after the other, on a pack of boxes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.retrieval.example_bank import ExampleBank

from ..engine.dataset.pack_writer import write_pack
from ..tiny_generators import random_text_encoder, spelling_tokenizer
from .conftest import BOXES

ROOT = Path(__file__).resolve().parents[2]


def in_steps(box, number: int) -> dict:
    """A box as `write_pack` takes it."""
    return {
        "id": f"{box.id}-{number}",
        "mode": "palette",
        "verts": np.round((box.verts + 1) / 2 * 8191).astype(np.int64),
        "uvs": np.round(box.uvs * 4095).astype(np.int64),
        "faces": box.faces,
        "texture": box.texture,
        "meta": {**box.meta, "licence": "CC0-1.0"},
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    (folder / "data").mkdir()
    write_pack(folder / "data" / "train_00.npz", [in_steps(box, 0) for box in BOXES])
    write_pack(folder / "data" / "val_00.npz", [in_steps(BOXES[0], 1)])
    tokenizer = spelling_tokenizer(("red", "blue", "green", "box"))
    tokenizer.save_pretrained(folder / "out" / "text" / "tokenizer")
    random_text_encoder(len(tokenizer), table_dim=16).save_pretrained(folder / "out" / "text" / "text_encoder")
    return folder


def train(place: Path, stage: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tetraview", "train", stage, "--data", str(place / "data"), *words]
    return subprocess.run(
        command, cwd=place, env={**os.environ, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True, timeout=300
    )


def steps_of(place: Path, stage: str) -> int:
    return int((place / "out" / stage / "curves.csv").read_text().splitlines()[-1].split(",")[0])


@pytest.mark.slow
def test_every_stage_runs_and_goes_on_where_it_stopped(place: Path) -> None:
    common = ("--out", "out", "--minutes", "5", "--workers", "1")
    short = (*common, "--batch", "2", "--sheet-jobs", "1", "--no-judge")
    done = train(place, "autoencoder", *common, "--batch", "2", "--max-steps", "2")
    assert done.returncode == 0, done.stderr
    for most in ("1", "2"):
        done = train(place, "generator", *short, "--max-steps", most)
        assert done.returncode == 0, done.stderr
    assert "resuming at step 1" in done.stderr
    done = train(place, "distill", *short, "--max-steps", "1", "--export", "ship")
    assert done.returncode == 0, done.stderr
    done = train(place, "examples", "--cache", "out/cache/grids_train", "--out", "ship")
    assert done.returncode == 0 and done.stdout.startswith("3 examples"), done.stderr

    pipeline = FourViewPipeline.from_pretrained(place / "ship")
    assert pipeline.guidance_is_folded and pipeline.view_px == 128
    assert {entry.caption for entry in ExampleBank.from_pretrained(place / "ship").entries} == {b.meta["caption"] for b in BOXES}
    assert json.loads((place / "ship" / "unet" / "config.json").read_text())["in_channels"] == 17
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (place / "ship").rglob("*.safetensors"))


def test_missing_input_is_said_in_one_sentence(place: Path) -> None:
    empty = place / "nothing"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tetraview", "train", "generator", "--data", str(empty)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "No train_*.npz" in done.stderr and "Traceback" not in done.stderr
    done = train(place, "distill", "--out", "elsewhere", "--no-judge")
    assert done.returncode == 1 and "run `train generator` first" in done.stderr
