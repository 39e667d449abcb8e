"""Job folders, whole writes and the history of timings."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine.job.folder import (
    default_home,
    new_job_folder,
    write_text,
    written_whole,
)
from tetraview.engine.job.history import HISTORY_LENGTH, TimingHistory

SETTING = {"device": "cpu", "texture_px": 1024, "warm": True}


def test_home_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TETRAVIEW_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("TETRAVIEW_HOME")
    assert default_home().is_absolute() and "etraview" in default_home().name


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == path.suffix
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@given(st.text(max_size=80))
def test_any_label_gives_a_plain_folder_name(tmp_path_factory, label):
    folder = new_job_folder(tmp_path_factory.mktemp("home"), label, now=1e9)
    assert folder.is_dir() and folder.parent.name == "jobs" and len(folder.name) < 64
    assert folder.name.isascii() and set(folder.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_folders_made_at_once_are_different(tmp_path):
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(new_job_folder(tmp_path, "a chair!", now=1e9))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 8 and all("a-chair" in folder.name for folder in folders)


def test_history_expects_the_median_of_the_closest_jobs(tmp_path):
    history = TimingHistory(tmp_path / "new" / "home")
    assert history.expected_s(SETTING, ["mesh"]) is None
    for seconds in (1.0, 9.0, 2.0):
        history.record(SETTING, {"mesh": seconds, "texture": 4.0})
    history.record({**SETTING, "texture_px": 256}, {"mesh": 7.0, "texture": 0.5})
    history.record({**SETTING, "device": "cuda"}, {"mesh": 0.1, "texture": 0.1})
    assert history.expected_s(SETTING, ["mesh", "texture"]) == {"mesh": 2.0, "texture": 4.0}
    assert history.expected_s({**SETTING, "texture_px": 256}, ["texture"]) == {"texture": 0.5}
    assert history.expected_s({**SETTING, "device": "mps"}, ["mesh"]) is None
    assert history.expected_s(SETTING, ["mesh", "lunch"]) is None


def test_history_joins_phases_of_jobs_that_stopped_early(tmp_path):
    history = TimingHistory(tmp_path)
    history.record({**SETTING, "painted": 4, "steps": 6}, {"views": 3.0})
    history.record({**SETTING, "painted": 1, "steps": 6}, {"photos": 0.2, "views": 2.0})
    history.record({**SETTING, "painted": 0, "steps": 0}, {"photos": 1.0, "mesh": 5.0})
    asked = {**SETTING, "painted": 1, "steps": 6}
    assert history.expected_s(asked, ["photos", "views", "mesh"]) == {"photos": 0.2, "views": 2.0, "mesh": 5.0}


def _entry(seconds: str) -> str:
    return f'[{{"setting": {{"device": "cpu"}}, "seconds": {{"mesh": {seconds}}}}}]'


def test_history_forgets_and_survives_damage(tmp_path):
    history = TimingHistory(tmp_path)
    for seconds in range(HISTORY_LENGTH + 5):
        history.record(SETTING, {"mesh": float(seconds)})
    text = (tmp_path / "history.json").read_text()
    assert text.count('"mesh"') == HISTORY_LENGTH
    numbers = [_entry("NaN"), _entry("1e308"), _entry("9" * 400)]
    for damage in ("{", "[1, {}, null]", '[{"setting": {}, "seconds": {"mesh": "x"}}]', "5", "[" * 100_000, *numbers):
        (tmp_path / "history.json").write_text(damage)
        assert history.expected_s(SETTING, ["mesh"]) is None
    history.record(SETTING, {"mesh": 3.0})
    assert history.expected_s(SETTING, ["mesh"]) == {"mesh": 3.0}
    (tmp_path / "file").write_text("")
    TimingHistory(tmp_path / "file").record(SETTING, {"mesh": 1.0})  # cannot be written: no harm
