"""The written results: sections of `RESULTS.md` between markers, Markdown tables, the machine they were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
BUSY = 0.7
"""A machine whose processes have asked for more cores than this in the last minute is not free."""


def replace_section(text: str, name: str, content: str) -> str:
    """The document with one section replaced: what stands between `<!-- name: begin -->` and `<!-- name: end -->`.

    Args:
        text: The document.
        name: Name of the section.
        content: Markdown without the markers.

    Raises:
        ValueError: The markers are missing, there twice, or in the wrong order.
    """
    head, _, tail = _split(text, name)
    return f"{head}{content.strip()}\n{tail}"


def read_section(text: str, name: str) -> str:
    """The text between the markers of a section; raises as `replace_section` does."""
    return _split(text, name)[1].strip()


def _split(text: str, name: str) -> tuple[str, str, str]:
    """The text before a section's content, first marker included; the content; and the text after it."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected the lines {begin.strip()!r} and {end!r} once each, in this order")
    first, last = text.index(begin) + len(begin), text.index(end)
    return text[:first], text[first:last], text[last:]


def write_section(path: Path, name: str, content: str) -> None:
    """Replace one section of a file; nothing is written if its markers are not there (see `replace_section`)."""
    path.write_text(replace_section(path.read_text(encoding="utf-8"), name, content), encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns whose cells all begin with a digit or are "-" stand to the right."""
    right = [bool(rows) and all(row[k][:1].isdigit() or row[k] == "-" for row in rows) for k in range(len(head))]
    rule = ["--:" if numeric else "---" for numeric in right]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def duration(seconds: float) -> str:
    """Seconds in the unit that shows three digits."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def least_and_median(seconds: Sequence[float]) -> str:
    """The least of repeated timings, and the median in brackets."""
    return f"{duration(min(seconds))} ({duration(statistics.median(seconds))})"


def in_turns(calls: Mapping[str, Callable[[], object]], runs: int, *, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each call, `runs` times, in turns, so that whatever else the machine does disturbs all alike.

    Args:
        calls: What to time, by name.
        runs: How often each.
        warm: Call each once before, uncounted.
    """
    if warm:
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def cores() -> int:
    """Processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine() -> str:
    """One sentence: processor, cores, memory, versions, threads, load, date."""
    import torch

    try:
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    except (AttributeError, ValueError):
        memory = ""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = f"; load when it began {load:.1f}" + (": other programs ran beside, so it is rough" if load > BUSY else "")
    return (
        f"{processor()}, {cores()} cores{memory}; {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__} with {torch.get_num_threads()} threads{busy}; {datetime.date.today()}"
    )
