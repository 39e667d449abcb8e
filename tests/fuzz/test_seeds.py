"""Every seed goes through its target, as fuzzing would send it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = sorted(path for path in (ROOT / "tests" / "fuzz_seeds").rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def _root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))  # the targets lie beside the package, as benchmarks do


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_seed_raises_nothing_unexpected(seed):
    importlib.import_module(f"fuzz.{seed.parent.name}").run(seed.read_bytes())


def test_every_target_has_seeds():
    assert {path.parent.name for path in SEEDS} == set(importlib.import_module("fuzz").TARGETS)
