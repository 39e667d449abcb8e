"""What the add-on reads back from a .blend file: texts that another program, another version or damage may have changed.

Standard library and the engine's types only, without `bpy`: `fuzz/blend_properties.py` calls these functions with any bytes.
"""

import json
from typing import Any

from ..engine.errors import InvalidRequestError
from ..engine.request_fields import check_paths, is_path
from ..engine.types import GenerateRequest, Orbit

UNREADABLE = "The settings stored on this object cannot be read: another program changed it; choose photos or a prompt again."


def request(stored: Any) -> GenerateRequest:
    """The request in an object's custom property.

    Args:
        stored: The property's value, a text unless somebody has changed it.

    Raises:
        InvalidRequestError: It is no request; one sentence.
    """
    try:
        found = GenerateRequest.from_json(stored)
        check_paths(found)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(UNREADABLE) from error
    return found


def orbit(text: str) -> Orbit | None:
    """The orbit preview that a strip remembers; None if there is none, or none that can be read."""
    values = _json(text)
    if not isinstance(values, dict) or not isinstance(values.get("frames"), list):
        return None
    texts = [values.get("gif"), values.get("webp"), *values["frames"]]
    if not values["frames"] or not all(map(is_path, texts)):
        return None
    return Orbit(tuple(values["frames"]), values["gif"], values["webp"])


def variations(text: str) -> list[dict]:
    """The variations that a strip remembers, as `add_variation` was given them; those that cannot be read are left out."""
    values = _json(text)
    return [value for value in values if _is_variation(value)] if isinstance(values, list) else []


def view_looks(text: Any) -> dict[str, list]:
    """The look of each 3D view before the turntable, by the number of its area; those that cannot be read are left out."""
    values = _json(text)
    return {key: look for key, look in values.items() if _is_look(look)} if isinstance(values, dict) else {}


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) and text else None
    except (ValueError, RecursionError):
        return None


def _is_look(value: Any) -> bool:
    return isinstance(value, list) and [type(item) for item in value] == [str, str, str, bool]


def _is_variation(value: Any) -> bool:
    if not isinstance(value, dict) or not is_path(value.get("folder")) or not isinstance(value.get("stamp"), str):
        return False
    warnings, seed = value.get("warnings"), value.get("seed")
    return type(seed) is int and abs(seed) < 2**31 and isinstance(warnings, list) and all(isinstance(w, str) for w in warnings)
