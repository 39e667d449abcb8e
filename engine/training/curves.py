"""Training curves: a CSV that any tool reads, and a PNG redrawn from it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

LOSSES = ("colour", "opacity", "termination", "occupancy", "surface")


class CurveLog:
    """Appends to `curves.csv` (mean of every `every` steps) and `validation.csv`, and redraws `curves.png`.

    Args:
        folder: Folder of the files; existing ones are continued.
        every: Steps averaged into a row.
        losses: Terms that are drawn.
        score: Name of the validation's column.
    """

    def __init__(self, folder: Path, every: int = 20, losses: tuple[str, ...] = LOSSES, score: str = "psnr") -> None:
        self.folder, self.every, self.losses, self.score = folder, every, losses, score
        self._rows: list[dict[str, float]] = []

    def add(self, step: int, seconds: float, terms: dict[str, float]) -> None:
        self._rows.append(terms)
        if len(self._rows) >= self.every:
            mean = {key: float(np.mean([row[key] for row in self._rows])) for key in terms}
            self._append("curves.csv", {"step": step, "seconds": round(seconds, 1), **mean})
            self._rows.clear()

    def add_validation(
        self, step: int, seconds: float, score: float, sheet: npt.NDArray[np.floating], more: Mapping[str, float] | None = None
    ) -> None:
        self._append("validation.csv", {"step": step, "seconds": round(seconds, 1), self.score: score, **(more or {})})
        Image.fromarray((np.clip(sheet, 0, 1) * 255).astype(np.uint8)).save(self.folder / f"samples_{step:06d}.png")
        self.flush()

    def flush(self) -> None:
        """Redraw `curves.png`; without matplotlib (it is a development dependency) the CSV is all there is."""
        try:
            import matplotlib
        except ImportError:
            return
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
        for name, axes, keys in (("curves.csv", left, self.losses), ("validation.csv", right, (self.score,))):
            rows = self._read(name)
            for key in keys:
                measured = [row for row in rows if row.get(key)]
                if measured:
                    axes.plot([float(r["step"]) for r in measured], [float(r[key]) for r in measured], label=key)
            axes.set_xlabel("step")
            if axes.lines:
                axes.legend()
        left.set_yscale("log")
        figure.tight_layout()
        figure.savefig(self.folder / "curves.png", dpi=80)
        plt.close(figure)

    def _append(self, name: str, row: dict[str, float]) -> None:
        path = self.folder / name
        earlier = self._read(name)
        columns = list(dict.fromkeys([*(earlier[0] if earlier else ()), *row]))
        if earlier and columns == list(earlier[0]):
            with path.open("a", newline="") as stream:
                csv.DictWriter(stream, columns).writerow(row)
            return
        with path.open("w", newline="") as stream:  # the first row, or one that measures more than those before
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows([*earlier, row])

    def _read(self, name: str) -> list[dict[str, str]]:
        path = self.folder / name
        return list(csv.DictReader(path.open())) if path.exists() else []
