"""Means, subsets, the table, and the log that lets a run go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tetraview.engine.evaluation.report import RecordLog, subsets, summarise, table


def _record(
    key: str, db: float, *, source: str, scan: bool, chamfer: float | None = 0.1, lpips: float | None = None
) -> dict[str, Any]:
    def rows(offset: float) -> dict[str, Any]:
        return {
            "volumetric": {"psnr": db + offset, "ssim": 0.9, "lpips": lpips},
            "mesh": {"psnr": db + offset - 1, "ssim": 0.8, "lpips": lpips},
        }

    surface = {"chamfer": chamfer, "fscore": 0.0 if chamfer is None else 0.5, "precision": 0.5, "recall": 0.5, "normal_deg": 20.0}
    failure = "no surface" if chamfer is None else None
    meta = {"source": source, "scan": scan}
    shown = {"rows": {"128": rows(0), "64": rows(2)}, "painted": {}, "surface": surface}
    return {"key": key, "meta": meta, **shown, "failure": failure}


RECORDS = [
    _record("a", 20.0, source="x", scan=False),
    _record("b", 30.0, source="y", scan=True, lpips=0.2),
    _record("c", 25.0, source="y", scan=True, chamfer=None),
]


def test_means_are_over_objects_and_failures_count() -> None:
    summary = summarise(RECORDS)
    assert summary["objects"] == 3 and summary["failures"] == 1
    assert summary["rows"]["128"]["volumetric"]["psnr"] == 25.0
    assert summary["rows"]["64"]["mesh"]["psnr"] == 26.0
    assert summary["rows"]["128"]["mesh"]["lpips"] == 0.2  # over those that have one
    assert summary["surface"]["chamfer"] == pytest.approx(0.1)
    assert summary["surface"]["fscore"] == pytest.approx(1 / 3)
    assert summarise([RECORDS[0]])["rows"]["128"]["mesh"]["lpips"] is None


def test_subsets_by_scan_and_source() -> None:
    groups = subsets(RECORDS)
    assert list(groups) == ["modelled", "scans", "source x", "source y"]
    assert groups["scans"]["objects"] == 2
    assert groups["scans"]["rows"]["128"]["volumetric"]["psnr"] == 27.5
    assert subsets(RECORDS[1:]) == {}  # all are scans of one source


def test_table_has_a_line_for_each_row_and_shows_what_is_missing() -> None:
    lines = table(summarise(RECORDS), subsets(RECORDS)).splitlines()
    assert len(lines) == 1 + 5 * 4
    assert lines[1].split() == ["all", "3", "128", "volumetric", "25.00", "0.9000", "0.2000", "-", "-", "-"]
    assert lines[2].split() == ["all", "3", "128", "mesh", "24.00", "0.8000", "0.2000", "0.1000", "0.3333", "20.00"]
    assert lines[5].split()[-3:] == ["-", "-", "-"]
    assert len({line.index("128") for line in lines if " 128 " in line}) == 1


def test_log_goes_on_and_drops_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    log = RecordLog(path, {"seed": 0, "sizes": (1, 2)})
    for record in RECORDS:
        log.add(record)
    path.write_text(path.read_text()[:-20])  # a crash in the last record
    again = RecordLog(path, {"seed": 0, "sizes": (1, 2)})
    assert again.records == {"a": RECORDS[0], "b": RECORDS[1]}
    again.add(RECORDS[2])
    assert RecordLog(path, {"seed": 0, "sizes": [1, 2]}).records == {record["key"]: record for record in RECORDS}
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_log_of_other_settings_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    RecordLog(path, {"seed": 0}).add(RECORDS[0])
    before = path.read_text()
    assert RecordLog(path, {"seed": 1}).records == {}
    assert (tmp_path / "report.jsonl.old").read_text() == before
