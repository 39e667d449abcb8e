"""What the benchmarks write down: sections between markers, tables, timings in turns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import results
from hypothesis import given
from hypothesis import strategies as st

DOCUMENT = "# Title\n\n<!-- a: begin -->\nold a\n<!-- a: end -->\nbetween\n<!-- b: begin -->\nold b\n<!-- b: end -->\nlast\n"


def test_only_the_named_section_changes() -> None:
    changed = results.replace_section(DOCUMENT, "a", "\nnew a\n\ntwo lines\n")
    assert changed == DOCUMENT.replace("old a", "new a\n\ntwo lines")
    assert results.read_section(changed, "a") == "new a\n\ntwo lines"
    assert results.read_section(changed, "b") == "old b"


@given(st.text(alphabet="ab|<>!-\\1\n ", max_size=40))
def test_whatever_is_written_can_be_read_and_replaced_again(content: str) -> None:
    once = results.replace_section(DOCUMENT, "b", content)
    assert results.read_section(once, "b") == content.strip()
    assert results.replace_section(once, "b", "old b") == DOCUMENT


@pytest.mark.parametrize(
    "text",
    [
        DOCUMENT.replace("<!-- a: begin -->\n", ""),
        DOCUMENT.replace("<!-- a: end -->", ""),
        DOCUMENT + DOCUMENT,
        "<!-- a: end -->\n<!-- a: begin -->\n",
    ],
    ids=["no begin", "no end", "twice", "wrong order"],
)
def test_without_its_markers_nothing_is_written(text: str, tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"expected the lines '<!-- a: begin -->' and '<!-- a: end -->' once each"):
        results.write_section(path, "a", "new")
    assert path.read_text() == text


def test_the_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(DOCUMENT)
    results.write_section(path, "b", "3 µs")
    assert path.read_text(encoding="utf-8") == DOCUMENT.replace("old b", "3 µs")


def test_columns_of_numbers_stand_to_the_right() -> None:
    text = results.table(["what", "time", "note"], [["one", "1.5 s", "3 runs"], ["two", "-", "none"]])
    assert text.splitlines() == [
        "| what | time | note |",
        "| --- | --: | --- |",
        "| one | 1.5 s | 3 runs |",
        "| two | - | none |",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0.0012345, "1.23 ms"), (0.25, "250 ms"), (2.5, "2.5 s"), (123.4, "123 s")])
def test_durations_have_a_fitting_unit(seconds: float, text: str) -> None:
    assert results.duration(seconds) == text


def test_the_least_comes_first_and_the_median_in_brackets() -> None:
    assert results.least_and_median([3.0, 1.0, 2.0, 9.0, 2.5]) == "1 s (2.5 s)"


def test_rivals_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(results.time, "perf_counter", lambda: float(calls.count("b")))  # "b" takes a second, "a" no time
    seconds = results.in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert "".join(calls) == "ab" + "ababab"  # the first time uncounted
    assert seconds == {"a": [0.0] * 3, "b": [1.0] * 3}
    calls.clear()
    results.in_turns({"a": lambda: calls.append("a")}, 2, warm=False)
    assert calls == ["a", "a"]


@pytest.mark.parametrize(("load", "rough"), [(0.2, False), (3.1, True)])
def test_the_machine_is_told(load: float, rough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    text = results.machine()
    assert f"{results.cores()} cores" in text
    assert f"torch {torch.__version__} with {torch.get_num_threads()} threads" in text
    assert f"load when it began {load}" in text
    assert ("it is rough" in text) == rough
