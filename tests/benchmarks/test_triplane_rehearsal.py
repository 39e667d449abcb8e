"""The triplane benchmark from end to end, tiny, on the processor: the code that measures, once a GPU is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import results
import torch
import triplane as benchmark

from .conftest import BENCHMARKS

SCRIPT = [sys.executable, str(BENCHMARKS / "triplane.py")]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


@pytest.mark.slow
def test_a_rehearsal_fills_the_table(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("before\n<!-- gpu-triplane: begin -->\nnot measured\n<!-- gpu-triplane: end -->\nafter\n")
    arguments = ["--rehearse", "--output", str(path)]
    subprocess.run([*SCRIPT, *arguments], env=ENVIRONMENT, stdout=subprocess.DEVNULL, timeout=240, check=True)
    section = results.read_section(path.read_text(encoding="utf-8"), "gpu-triplane")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 6 * 3 and {len(row) for row in rows} == {10}
    assert [row[2] for row in rows[:3]] == ["forward", "backward, atomic", "backward, sorted"]
    for row in rows:
        assert float(row[3]) > 0 and float(row[6]) > 0, row  # torch and ours
        assert row[4] == "-" or float(row[4]) > 0, row
    assert "failed" not in section and "wrong" not in section and "no time" not in section
    if not torch.cuda.is_available():
        assert section.startswith("no GPU: a rehearsal, not a measurement")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run(SCRIPT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip() == "no CUDA GPU: not measured"


def test_the_bound_is_that_of_the_table_of_prior_art() -> None:
    row = benchmark.Row("", benchmark.lattice(2), 64, 40, count=128**3)
    for forward in (True, False):
        assert row.bytes_at_least(forward) == 12 * 128**3 + 3 * 64**2 * 40 * 4 + 128**3 * 40 * 4
    half = benchmark.Row("", benchmark.lattice(2), 256, 32, torch.float16, count=256**3)
    assert half.bytes_at_least(True) == 12 * 256**3 + 3 * 256**2 * 32 * 2 + 256**3 * 32 * 2
    assert half.bytes_at_least(False) == 12 * 256**3 + 3 * 256**2 * 32 * 4 + 256**3 * 32 * 2


def test_points_are_where_they_should_be() -> None:
    device = torch.device("cpu")
    lattice = benchmark.lattice(4)(device)
    assert lattice[:4, 2].tolist() == [-0.75, -0.25, 0.25, 0.75] and len(lattice.unique(dim=0)) == 64
    rays = benchmark.rays(2, 5, 7)(device).reshape(2, 5, 5, 7, 3)
    assert torch.equal(rays[0], rays[1]) and rays.abs().max() < 1.4
    middle = rays[0, 2, 2]
    assert torch.allclose(middle[:, ::2], torch.zeros(7, 2), atol=1e-6) and (middle[1:, 1] > middle[:-1, 1]).all()
    orders = [benchmark.surface(16, order)(device) for order in ("in its rows", "in no order")]
    steps = [(points[1:] - points[:-1]).norm(dim=1).mean() for points in orders]
    assert steps[1] > 2 * steps[0]
    assert all(torch.equal(points.sort(dim=0).values, orders[0].sort(dim=0).values) for points in orders)
