"""Turn the records of objects into means, tables and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
IMAGE_METRICS = ("psnr", "ssim", "lpips")
SURFACE_METRICS = ("chamfer", "fscore", "precision", "recall", "normal_deg")
ROWS = ("volumetric", "mesh")


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of those that are there; None if none is."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Means over objects.

    Args:
        records: One dict an object, with `rows[resolution][row][metric]`, `surface[metric]` and `failure`.

    Returns:
        `objects`, `failures`, `painted_psnr` (None where nothing was painted), `rows[resolution][row][metric]` and
        `surface[metric]`.
    """
    resolutions = list(records[0]["rows"]) if records else []
    return {
        "objects": len(records),
        "failures": sum(record["failure"] is not None for record in records),
        "rows": {
            px: {row: {name: mean_of(r["rows"][px][row][name] for r in records) for name in IMAGE_METRICS} for row in ROWS}
            for px in resolutions
        },
        "painted_psnr": mean_of(mean_of(record["painted"].values()) for record in records),
        "surface": {name: mean_of(record["surface"][name] for record in records) for name in SURFACE_METRICS},
    }


def subsets(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """`summarise` of real scans, of modelled objects, and of each source; only those that hold an object and not all."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        meta = record["meta"]
        if "scan" in meta:
            groups.setdefault("scans" if meta["scan"] else "modelled", []).append(record)
        if meta.get("source"):
            groups.setdefault(f"source {meta['source']}", []).append(record)
    return {name: summarise(group) for name, group in sorted(groups.items()) if len(group) < len(records)}


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table(summary: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> str:
    """The means as text for a terminal, all objects first, then each subset."""
    header = ("objects", "n", "px", "row", "PSNR dB", "SSIM", "LPIPS", "Chamfer", "F@0.02", "normal deg")
    lines = [header]
    for name, part in {"all": summary, **groups}.items():
        for px, rows in part["rows"].items():
            for row in ROWS:
                score = rows[row]
                surface = part["surface"] if row == "mesh" else dict.fromkeys(SURFACE_METRICS)
                lines.append((
                    name, str(part["objects"]), str(px), row, _cell(score["psnr"], 2), _cell(score["ssim"], 4),
                    _cell(score["lpips"], 4), _cell(surface["chamfer"], 4), _cell(surface["fscore"], 4),
                    _cell(surface["normal_deg"], 2),
                ))  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(_padded(cell, i, widths[i]) for i, cell in enumerate(line)).rstrip() for line in lines)


def _padded(cell: str, column: int, width: int) -> str:
    """Names to the left, numbers to the right."""
    return cell.ljust(width) if column in (0, 3) else cell.rjust(width)


class RecordLog:
    """Records of finished objects, one JSON line each, so that an interrupted run goes on where it stopped.

    Args:
        path: The file; its first line states the run's settings.
        settings: If those of an earlier file differ, it is renamed to `<name>.old` and the run starts again.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self.records: dict[str, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(settings))
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        parsed = [entry for entry in map(_parse, lines) if entry is not None]
        if parsed and parsed[0].get("settings") == wanted:
            self.records = {record["key"]: record for record in parsed[1:] if "key" in record}
        elif lines:
            path.replace(path.with_name(path.name + ".old"))
        self._rewrite(wanted)

    def _rewrite(self, settings: Mapping[str, Any]) -> None:
        """Start the file again from what is whole in it: a line that a crash cut short must not swallow the next."""
        lines = [{"settings": settings}, *self.records.values()]
        temporary = self._path.with_name(self._path.name + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        temporary.replace(self._path)

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep a record; it is on disk when this returns."""
        self.records[record["key"]] = dict(record)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _parse(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
