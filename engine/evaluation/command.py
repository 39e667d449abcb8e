"""`python -m tetraview evaluate`: how good the engine is on objects whose true shape and colour are known."""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cameras import CANONICAL_RIG, Rig
from ..errors import EngineError, InvalidRequestError
from ..job.folder import write_json
from ..types import VIEW_NAMES, GenerateRequest
from ..version import __version__

if TYPE_CHECKING:
    from .lpips import LpipsSource
    from .objects import ObjectRef
    from .report import RecordLog
    from .run import Evaluation

logger = logging.getLogger(__name__)

SHEET_OBJECTS = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    defaults = GenerateRequest(photos={}, output_dir="")
    parser.description = textwrap.fill(
        "Show each object to the engine as four rendered views, and compare the volumetric render and the exported textured mesh "
        "with the truth from 16 other cameras. Writes the report, a contact sheet PNG beside it, and prints a table. An "
        "interrupted run goes on where it stopped when it is started again with the same settings.",
        100,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="object packs (.npz) or folders of GLB or OBJ files (Y-up)")
    add("--out", required=True, metavar="FILE", help="the report to write, e.g. report.json")
    add("--resolution", nargs="+", type=int, default=[128], metavar="PX", help="sides of the compared images (128)")
    add("--limit", type=int, metavar="N", help="measure at most N objects, drawn at random by the seed")
    add("--seed", type=int, default=0, help="seed of the draw, of the engine and of surface samples (0)")
    add("--ids", nargs="+", metavar="ID", help="measure only these objects")
    add("--model", metavar="DIR", help="folder of reconstructor weights (those of the package)")
    rig = (CANONICAL_RIG.elevation_deg, CANONICAL_RIG.fovy_deg)
    add("--rig", nargs=2, type=float, default=rig, metavar=("ELEVATION", "LENS"),
        help="cameras of the views: degrees above the horizon, and field of view; 0: orthographic (20 30)")  # fmt: skip
    add("--known", nargs="+", choices=VIEW_NAMES, default=list(VIEW_NAMES), metavar="VIEW",
        help="show these views only; the engine works out the others (all four)")  # fmt: skip
    add("--generator", metavar="DIR", help="folder of generator weights, to paint with (those of the package)")
    add("--steps", type=int, default=defaults.steps, metavar="N", help="steps of painting (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    add("--input-px", type=int, default=512, metavar="PX", help="side of the four views shown to the engine (512)")
    add("--poly-budget", type=int, default=defaults.poly_budget, metavar="N", help="triangles at most (%(default)s)")
    add("--texture-px", type=int, default=defaults.texture_px, metavar="PX", help="side of the texture (%(default)s)")
    add("--lpips-net", choices=("alex", "vgg"), default="alex", help="backbone of LPIPS (alex)")
    add("--lpips-weights", metavar="DIR", help="folder with LPIPS weight files; the torch cache is searched too")
    add("--assets", metavar="DIR", help="keep every job (views, mesh, GLB) in this folder")
    add("--gallery", metavar="FILE", help="also write a PNG of inputs and results, evenly spread over the objects")
    add("--hard", nargs="*", metavar="KIND",
        help="show degraded photos (no transparency): backgrounds, noise, JPEG, colour casts, wrong elevation, hand-held; "
        "12 scans unless --limit or --ids say otherwise; name kinds to leave out the others")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure and write; see `add_arguments`.

    Returns:
        0, also if the engine found no surface in some objects (the report says so).

    Raises:
        EngineError: Nothing could be measured: a path or setting is wrong, or the weights are missing.
    """
    check_settings(args)
    from ..devices import use_all_cores
    from .lpips import find_lpips
    from .objects import choose_objects, find_objects
    from .report import RecordLog, table

    if args.hard is not None:
        from .hard.command import choose_hard_objects

        refs = choose_hard_objects(find_objects(args.paths), limit=args.limit, seed=args.seed, ids=args.ids)
    else:
        refs = choose_objects(find_objects(args.paths), limit=args.limit, seed=args.seed, ids=args.ids)
    use_all_cores()
    lpips = find_lpips(args.lpips_net, args.lpips_weights)
    if lpips.metric is None:
        print(f"No LPIPS: {lpips.reason}", file=sys.stderr)
    out = Path(args.out)
    setup, weights_sha256 = _set_up(args, lpips, out)
    settings = _settings(args, setup, lpips, weights_sha256)
    if args.hard is not None:
        from .hard.command import run_hard

        return run_hard(args, setup, settings, refs)
    log = RecordLog(out.with_suffix(".jsonl"), settings)
    todo = [ref for ref in refs if ref.key not in log.records]
    if len(todo) < len(refs):
        print(f"{len(refs) - len(todo)} of {len(refs)} objects were measured before.", file=sys.stderr)

    start = time.perf_counter()
    unreadable = _measure_all(setup, todo, log)
    elapsed_s = time.perf_counter() - start
    records = [log.records[ref.key] for ref in refs if ref.key in log.records]
    if not records:
        raise EngineError(f"None of the {len(refs)} objects could be read; the first: {next(iter(unreadable.values()))}")
    report = build_report(settings, records, unreadable, lpips.reason)
    report["run"] = {
        "measured_now": len(todo) - len(unreadable), "seconds": round(elapsed_s, 2), "peak_memory_mib": peak_memory_mib(),
    }  # fmt: skip
    write_json(out, report)
    _write_pictures(setup, records, out.with_suffix(".png"), Path(args.gallery) if args.gallery else None)
    print(table(report["mean"], report["subsets"]))
    _print_closing(report, out, len(refs))
    return 0


def _set_up(args: argparse.Namespace, lpips: LpipsSource, out: Path) -> tuple[Evaluation, dict[str, str]]:
    """The run's constants, and the hash of each weight file; the model is loaded, the folder of pictures made."""
    from ..devices import choose_device
    from ..job.run import LEAST_KNOWN
    from ..models.loading import ModelCache, takes_fewer_views
    from ..models.registry import STARTER_GENERATOR, STARTER_MODEL
    from .run import Evaluation

    device = choose_device(args.device)
    if device.note:
        print(device.note, file=sys.stderr)
    models = ModelCache()
    model_folder = Path(args.model) if args.model else STARTER_MODEL
    generator_folder = Path(args.generator) if args.generator else STARTER_GENERATOR
    weights_sha256 = dict(models.get(model_folder, device.name).sha256)
    known = len(set(args.known))
    if known < len(VIEW_NAMES) and (known < LEAST_KNOWN or not takes_fewer_views(model_folder)):
        weights_sha256 |= models.get_generator(generator_folder, device.name).sha256
    pictures = out.with_suffix(".pictures")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"The folder {pictures} cannot be made ({error.strerror}): choose another --out.") from error
    setup = Evaluation(
        models=models,
        model_folder=model_folder,
        generator_folder=generator_folder,
        steps=args.steps,
        rig=Rig(*args.rig),
        known=tuple(name for name in VIEW_NAMES if name in args.known),
        device=device.name,
        resolutions=tuple(args.resolution),
        input_px=args.input_px,
        poly_budget=args.poly_budget,
        texture_px=args.texture_px,
        seed=args.seed,
        metric=lpips.metric,
        pictures=pictures,
        assets=Path(args.assets) if args.assets else None,
    )
    return setup, weights_sha256


def _settings(args: argparse.Namespace, setup: Evaluation, lpips: LpipsSource, weights_sha256: dict[str, str]) -> dict[str, Any]:
    """All that an object's record depends on: a run goes on from records of equal settings only."""
    from .scoring import STATEMENT

    return {
        "engine": __version__,
        "weights_sha256": weights_sha256,
        "resolutions": list(setup.resolutions),
        "input_px": setup.input_px,
        "poly_budget": setup.poly_budget,
        "texture_px": setup.texture_px,
        "seed": setup.seed,
        "rig": [setup.rig.elevation_deg, setup.rig.fovy_deg],
        "known": list(setup.known),
        "steps": setup.steps,
        "device": setup.device,
        "lpips": {"net": args.lpips_net, "sha256": dict(lpips.sha256)},
        "protocol": STATEMENT,
    }


def _measure_all(setup: Evaluation, refs: list[ObjectRef], log: RecordLog) -> dict[str, str]:
    """Measure the objects into the log; returns why, for each that could not be read."""
    from tqdm import tqdm

    from .objects import load_all
    from .run import measure

    unreadable: dict[str, str] = {}
    with tqdm(total=len(refs), unit="object", file=sys.stderr, disable=None) as bar:
        for ref, truth in load_all(refs):
            bar.set_postfix_str(ref.key[-40:], refresh=False)
            if isinstance(truth, EngineError):
                logger.info("%s", truth)
                unreadable[ref.key] = str(truth)
            else:
                log.add(measure(setup, ref, truth))
            bar.update()
    return unreadable


def build_report(
    settings: dict[str, Any], records: list[dict[str, Any]], unreadable: dict[str, str], lpips_reason: str
) -> dict[str, Any]:
    """The report, JSON-ready, but for what concerns this very run (`run`)."""
    from .report import subsets, summarise

    return {
        "settings": settings,
        "versions": _versions(),
        "lpips_missing": lpips_reason or None,
        "mean": summarise(records),
        "subsets": subsets(records),
        "seconds_per_object": _mean_seconds(records),
        "unreadable": unreadable,
        "objects": records,
    }


def _write_pictures(setup: Evaluation, records: list[dict[str, Any]], sheet: Path, gallery: Path | None) -> None:
    """The contact sheet and, if asked for, the gallery, from what is on disk of the records' pictures."""
    from .gallery import write_gallery
    from .run import strip_path, tile_path
    from .sheet import assemble, spread

    keys = [record["key"] for record in records]
    strips = [path for path in (strip_path(setup, key) for key in keys) if path.exists()]
    tiles = [path for path in (tile_path(setup, key) for key in keys) if path.exists()]
    if strips:
        assemble(spread(strips, SHEET_OBJECTS), sheet)
    if gallery is not None and tiles:
        write_gallery(tiles, gallery)


def check_settings(args: argparse.Namespace) -> None:
    """Refuse settings before any time is spent.

    Raises:
        InvalidRequestError: One is out of range; the message says which.
    """
    if args.hard is not None:
        _check_hard(args)
    if min(args.resolution) < 32 or max(args.resolution) > 2048:
        raise InvalidRequestError(f"Resolutions of {args.resolution} px are out of range: use 32 to 2048.")
    if len(set(args.resolution)) < len(args.resolution):
        raise InvalidRequestError(f"A resolution is given twice in {args.resolution}.")
    if not 64 <= args.input_px <= 2048:
        raise InvalidRequestError(f"Input views of {args.input_px} px are out of range: use 64 to 2048.")
    if Path(args.out).suffix != ".json":
        raise InvalidRequestError(f"The report {args.out} must end in .json.")
    GenerateRequest(
        photos={}, output_dir="", views_dir="views", poly_budget=args.poly_budget, texture_px=args.texture_px, device=args.device,
        elevation_deg=args.rig[0], fovy_deg=args.rig[1],
    ).check()


def _check_hard(args: argparse.Namespace) -> None:
    from .hard.photos import KINDS

    names = [kind.name for kind in KINDS]
    unknown = [name for name in args.hard if name not in names]
    if unknown:
        raise InvalidRequestError(f"Unknown kind of hard photos {unknown[0]!r}: use {', '.join(names)}.")
    if len(set(args.known)) < len(VIEW_NAMES) or args.assets or args.gallery:
        raise InvalidRequestError("Hard photos are measured with all four views, and keep neither jobs nor a gallery.")


def peak_memory_mib() -> float | None:
    """The most memory this process has held, MiB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


def _versions() -> dict[str, str]:
    names = ("numpy", "scipy", "pillow", "torch", "diffusers", "embreex")
    found = {name: version(name) for name in names}
    return {"tetraview": __version__, "python": platform.python_version(), "platform": platform.platform(), **found}


def _mean_seconds(records: list[dict[str, Any]]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record["seconds"])
    means = {name: sum(record["seconds"].get(name, 0.0) for record in records) / len(records) for name in names}
    return {name: round(value, 4) for name, value in {**means, "total": sum(means.values())}.items()}


def _print_closing(report: dict[str, Any], out: Path, asked: int) -> None:
    mean = report["mean"]
    print(f"\n{mean['objects']} of {asked} objects, {mean['failures']} without a surface, {len(report['unreadable'])} unreadable")
    if mean["painted_psnr"] is not None:
        print(f"views that were not shown, as painted: {mean['painted_psnr']:.2f} dB PSNR")
    memory = report["run"]["peak_memory_mib"]
    peak = "" if memory is None else f", peak memory {memory:.0f} MiB"
    print(f"{report['seconds_per_object']['total']:.2f} s an object{peak}")
    for reason in report["unreadable"].values():
        print(f"not measured: {reason}")
    print(f"{out}, {out.with_suffix('.png')}")
