"""The log of a training run."""

from __future__ import annotations

import csv

import numpy as np
from tetraview.engine.training.curves import CurveLog


def test_a_run_that_goes_on_with_another_score_keeps_what_was_measured(tmp_path):
    sheet = np.zeros((2, 2, 3), np.float32)
    CurveLog(tmp_path, score="stage_two").add_validation(10, 1.0, 0.35, sheet, {"known_psnr": 12.0})
    CurveLog(tmp_path, score="known_psnr").add_validation(20, 2.0, 13.0, sheet)
    CurveLog(tmp_path, score="clip").add_validation(30, 3.0, 0.2, sheet, {"known_psnr": 14.0})
    with (tmp_path / "validation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["10", "20", "30"]
    assert [row["known_psnr"] for row in rows] == ["12.0", "13.0", "14.0"]
    assert [row["stage_two"] for row in rows] == ["0.35", "", ""]
    assert [row["clip"] for row in rows] == ["", "", "0.2"]
    assert (tmp_path / "curves.png").is_file()
