"""What `generate` and `reconstruct` have in common: their options, and the request these ask for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from ..errors import InvalidRequestError
from ..job.folder import default_home, new_job_folder
from ..types import (
    GUIDANCE_RANGE,
    OBJECT_SIZE_RANGE,
    PHASES,
    POLY_BUDGET_RANGE,
    STEPS_RANGE,
    TEXTURE_SIZES_PX,
    VIEW_NAMES,
    GenerateRequest,
)

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".tga", ".ppm")
DEFAULTS = GenerateRequest({}, "")
ORBIT_FRAMES = 24


def add_photo_options(group: argparse._ArgumentGroup) -> None:
    """`--front PHOTO` and its like."""
    for name in VIEW_NAMES:
        group.add_argument(f"--{name}", metavar="PHOTO", help=f"the photo of the {name} view")


def add_strip_options(parser: argparse.ArgumentParser) -> None:
    """Where the four views come from, if they are there already, and what is changed in them."""
    strip = parser.add_argument_group("views of an earlier run")
    strip.add_argument("--views", metavar="DIR", help="start from these framed views (a `views` folder), taken as they are")
    strip.add_argument("--repaint", type=_names, default=(), metavar="NAMES", help="paint these again, such as left,back")
    strip.add_argument("--flip", type=_names, default=(), metavar="NAMES", help="mirror these left to right")


def add_painting_options(parser: argparse.ArgumentParser) -> None:
    """How the views that no photo shows are painted."""
    painting = parser.add_argument_group("painting")
    painting.add_argument("--negative", default="", metavar="TEXT", help="what the object must not be")
    painting.add_argument(
        "--seed", type=int, default=DEFAULTS.seed, metavar="N", help="another seed paints another object (default 0)"
    )
    painting.add_argument(
        "--steps", type=int, default=DEFAULTS.steps, metavar="N",
        help=f"runs of the denoiser, {_span(STEPS_RANGE)} (default {DEFAULTS.steps})",
    )  # fmt: skip
    painting.add_argument(
        "--guidance", type=float, default=DEFAULTS.guidance, metavar="X",
        help=f"how strongly the prompt is followed, {_span(GUIDANCE_RANGE)} (default {DEFAULTS.guidance:g})",
    )  # fmt: skip
    painting.add_argument(
        "--object-size", type=float, default=DEFAULTS.object_size, metavar="X",
        help=f"how large it begins, as a share of a view, {_span(OBJECT_SIZE_RANGE)} (default {DEFAULTS.object_size:g})",
    )  # fmt: skip
    painting.add_argument("--no-examples", action="store_true", help="never begin from a stored example")
    painting.add_argument("--generator", metavar="DIR", help="folder of the four-view generator (default: the starter's)")


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """What is made, where, and on which device."""
    result = parser.add_argument_group("result")
    result.add_argument(
        "-o", "--output", metavar="DIR",
        help="receives asset.glb, views/*.png, request.json, timings.json (default: a new job in the engine's home)",
    )  # fmt: skip
    result.add_argument(
        "--poly-budget", type=int, default=DEFAULTS.poly_budget, metavar="N",
        help=f"never more triangles than this, {_span(POLY_BUDGET_RANGE)} (default {DEFAULTS.poly_budget})",
    )  # fmt: skip
    result.add_argument(
        "--texture", type=int, default=DEFAULTS.texture_px, choices=TEXTURE_SIZES_PX, metavar="PX",
        help=f"side of the texture: {', '.join(map(str, TEXTURE_SIZES_PX))} (default {DEFAULTS.texture_px})",
    )  # fmt: skip
    result.add_argument("--orbit", action="store_true", help="also orbit.gif and orbit.webp, rendered before there is a mesh")
    result.add_argument(
        "--orbit-frames", type=int, default=ORBIT_FRAMES, metavar="N", help=f"frames of these (default {ORBIT_FRAMES})"
    )
    result.add_argument(
        "--orbit-px", type=int, default=DEFAULTS.orbit_px, metavar="PX", help=f"side of a frame (default {DEFAULTS.orbit_px})"
    )
    stop = result.add_mutually_exclusive_group()
    stop.add_argument("--views-only", dest="stop_after", action="store_const", const="views", help="end with the four views")
    stop.add_argument("--stop-after", choices=PHASES, metavar="PHASE", help=f"end early, after one of: {', '.join(PHASES)}")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--elevation", type=float, default=DEFAULTS.elevation_deg, metavar="DEG",
        help=f"how far above the object's middle the camera stood, degrees (default {DEFAULTS.elevation_deg:g})",
    )  # fmt: skip
    how.add_argument(
        "--find-elevation", action="store_true",
        help="with four photos: find that elevation, beginning from the stated one",
    )  # fmt: skip
    how.add_argument(
        "--cutout", choices=("auto", "alpha", "plain", "birefnet"), default=DEFAULTS.cutout,
        help="how the object is cut out: by the photo's transparency, from a plain background, by BiRefNet (default auto: "
        "what fits, and the starter's own network where the background is busy)",
    )  # fmt: skip
    how.add_argument("--device", default=DEFAULTS.device, metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    how.add_argument("--model", metavar="DIR", help="folder of reconstructor weights (default: the starter weights)")
    how.add_argument("--events", choices=("json",), help="write each event as one JSON object a line on stdout")


def named_photos(args: argparse.Namespace) -> dict[str, str]:
    """The photos given by `--front` and its like."""
    return {name: getattr(args, name) for name in VIEW_NAMES if getattr(args, name)}


def build_request(args: argparse.Namespace, photos: Mapping[str, str], prompt: str) -> GenerateRequest:
    """The request that the common options ask for.

    Args:
        args: The parsed arguments; without `--output` a new job folder is made.
        photos: Path of the photo of each view; with `--views` they replace its views.
        prompt: What the object is.
    """
    output = Path(args.output).absolute() if args.output else new_job_folder(default_home(), _label(photos, prompt))
    return GenerateRequest(
        photos={name: str(Path(path).absolute()) for name, path in photos.items()},
        output_dir=str(output),
        prompt=prompt,
        negative_prompt=args.negative,
        views_dir=str(Path(args.views).absolute()) if args.views else None,
        repaint=args.repaint,
        flip=args.flip,
        replace=tuple(photos) if args.views else (),
        poly_budget=args.poly_budget,
        texture_px=args.texture,
        elevation_deg=args.elevation,
        find_elevation=args.find_elevation,
        cutout=args.cutout,
        device=args.device,
        model=str(Path(args.model).absolute()) if args.model else None,
        generator=str(Path(args.generator).absolute()) if args.generator else None,
        seed=args.seed,
        steps=args.steps,
        guidance=args.guidance,
        object_size=args.object_size,
        use_examples=not args.no_examples,
        orbit_frames=args.orbit_frames if args.orbit else 0,
        orbit_px=args.orbit_px,
    )


def photos_in_folder(folder: Path) -> dict[str, str]:
    """The photos named front, right, back and left in a folder, whatever their suffix and case.

    Raises:
        InvalidRequestError: No such folder, no such photo in it, or a view has two. A view without a photo is left out.
    """
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is not a folder: give one with front, right, back and left photos, or the photos.")
    photos: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        name = path.stem.lower()
        if name in VIEW_NAMES and path.suffix.lower() in PHOTO_SUFFIXES:
            if name in photos:
                both = f"{Path(photos[name]).name} and {path.name}"
                raise InvalidRequestError(f"{folder} holds two photos of the {name} view, {both}: remove one.")
            photos[name] = str(path)
    if not photos:
        raise InvalidRequestError(f"{folder} holds no photo named front, right, back or left: name them so.")
    return photos


def _names(text: str) -> tuple[str, ...]:
    """Names of views, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in VIEW_NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"use some of {','.join(VIEW_NAMES)}, separated by commas")
    return tuple(name for name in VIEW_NAMES if name in names)


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _label(photos: Mapping[str, str], prompt: str) -> str:
    """A few words for the job's folder: the prompt, or the folder of the photos."""
    if prompt.strip():
        return prompt
    return Path(next(iter(photos.values()))).absolute().parent.name if photos else "views"
