"""`evaluate --hard`: measure the loss of quality with photos that are not clean."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...dataset.packs import read_metas
from ...errors import EngineError
from ...job.folder import write_json
from ..objects import ObjectRef, choose_objects, load_all
from ..report import ROWS, RecordLog, mean_of, summarise
from ..run import Evaluation, file_stem
from ..sheet import assemble
from . import alignment, photos
from .measure import measure_kind, record_key, row_path
from .photos import CLEAN, KINDS, Kind

logger = logging.getLogger(__name__)

OBJECTS = 12

Record = Mapping[str, Any]


def choose_hard_objects(
    refs: Sequence[ObjectRef], *, limit: int | None, seed: int, ids: Collection[str] | None
) -> list[ObjectRef]:
    """The objects to photograph: the named ones; else `limit` (or `OBJECTS`) drawn from the scans, or from all if none is one."""
    if ids is not None:
        return choose_objects(refs, limit=limit, seed=seed, ids=ids)
    packs = {ref.path for ref in refs if ref.id is not None}
    scans = {(path, meta["id"]) for path in packs for meta in read_metas(path) if meta.get("scan")}
    chosen = [ref for ref in refs if (ref.path, ref.id) in scans] or list(refs)
    return choose_objects(chosen, limit=OBJECTS if limit is None else limit, seed=seed)


def run_hard(args: argparse.Namespace, setup: Evaluation, settings: dict[str, Any], refs: Sequence[ObjectRef]) -> int:
    """Measure every object with every kind of photo and write the report and its sheet.

    Raises:
        EngineError: Nothing could be measured.
    """
    kinds = [kind for kind in KINDS if not args.hard or kind is CLEAN or kind.name in args.hard]
    settings = settings | {
        "hard": {"photos": photos.STATEMENT, "alignment": alignment.STATEMENT, "objects": [ref.key for ref in refs]}
    }
    out = Path(args.out)
    log = RecordLog(out.with_suffix(".jsonl"), settings)
    start = time.perf_counter()
    unreadable = _measure_all(setup, refs, kinds, log)
    records = {
        kind.name: [log.records[record_key(ref, kind)] for ref in refs if record_key(ref, kind) in log.records] for kind in kinds
    }
    if not records[CLEAN.name]:
        raise EngineError(f"None of the {len(refs)} objects could be read; the first: {next(iter(unreadable.values()))}")
    px = str(setup.resolutions[0])
    report: dict[str, Any] = {
        "settings": settings,
        "kinds": {name: summarise_kind(group, records[CLEAN.name], px) for name, group in records.items()},
        "background_families": _by_family(records, px),
        "unreadable": unreadable,
        "run": {"seconds": round(time.perf_counter() - start, 2)},
        "records": [record for group in records.values() for record in group],
    }
    write_json(out, report)
    _write_sheet(setup, refs, kinds, out.with_suffix(".png"))
    print(hard_table(report["kinds"], report["background_families"]))
    print(f"\n{len(records[CLEAN.name])} of {len(refs)} objects\n{out}, {out.with_suffix('.png')}")
    return 0


def _measure_all(setup: Evaluation, refs: Sequence[ObjectRef], kinds: Sequence[Kind], log: RecordLog) -> dict[str, str]:
    """Measure what the log does not hold yet; returns why, for each object that could not be read."""
    from tqdm import tqdm

    unreadable: dict[str, str] = {}
    with tqdm(total=len(refs) * len(kinds), unit="set", file=sys.stderr, disable=None) as bar:
        for number, (ref, truth) in enumerate(load_all(refs)):
            for kind in kinds:
                bar.set_postfix_str(record_key(ref, kind)[-40:], refresh=False)
                if isinstance(truth, EngineError):
                    unreadable[ref.key] = str(truth)
                elif record_key(ref, kind) not in log.records:
                    log.add(measure_kind(setup, ref, truth, kind, number))
                bar.update()
    return unreadable


def summarise_kind(group: Sequence[Record], clean: Sequence[Record], px: str) -> dict[str, Any]:
    """Means of one kind, and the drop against the clean photos of the same objects.

    Args:
        group: Records of the kind.
        clean: Records of clean photos, of at least these objects.
        px: The resolution that is compared.

    Returns:
        What `report.summarise` returns without `painted_psnr`, and `drop_db[row]`, `worst_drop_db` of the mesh with its object,
        `unaligned` (PSNR of the mesh as the engine put it) and `unaligned_drop_db`.
    """
    reference = {record["object"]: record for record in clean}
    drops = {row: [reference[r["object"]]["rows"][px][row]["psnr"] - r["rows"][px][row]["psnr"] for r in group] for row in ROWS}
    worst = max(range(len(group)), key=lambda index: drops["mesh"][index]) if group else None
    summary = summarise([{**record, "painted": {}} for record in group])
    del summary["painted_psnr"]
    return summary | {
        "drop_db": {row: mean_of(values) for row, values in drops.items()},
        "worst_drop_db": None if worst is None else {group[worst]["object"]: drops["mesh"][worst]},
        "unaligned": mean_of(r["unaligned"] for r in group),
        "unaligned_drop_db": mean_of(reference[r["object"]]["unaligned"] - r["unaligned"] for r in group),
    }


def _by_family(records: Mapping[str, Sequence[Record]], px: str) -> dict[str, Any]:
    """The means of the kind "background" for each family of backgrounds."""
    group = records.get("background", ())
    families = dict.fromkeys(record["drawn"]["family"] for record in group)
    return {
        family: summarise_kind([r for r in group if r["drawn"]["family"] == family], records[CLEAN.name], px)
        for family in families
    }


def hard_table(kinds: Mapping[str, Mapping[str, Any]], families: Mapping[str, Mapping[str, Any]]) -> str:
    """The means as text for a terminal: a line a kind, PSNR in dB at the first resolution."""
    lines = ["photos                   n  volumetric   drop    mesh   drop  unaligned   drop  F@0.02"]
    for name, part in {**kinds, **{f"background, {name}": part for name, part in families.items()}}.items():
        if part["objects"]:
            rows, drop = next(iter(part["rows"].values())), part["drop_db"]
            figures = [(rows[row]["psnr"], drop[row]) for row in ROWS] + [(part["unaligned"], part["unaligned_drop_db"])]
            cells = [f"{psnr:{width}.2f} {lost:6.2f}" for (psnr, lost), width in zip(figures, (11, 7, 10), strict=True)]
            lines.append(f"{name:22} {part['objects']:3} {' '.join(cells)} {part['surface']['fscore']:7.3f}")
    return "\n".join(lines)


def _write_sheet(setup: Evaluation, refs: Sequence[ObjectRef], kinds: Sequence[Kind], path: Path) -> None:
    """All objects' rows of all kinds, two objects side by side, from what is on disk."""
    strips = []
    for ref in refs:
        rows = [Image.open(file) for kind in kinds if (file := row_path(setup, ref, kind)).exists()]
        if not rows:
            continue
        strip = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), (255, 255, 255))
        top = 0
        for row in rows:
            strip.paste(row, (0, top))
            top += row.height
        strips.append(setup.pictures / f"{file_stem(ref.key)}.hard.png")
        strip.save(strips[-1])
    if strips:
        assemble(strips, path)
