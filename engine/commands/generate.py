"""`python -m tetraview generate`: from a prompt to four views and a mesh, by `job.generate`, as Blender does."""

from __future__ import annotations

import argparse

from .options import add_painting_options, add_photo_options, add_result_options, add_strip_options, build_request, named_photos
from .running import run_request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `generate`."""
    what = parser.add_argument_group("object")
    what.add_argument("prompt", nargs="?", default="", metavar="PROMPT", help='what the object is, such as "a red armchair"')
    add_photo_options(what)
    add_strip_options(parser)
    add_painting_options(parser)
    add_result_options(parser)


def run(args: argparse.Namespace) -> int:
    """Generate; prints where the result is."""
    photos = named_photos(args)
    if not args.prompt.strip() and not photos and not args.views_dir:
        args.parser.error("write a prompt, or give photos, or --views")
    return run_request(build_request(args, photos, args.prompt), args)
