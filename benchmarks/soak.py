"""Many jobs in one engine process, of every kind, with cancels, kills and faults at random: does anything leak or stay behind?

`python benchmarks/soak.py --jobs 200`: exit status 1 if memory grows by more than 5 %, a result is lost, a process is left over,
or a file lies where none should.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw
from tetraview.engine.client import EngineProcess
from tetraview.engine.errors import CancelledError, EngineError, EngineStoppedError
from tetraview.engine.types import VIEW_NAMES, Asset, GenerateRequest, Progress

SMALL = {"poly_budget": 500, "texture_px": 256, "device": "cpu", "steps": 1, "orbit_px": 64}
WARM_UP = 20
"""Jobs after a start before memory is compared: every kind of job has loaded what it needs."""
MOST_GROWTH = 0.05


def pictures(folder: Path) -> dict[str, str]:
    """Photos of a blue ball on grey, by view."""
    folder.mkdir()
    for name in VIEW_NAMES:
        image = Image.new("RGB", (160, 160), "#dde0e4")
        ImageDraw.Draw(image).ellipse((50, 45, 110, 115), fill=(40, 90, 200))
        image.save(folder / f"{name}.png")
    return {name: str(folder / f"{name}.png") for name in VIEW_NAMES}


def request_of(kind: str, out: Path, photos: dict[str, str], views: Path) -> tuple[GenerateRequest, str | None]:
    """A request of a kind, and the phase it stops after."""
    fields: dict = {"photos": {}, "output_dir": str(out), **SMALL}
    if kind == "prompt":
        return GenerateRequest(**{**fields, "prompt": "a chair"}), "orbit"
    if kind.startswith("photos"):
        count = int(kind[-1])
        given = {name: photos[name] for name in VIEW_NAMES[:count]}
        return GenerateRequest(**{**fields, "photos": given}), None if count == 4 else "planes"
    if kind == "sheet":
        return GenerateRequest(**{**fields, "views_dir": str(views)}), None
    if kind == "repaint":
        return GenerateRequest(**{**fields, "views_dir": str(views), "repaint": ("left",), "prompt": "a ball"}), "views"
    if kind == "orbit":
        return GenerateRequest(**{**fields, "views_dir": str(views), "orbit_frames": 4}), "orbit"
    return GenerateRequest(**{**fields, "photos": {"front": str(out / "nowhere.png")}}), None  # a fault


KINDS = ("prompt", "photos1", "photos2", "photos3", "photos4", "sheet", "again", "repaint", "orbit", "fault", "deleted", "full")


def rss_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def children() -> set[int]:
    """Ids of the processes that this one started, and that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if "ps" not in line.split()[1]}


class Soak:
    """The jobs, one after the other.

    Args:
        place: An empty folder.
        seed: Of the order of the jobs, and of the times at which they are stopped.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.random = place, random.Random(seed)
        self.photos = pictures(place / "photos")
        self.kept = place / "kept"
        self.ends: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self.memory: list[list[float]] = [[]]  # MB after each job, a list for each life of the process

    def run(self, jobs: int, kills: int) -> None:
        """Run so many jobs; the process is killed `kills` times, evenly spread over the last quarter."""
        with EngineProcess(sys.executable, self.place / "home", grace_s=30) as engine:
            list(engine.submit(*request_of("photos4", self.kept, self.photos, self.kept)).run())
            kept = self._result()
            late = range(jobs - jobs // 4, jobs)
            killed = set(self.random.sample(late, min(kills, len(late))))
            for index in range(jobs):
                kind = KINDS[index % len(KINDS)] if index < 2 * len(KINDS) else self.random.choice(KINDS)
                self._one(engine, kind, index, index in killed)
                if self._result() != kept and kind != "again":
                    self.problems.append(f"job {index} ({kind}) changed the kept result")
                kept = self._result()
                if not kept:
                    self.problems.append(f"job {index} ({kind}) lost the kept result")
                if engine.alive and engine.pid:
                    self.memory[-1].append(rss_mb(engine.pid))
                if index % 20 == 19:
                    print(f"{index + 1} jobs, {self.memory[-1][-1] if self.memory[-1] else 0:.0f} MB", flush=True)
        time.sleep(1)
        if left := children():
            self.problems.append(f"processes are left: {left}")

    def _result(self) -> bytes:
        path = self.kept / "asset.glb"
        return path.read_bytes() if path.is_file() else b""

    def _one(self, engine: EngineProcess, kind: str, index: int, is_killed: bool) -> None:
        out = self.kept if kind == "again" else self.place / "job"
        source = "photos4" if kind == "again" else "sheet" if kind in ("deleted", "full") else kind
        request, stop = request_of(source, out, self.photos, self.kept / "views")
        if kind == "full":
            (self.place / "job").write_bytes(b"")  # a file where the folder should be
        stops_at = self.random.random() if is_killed or self.random.random() < 0.15 else 2.0
        end = "done"
        try:
            job = engine.submit(request, stop)
            for event in job.run(timeout_s=180):
                if isinstance(event, Progress) and event.fraction >= stops_at:
                    stops_at = 2.0
                    if is_killed and engine.pid:
                        os.kill(engine.pid, signal.SIGKILL)
                    else:
                        job.cancel()
                if kind == "deleted" and isinstance(event, Progress) and event.phase == "mesh":
                    shutil.rmtree(out, ignore_errors=True)
                if isinstance(event, Asset) and not Path(event.glb).is_file():
                    self.problems.append(f"job {index} ({kind}) told of an asset that is not there")
        except EngineError as error:
            end = type(error).__name__
            wrong = "unexpected" in str(error) or "Traceback" in str(error)
            expected = kind in ("fault", "deleted", "full") or isinstance(error, CancelledError) or is_killed
            if wrong or not expected:
                self.problems.append(f"job {index} ({kind}): {error}")
            if isinstance(error, EngineStoppedError):
                self.memory.append([])
        self.ends[end] += 1
        self._look_for_leftovers(index, kind, is_killed)
        if out.is_file():
            out.unlink()
        elif kind != "again":
            shutil.rmtree(out, ignore_errors=True)

    def _look_for_leftovers(self, index: int, kind: str, is_killed: bool) -> None:
        """A killed job may leave files, which the next job in that folder removes."""
        names = (".tmp-", ".tetraview-new", ".tetraview-ready", ".tetraview-lock")
        left = [path.name for path in self.place.rglob("*") if path.name.startswith(names)]
        if left and not is_killed:
            self.problems.append(f"job {index} ({kind}) left {left[:3]}")
        if is_killed:
            for path in self.place.rglob(".tetraview-lock"):
                path.unlink()

    def growth(self) -> float:
        """Growth of the longest life's memory after its warm-up, as a share: medians of its first and last tenth."""
        life = max(self.memory, key=len)[WARM_UP:]
        tenth = max(1, len(life) // 10)
        first, last = sorted(life[:tenth]), sorted(life[-tenth:])
        print(f"memory after {WARM_UP} jobs {first[tenth // 2]:.0f} MB, at the end {last[tenth // 2]:.0f} MB")
        return last[tenth // 2] / first[tenth // 2] - 1


def main() -> int:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), args.seed)
        soak.run(args.jobs, args.kills)
    growth = soak.growth()
    if growth > MOST_GROWTH:
        soak.problems.append(f"memory grew by {growth:.1%}")
    print(f"{args.jobs} jobs in {time.monotonic() - started:.0f} s, {growth:+.1%} memory: {dict(soak.ends)}")
    print("\n".join(soak.problems) or "nothing lost, nothing left")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
