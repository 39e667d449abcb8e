"""`python -m tetraview reconstruct`: builds a request and drives `job.generate`, as Blender does."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..photo_names import OTHER_KINDS, PHOTO_SUFFIXES
from ..types import VIEW_NAMES
from .options import (
    add_painting_options,
    add_photo_options,
    add_result_options,
    add_strip_options,
    build_request,
    named_photos,
    photos_in_folder,
)
from .running import run_request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `reconstruct`."""
    photos = parser.add_argument_group("photos (one to four; the other views are painted)")
    photos.add_argument(
        "photos", nargs="*", metavar="PHOTO", help="front, right, back and left; or the front alone; or a folder with these"
    )
    add_photo_options(photos)
    photos.add_argument("--prompt", default="", metavar="TEXT", help="what the object is; guides the painting of missing views")
    add_strip_options(parser)
    add_painting_options(parser)
    add_result_options(parser)


def run(args: argparse.Namespace) -> int:
    """Reconstruct; prints where the result is."""
    named = named_photos(args)
    if (args.photos and (named or args.views_dir)) or not (args.photos or named or args.views_dir):
        args.parser.error("give photos or a folder, or --front, --right, --back or --left, or --views")
    if len(args.photos) not in (0, 1, len(VIEW_NAMES)):
        args.parser.error(f"which views are these {len(args.photos)}? give all four in order, or use --front and its like")
    return run_request(build_request(args, given_photos(args.photos) or named, args.prompt), args)


def given_photos(paths: list[str]) -> dict[str, str]:
    """The photos of the four views in order, of the front alone, or in a folder; empty if no path is given.

    Raises:
        InvalidRequestError: The one path is neither a folder with photos nor called like a photo.
    """
    if len(paths) == 1:
        path = Path(paths[0])
        is_photo = path.is_file() or path.suffix.lower() in (*PHOTO_SUFFIXES, *OTHER_KINDS)
        if path.is_dir() or not is_photo:
            return photos_in_folder(path)
    return dict(zip(VIEW_NAMES, paths, strict=False))
