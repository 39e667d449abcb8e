"""Times of the phases in earlier jobs on this machine, used to estimate the time left.

Standard library only.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .folder import write_json

logger = logging.getLogger(__name__)

HISTORY_LENGTH = 120
MAX_SECONDS = 1e6
"""Entries with longer times, or with none that is a number, are damaged."""


class TimingHistory:
    """Seconds that each phase took on this machine in earlier jobs, in `<home>/history.json`.

    Args:
        home: The engine's home.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "history.json"

    def record(self, setting: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
        """Record one job. If the home cannot be written, only the estimate is lost."""
        entries = [*self._entries(), {"setting": dict(setting), "seconds": dict(seconds)}][-HISTORY_LENGTH:]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, entries)
        except OSError as error:
            logger.warning("cannot remember the timings in %s: %s", self._path, error)

    def expected_s(self, setting: Mapping[str, Any], phases: Sequence[str]) -> dict[str, float] | None:
        """Expected seconds of each phase: the median over the earlier jobs that ran it and whose setting is closest to this one.

        Jobs on another device are ignored. Of the others, those that share the most entries of `setting` count.

        Args:
            setting: The conditions that times depend on; must hold "device".
            phases: Names of the phases asked for.

        Returns:
            Seconds by phase, or None if one of these phases was never run on this device.
        """
        scored = [
            (sum(entry["setting"].get(key) == value for key, value in setting.items()), entry["seconds"])
            for entry in self._entries()
            if entry["setting"].get("device") == setting.get("device")
        ]
        expected = {}
        for phase in phases:
            known = [(score, seconds[phase]) for score, seconds in scored if phase in seconds]
            if not known:
                return None
            best = max(score for score, _ in known)
            expected[phase] = statistics.median([seconds for score, seconds in known if score == best][-9:])
        return expected

    def _entries(self) -> list[dict[str, Any]]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("cannot read the timings in %s: %s", self._path, error)
            return []
        return [entry for entry in entries if _is_entry(entry)] if isinstance(entries, list) else []


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("setting"), dict) or not isinstance(entry.get("seconds"), dict):
        return False
    return all(isinstance(value, (int, float)) and 0 <= value < MAX_SECONDS for value in entry["seconds"].values())
