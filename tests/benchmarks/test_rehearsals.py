"""The benchmarks run from end to end, everything tiny, as programs of their own; what they find is not looked at."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import results
import torch
from full_size import FULL_SIZE, Clock, _if_there, _simplified

from .conftest import BENCHMARKS


def rehearse(script: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, str(BENCHMARKS / script), "--rehearse", *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=240, check=True).stdout


@pytest.mark.slow
def test_the_processors_benchmark_fills_its_section_alone(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    before = results.RESULTS.read_text(encoding="utf-8")
    path.write_text(before, encoding="utf-8")
    rehearse("cpu.py", "--parts", "lattice", "triplane", "march", "texture", "--output", str(path))
    after = path.read_text(encoding="utf-8")
    section = results.read_section(after, "cpu")
    assert results.replace_section(after, "cpu", results.read_section(before, "cpu")) == before
    for what in (
        "signed distance",
        "triplane forward",
        "triplane backward",
        "marching tetrahedra",
        "back-projection",
        "Machine: ",
    ):
        assert what in section
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {8}


@pytest.mark.slow
def test_the_full_size_asset_fills_its_section(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("<!-- gpu-full-size: begin -->\nnot measured\n<!-- gpu-full-size: end -->\n")
    rehearse("full_size.py", "--runs", "1", "--output", str(path))
    section = results.read_section(path.read_text(encoding="utf-8"), "gpu-full-size")
    if not torch.cuda.is_available():
        assert section.startswith("no GPU: a rehearsal, not a measurement")
    for phase in (
        "denoiser, 4 steps",
        "planes",
        "lattice of 32 to closed mesh",
        "simplify",
        "unwrap",
        "bake 256 px",
        "GPU phases",
    ):
        assert phase in section
    assert "not measured" not in section  # no phase misses its library here


def test_sums_count_what_they_name() -> None:
    clock = Clock(torch.device("cpu"))
    for _ in range(2):
        for name, kind in (("a", "GPU"), ("b", "CPU"), ("c", "beside")):
            with clock.phase(name, kind):
                pass
    clock.seconds = {"a": [1.0, 2.0], "b": [10.0, 20.0], "c": [100.0, 200.0]}
    assert clock.total(("GPU",)) == [1.0, 2.0]
    assert clock.total(("GPU", "CPU")) == [11.0, 22.0]
    lines = clock.report().splitlines()
    assert lines[-1] == "| **GPU and CPU phases** | sum | 11 s | 22 s (22 s) | - |"
    assert lines[-3] == "| c | beside | 100 s | 200 s (200 s) | - |"


def test_a_phase_without_its_library_is_named() -> None:
    clock = Clock(torch.device("cpu"))
    for _ in range(2):
        with clock.phase("a"):
            pass

    def needs() -> None:
        raise ModuleNotFoundError("No module named 'embreex'", name="embreex")

    _if_there(clock, "whole texture", "beside", needs)
    assert "whole texture" not in clock.seconds
    assert "| whole texture | - | not measured: embreex is not installed | - | - |" in clock.report()


def test_without_the_simplifier_a_coarser_sphere_is_unwrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(torch.device("cpu"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    verts, faces = _simplified(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), FULL_SIZE, clock)
    assert 5_000 < len(faces) < 20_000  # about as many as after simplifying
    assert abs(np.linalg.norm(verts, axis=1) - 0.6).max() < 0.1
    assert "fast_simplification is not installed" in clock.missing["simplify"]
