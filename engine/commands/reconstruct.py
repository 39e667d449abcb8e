"""`python -m tetraview reconstruct`: builds a request and drives `pipeline.generate`, as Blender does."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import InvalidRequestError
from ..library import default_home, new_job_folder
from ..types import (
    PHASES,
    POLY_BUDGET_RANGE,
    TEXTURE_SIZES_PX,
    VIEW_NAMES,
    Asset,
    Event,
    GenerateRequest,
    Progress,
    Views,
    event_to_dict,
)

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".tga", ".ppm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `reconstruct`."""
    defaults = GenerateRequest({}, "")
    low, high = POLY_BUDGET_RANGE
    photos = parser.add_argument_group("photos (one of these ways)")
    photos.add_argument("photos", nargs="*", metavar="PHOTO", help="front, right, back and left; or one folder with these")
    for name in VIEW_NAMES:
        photos.add_argument(f"--{name}", metavar="PHOTO", help=f"the photo of the {name} view")
    photos.add_argument("--views", metavar="DIR", help="framed views of an earlier run (its `views` folder), taken as they are")
    result = parser.add_argument_group("result")
    result.add_argument(
        "-o", "--output", metavar="DIR",
        help="receives asset.glb, views/*.png, request.json, timings.json (default: a new job in the engine's home)",
    )  # fmt: skip
    result.add_argument(
        "--poly-budget", type=int, default=defaults.poly_budget, metavar="N",
        help=f"never more triangles than this, {low} to {high} (default {defaults.poly_budget})",
    )  # fmt: skip
    result.add_argument(
        "--texture", type=int, default=defaults.texture_px, choices=TEXTURE_SIZES_PX, metavar="PX",
        help=f"side of the texture: {', '.join(map(str, TEXTURE_SIZES_PX))} (default {defaults.texture_px})",
    )  # fmt: skip
    result.add_argument("--stop-after", choices=PHASES, metavar="PHASE", help=f"end early, after one of: {', '.join(PHASES)}")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--elevation", type=float, default=defaults.elevation_deg, metavar="DEG",
        help=f"how far above the object's middle the camera stood, degrees (default {defaults.elevation_deg:g})",
    )  # fmt: skip
    how.add_argument(
        "--cutout", choices=("auto", "alpha", "plain", "birefnet"), default=defaults.cutout,
        help="how the object is cut out: by the photo's transparency, from a plain background, by BiRefNet (default auto)",
    )  # fmt: skip
    how.add_argument("--device", default=defaults.device, metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    how.add_argument("--model", metavar="DIR", help="folder of reconstructor weights (default: the starter weights)")
    how.add_argument("--seed", type=int, default=defaults.seed, metavar="N", help="seed of every random choice (default 0)")
    how.add_argument("--events", choices=("json",), help="write each event as one JSON object a line on stdout")


def run(args: argparse.Namespace) -> int:
    """Reconstruct; prints where the result is."""
    request = build_request(args)
    request.check()
    from ..pipeline import generate

    events = generate(request, stop_after=args.stop_after)
    show = _JsonEvents() if args.events == "json" else _Bar()
    with contextlib.closing(events), show:
        for event in events:
            show(event)
    if args.events != "json" and args.stop_after:
        print(f"Stopped after {args.stop_after}: {request.output_dir}")
    return 0


def build_request(args: argparse.Namespace) -> GenerateRequest:
    """The request that the arguments ask for; wrong usage exits with status 2."""
    named = {name: getattr(args, name) for name in VIEW_NAMES if getattr(args, name)}
    ways = [bool(args.photos), bool(named), bool(args.views)]
    if sum(ways) != 1:
        args.parser.error("give four photos or a folder, or --front, --right, --back and --left, or --views; one of these ways")
    if args.photos and len(args.photos) not in (1, 4):
        args.parser.error(f"four photos are needed (front, right, back, left), or one folder; {len(args.photos)} were given")
    photos = named
    if len(args.photos) == 4:
        photos = dict(zip(VIEW_NAMES, args.photos, strict=True))
    elif args.photos:
        photos = photos_in_folder(Path(args.photos[0]))
    output = Path(args.output).absolute() if args.output else new_job_folder(default_home(), _label(photos))
    return GenerateRequest(
        photos={name: str(Path(path).absolute()) for name, path in photos.items()},
        output_dir=str(output),
        views_dir=str(Path(args.views).absolute()) if args.views else None,
        poly_budget=args.poly_budget,
        texture_px=args.texture,
        elevation_deg=args.elevation,
        cutout=args.cutout,
        device=args.device,
        model=str(Path(args.model).absolute()) if args.model else None,
        seed=args.seed,
    )


def photos_in_folder(folder: Path) -> dict[str, str]:
    """The photos named front, right, back and left in a folder, whatever their suffix and case.

    Raises:
        InvalidRequestError: No such folder, or a view has two photos. A view without a photo is left out.
    """
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is not a folder: give one with front, right, back and left photos, or four photos.")
    photos: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        name = path.stem.lower()
        if name in VIEW_NAMES and path.suffix.lower() in PHOTO_SUFFIXES:
            if name in photos:
                both = f"{Path(photos[name]).name} and {path.name}"
                raise InvalidRequestError(f"{folder} holds two photos of the {name} view, {both}: remove one.")
            photos[name] = str(path)
    return photos


def _label(photos: Mapping[str, str]) -> str:
    """A word for the job's folder: the folder of the photos."""
    return Path(next(iter(photos.values()))).absolute().parent.name if photos else "views"


class _JsonEvents:
    """One event a line on stdout."""

    def __enter__(self) -> _JsonEvents:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        print(json.dumps(event_to_dict(event)), flush=True)


class _Bar:
    """A progress bar on stderr; warnings above it; the result on stdout."""

    def __enter__(self) -> _Bar:
        from tqdm import tqdm

        self._bar = tqdm(
            total=100, file=sys.stderr, bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}{postfix}]", dynamic_ncols=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            left = "" if event.eta_s is None else f"about {event.eta_s:.0f} s left"
            self._bar.set_description_str(event.message or event.phase, refresh=False)
            self._bar.set_postfix_str(left, refresh=False)
            self._bar.update(max(0.0, round(event.fraction * 100, 1) - self._bar.n))
            self._bar.refresh()
        elif isinstance(event, Views):
            for warning in event.warnings:
                self._bar.write(f"warning: {warning}", file=sys.stderr)
        elif isinstance(event, Asset):
            self._bar.close()
            phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in event.timings.items() if phase != "total")
            print(f"{event.glb}\n{event.n_faces} triangles, {event.n_verts} vertices, {event.timings['total']:.2f} s ({phases})")
