"""Options that `generate` and `reconstruct` share, and the request built from them.

The options of most fields follow from the fields' descriptions; written by hand are those that set several fields, or none.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidRequestError
from ..job.folder import default_home, new_job_folder
from ..photo_names import sort_by_name
from ..request_fields import RequestField, listed, plain_type, request_fields
from ..types import PHASES, VIEW_NAMES, GenerateRequest

ORBIT_FRAMES = 24


def add_photo_options(group: argparse._ArgumentGroup) -> None:
    """`--front PHOTO` and its like."""
    for name in VIEW_NAMES:
        group.add_argument(f"--{name}", metavar="PHOTO", help=f"the photo of the {name} view")


def add_field_options(group: argparse._ArgumentGroup, name: str, request_type: type = GenerateRequest) -> None:
    """An option for each field of a request whose description names this group; it is stored under the field's name."""
    for field in request_fields(request_type):
        if field.description.group == name:
            group.add_argument(_flag(field), dest=field.name, default=field.default, help=_help(field), **_conversion(field))


def add_strip_options(parser: argparse.ArgumentParser, request_type: type = GenerateRequest) -> None:
    """Options for starting from existing views and editing them."""
    add_field_options(parser.add_argument_group("views of an earlier run"), "strip", request_type)


def add_painting_options(parser: argparse.ArgumentParser, request_type: type = GenerateRequest) -> None:
    """Options for painting the views without a photo."""
    add_field_options(parser.add_argument_group("painting"), "painting", request_type)


def add_result_options(parser: argparse.ArgumentParser, request_type: type = GenerateRequest) -> None:
    """Options for the result, its folder and the device."""
    result = parser.add_argument_group("result")
    result.add_argument(
        "-o", "--output", metavar="DIR",
        help="receives asset.glb, views/*.png, request.json, timings.json (default: a new job in the engine's home)",
    )  # fmt: skip
    result.add_argument("--orbit", action="store_true", help="also write orbit.gif and orbit.webp, before the mesh is made")
    result.add_argument(
        "--orbit-frames", type=int, default=ORBIT_FRAMES, metavar="N", help=f"frames of these (default {ORBIT_FRAMES})"
    )
    add_field_options(result, "result", request_type)
    stop = result.add_mutually_exclusive_group()
    stop.add_argument("--views-only", dest="stop_after", action="store_const", const="views", help="end with the four views")
    stop.add_argument("--stop-after", choices=PHASES, metavar="PHASE", help=f"end early, after one of: {', '.join(PHASES)}")
    how = parser.add_argument_group("how")
    add_field_options(how, "how", request_type)
    how.add_argument("--events", choices=("json",), help="write each event as one JSON object a line on stdout")


def named_photos(args: argparse.Namespace) -> dict[str, str]:
    """The photos given by `--front` and its like."""
    return {name: getattr(args, name) for name in VIEW_NAMES if getattr(args, name)}


def build_request(
    args: argparse.Namespace, photos: Mapping[str, str], prompt: str, request_type: type[GenerateRequest] = GenerateRequest
) -> GenerateRequest:
    """The request that the common options ask for.

    Args:
        args: The parsed arguments; without `--output` a new job folder is made.
        photos: Path of the photo of each view; with `--views` they replace its views.
        prompt: What the object is.
        request_type: Class of the request.
    """
    output = Path(args.output).absolute() if args.output else new_job_folder(default_home(), _label(photos, prompt))
    values: dict[str, Any] = {
        field.name: getattr(args, field.name) for field in request_fields(request_type) if field.description.group
    }
    return request_type(
        photos={name: str(Path(path).absolute()) for name, path in photos.items()},
        output_dir=str(output),
        prompt=prompt,
        replace=tuple(photos) if values["views_dir"] else (),
        orbit_frames=args.orbit_frames if args.orbit else 0,
        **values,
    )


def photos_in_folder(folder: Path) -> dict[str, str]:
    """The photos in a folder whose names tell a side, such as front.jpg or chair_front.HEIC; see `photo_names.sort_by_name`.

    Raises:
        InvalidRequestError: No such folder, no such photo in it, a view has two, or one of a kind that cannot be read. A view
            without a photo is left out.
    """
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is not a folder: give one with front, right, back and left photos, or the photos.")
    found = sort_by_name(str(path) for path in sorted(folder.iterdir()) if not path.is_dir())
    if found.problem:
        raise InvalidRequestError(f"{folder} cannot be used as it is. {found.problem}")
    if not found.photos:
        count = len(found.unnamed)
        renamed = f"rename its {count} photo{'s' if count > 1 else ''}" if count else "put photos there"
        raise InvalidRequestError(
            f"{folder} holds no photo named front, right, back or left: {renamed}, as in front.jpg or chair_front.jpg."
        )
    return found.photos


def _names(text: str) -> tuple[str, ...]:
    """Names of views, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in VIEW_NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"use some of {','.join(VIEW_NAMES)}, separated by commas")
    return tuple(name for name in VIEW_NAMES if name in names)


def _folder(text: str) -> str | None:
    """The absolute path of a folder; None if none is given."""
    return str(Path(text).absolute()) if text else None


def _flag(field: RequestField) -> str:
    return field.description.option or "--" + field.name.replace("_", "-")


def _conversion(field: RequestField) -> dict[str, Any]:
    """The `argparse` conversion from the option's text to the field's value."""
    description, kind = field.description, plain_type(field.type)
    if kind is bool:
        return {"action": "store_false" if field.default else "store_true"}
    if kind == tuple[str, ...]:
        return {"type": _names, "metavar": "NAMES"}
    if description.unit == "folder":
        return {"type": _folder, "metavar": description.metavar or "DIR"}
    metavar = description.metavar or {"px": "PX", "deg": "DEG"}.get(description.unit) or {int: "N", float: "X"}.get(kind, "TEXT")
    if description.choices and not description.numbered:
        values = tuple(choice.value for choice in description.choices)
        return {"type": kind, "choices": values, "metavar": None if kind is str else metavar}
    return {"type": kind, "metavar": metavar}


def _help(field: RequestField) -> str:
    """The option's help: the description, what is accepted, and the default."""
    description, kind = field.description, plain_type(field.type)
    text = description.option_help or description.help
    text = text[0].lower() + text[1:]
    if description.bounds is not None:
        text += f"; {description.bounds[0]:g} to {description.bounds[1]:g}"
    elif description.choices and (kind is int or description.numbered):
        numbered = [f"{choice.value}" for choice in description.choices]
        text += f"; {listed(numbered, 'or')}" + (", with a number as in cuda:1" if description.numbered else "")
    if kind in (int, float, str) and field.default not in (None, ""):
        text += f" (default {field.default:g})" if kind is float else f" (default {field.default})"
    return text.replace("%", "%%")


def _label(photos: Mapping[str, str], prompt: str) -> str:
    """A few words for the job's folder: the prompt, or the folder of the photos."""
    if prompt.strip():
        return prompt
    return Path(next(iter(photos.values()))).absolute().parent.name if photos else "views"
