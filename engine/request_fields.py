"""Descriptions of a request's fields, and what is derived from them: checks, the wire format, the key of the views.

A request is a frozen dataclass, and each field carries a `Description`: `steps: int = field(default=6, metadata=describe(...))`.
The command line (`engine/commands/options.py`) and Blender (`operators/request_properties.py`) read the same descriptions, so
a new field is one more line in the dataclass. Standard library only.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from .errors import InvalidRequestError

_KEY = "description"

Changes = Literal["", "photos", "painting"]
"""The views that a field changes: none, those cut out of photos, or the painted ones."""


@dataclass(frozen=True)
class Choice:
    """One of the values that a field allows.

    Attributes:
        value: The value.
        label: Its name in Blender's menu.
        help: Its tooltip there.
    """

    value: Any
    label: str
    help: str


@dataclass(frozen=True)
class Description:
    """All that is known of a field beside its name, type and default value.

    Attributes:
        help: Its meaning, without a full stop: Blender's tooltip and the command line's help.
        label: Its name in Blender; "" if a scene has no such property.
        called: The beginning of the sentence that refuses a value, such as "A guidance of {}"; "" to use the label or name.
        bounds: The least and the greatest value that is accepted; None if there is no limit.
        also: Values outside the bounds that are accepted too.
        usual: The range of Blender's slider where it is narrower than `bounds`, or where there are none.
        choices: The values that are accepted; empty if there is no such list.
        numbered: Whether a choice may be followed by a colon and a number, as in "cuda:1".
        longest: The greatest number of characters in a text; None if there is no limit.
        unit: "px", "deg" (Blender keeps radians), "share" (of one), "folder" (a path), or "".
        changes: The views it changes.
        group: The command line's group of options; "" if the commands give the field its value without an option of its own.
        option: The option where it is not the field's name with dashes; a field that is true by default needs a "--no-..." here.
        option_help: The option's help where `help` does not fit.
        metavar: Name of the value in the command line's help, if the type does not tell.
        section: The section of Blender's panel that lists it, "painting" or "mesh"; "" if the panel draws it elsewhere.
        property_name: The id of Blender's property where it is not the field's name.
        panel_default: The value in a new scene where it is not the field's own default.
    """

    help: str
    label: str = ""
    called: str = ""
    bounds: tuple[float, float] | None = None
    also: tuple[float, ...] = ()
    usual: tuple[float, float] | None = None
    choices: tuple[Choice, ...] = ()
    numbered: bool = False
    longest: int | None = None
    unit: Literal["", "px", "deg", "share", "folder"] = ""
    changes: Changes = ""
    group: str = ""
    option: str = ""
    option_help: str = ""
    metavar: str = ""
    section: Literal["", "painting", "mesh"] = ""
    property_name: str = ""
    panel_default: Any = None


@dataclass(frozen=True)
class RequestField:
    """A field of a request with its description.

    Attributes:
        name: Its name.
        type: Its type, as `typing` resolves the annotation.
        default: Its default value; `dataclasses.MISSING` if it must be given.
        description: The rest.
    """

    name: str
    type: Any
    default: Any
    description: Description


def describe(help: str, **rest: Any) -> Mapping[str, Description]:
    """Metadata for `dataclasses.field`; the arguments are those of `Description`."""
    return {_KEY: Description(help, **rest)}


_fields_of: dict[type, tuple[RequestField, ...]] = {}  # panels ask on every redraw


def request_fields(request_type: type) -> tuple[RequestField, ...]:
    """The fields of a request's class, in order.

    Raises:
        TypeError: A field has no description.
    """
    if request_type in _fields_of:
        return _fields_of[request_type]
    kinds = typing.get_type_hints(request_type)
    fields = []
    for field in dataclasses.fields(request_type):
        if _KEY not in field.metadata:
            raise TypeError(f"the field {field.name!r} of {request_type.__name__} has no description: add metadata=describe(...)")
        fields.append(RequestField(field.name, kinds[field.name], field.default, field.metadata[_KEY]))
    return _fields_of.setdefault(request_type, tuple(fields))


def is_path(value: Any) -> bool:
    """Whether a value is a text that the system takes as a path: it says of none whether a file is there."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False


def check_paths(request: Any) -> None:
    """Raise `InvalidRequestError`, in one sentence, if a path in a request is one that no file can have."""
    for field in request_fields(type(request)):
        value = getattr(request, field.name)
        paths = value.values() if isinstance(value, Mapping) else [value] if field.description.unit == "folder" else []
        for path in paths:
            if path is not None and not is_path(path):
                name = field.name.replace("_", " ")
                text = f"The {name} {path[:60]!r} holds a character that no path can have: choose another one."
                raise InvalidRequestError(text)


def check_values(request: Any) -> None:
    """Raise `InvalidRequestError`, in one sentence, if a value is not one that its field's description accepts."""
    check_paths(request)
    for field in request_fields(type(request)):
        value, description = getattr(request, field.name), field.description
        called = description.called or f"{description.label or field.name.replace('_', ' ').capitalize()} {{}}"
        if description.longest is not None and len(value) > description.longest:
            name = field.name.replace("_", " ")
            raise InvalidRequestError(f"The {name} is too long: use at most {description.longest} characters.")
        if description.choices:
            accepted = [choice.value for choice in description.choices]
            chosen = value.split(":")[0] if description.numbered else value
            for item in chosen if isinstance(chosen, tuple) else (chosen,):
                if item not in accepted:
                    text = called.format(repr(item) if isinstance(item, str) else item)
                    raise InvalidRequestError(f"{text} is not offered: use {listed(accepted, 'or')}.")
        if description.bounds is not None and value not in description.also:
            low, high = description.bounds
            if not low <= value <= high:  # true of NaN too
                text = called.format(f"{value:g}" if isinstance(value, float) else value)
                raise InvalidRequestError(f"{text} is out of range: use {low:g} to {high:g}.")


def request_from_dict(request_type: type[Any], values: Any, *, ignore_unknown: bool = False) -> Any:
    """The request whose fields a JSON object holds.

    Args:
        request_type: Class of the request.
        values: The decoded JSON.
        ignore_unknown: Leave out fields that the class does not have (a file of another version) instead of refusing them.

    Raises:
        InvalidRequestError: A field is missing, unknown or of another type; one sentence says which.
    """
    if not isinstance(values, dict):
        raise InvalidRequestError("The request is not an object with fields.")
    fields = {field.name: field for field in request_fields(request_type)}
    unknown = [name for name in values if name not in fields]
    if unknown and not ignore_unknown:
        raise InvalidRequestError(f"The request has an unknown field {unknown[0]!r}: give only {listed(list(fields), 'and')}.")
    given: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            try:
                given[name] = _from_json(values[name], field.type)
            except (TypeError, OverflowError) as error:
                shown = repr(values[name])
                shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
                raise InvalidRequestError(f"The request's {name} must be {_kind_name(field.type)}, not {shown}.") from error
        elif field.default is dataclasses.MISSING:
            raise InvalidRequestError(f"The request has no {name}: it must be given.")
    return request_type(**given)


def request_to_dict(request: Any) -> dict[str, Any]:
    """The fields of a request, ready for JSON."""
    values = {field.name: getattr(request, field.name) for field in request_fields(type(request))}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def values_that_change(request: Any, changes: Changes) -> list[Any]:
    """The values of the fields that change these views, in the order of the fields."""
    return [getattr(request, field.name) for field in request_fields(type(request)) if field.description.changes == changes]


def listed(words: Sequence[Any], last: str) -> str:
    """Words as a sentence lists them: "a, b or c"."""
    *first, final = map(str, words)
    return f"{', '.join(first)} {last} {final}" if first else final


def plain_type(kind: Any) -> Any:
    """The type of a field's value without None: `str` for `str | None`."""
    alternatives = [item for item in _alternatives(kind) if item is not type(None)]
    return alternatives[0] if len(alternatives) == 1 else kind


def _alternatives(kind: Any) -> Iterator[Any]:
    if typing.get_origin(kind) in (Union, types.UnionType):
        yield from typing.get_args(kind)
    else:
        yield kind


def _from_json(value: Any, kind: Any) -> Any:
    """`value` as JSON gave it, as a value of the type `kind`: lists become tuples, and whole numbers floats where a float is due.

    Raises:
        TypeError: It is of another type. True and false are no numbers.
    """
    alternatives = tuple(_alternatives(kind))
    if len(alternatives) > 1:
        return None if value is None and type(None) in alternatives else _from_json(value, plain_type(kind))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (bool, int, str):
        if type(value) is kind:
            return value
    elif typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_from_json(item, typing.get_args(kind)[0]) for item in value)
    elif typing.get_origin(kind) is Mapping and isinstance(value, dict):
        of_key, of_item = typing.get_args(kind)
        return {_from_json(key, of_key): _from_json(item, of_item) for key, item in value.items()}
    raise TypeError(f"{value!r} is not of the type {kind}")


def _kind_name(kind: Any) -> str:
    """A type in words for a person."""
    if len(tuple(_alternatives(kind))) > 1:
        return f"{_kind_name(plain_type(kind))} or null"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if kind in names:
        return names[kind]
    return "a list of texts" if typing.get_origin(kind) is tuple else "an object of texts"
