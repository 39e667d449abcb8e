"""Blender's properties of a request's fields, made from the fields' descriptions, and values in both directions."""

import math

from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ..engine.request_fields import RequestField, plain_type, request_fields
from ..engine.types import GenerateRequest

_DECIMALS = 4  # of a number that Blender keeps in single precision
_DECIMALS_DEG = 3


def scene_fields(request_type=GenerateRequest) -> dict[str, RequestField]:
    """The fields that a scene has a property for, keyed by the id of the property."""
    fields = [field for field in request_fields(request_type) if field.description.label]
    return {field.description.property_name or field.name: field for field in fields}


def properties_of(request_type=GenerateRequest) -> dict:
    """The annotations of a property group for these fields."""
    return {name: _property(field) for name, field in scene_fields(request_type).items()}


def section_properties(section: str, request_type=GenerateRequest) -> tuple[str, ...]:
    """Ids of the properties that a section of the panel lists, in order."""
    return tuple(name for name, field in scene_fields(request_type).items() if field.description.section == section)


def values_of(settings, request_type=GenerateRequest) -> dict:
    """The values that the properties of `settings` give to the request, keyed by field."""
    return {field.name: _to_request(getattr(settings, name), field) for name, field in scene_fields(request_type).items()}


def adopt_values(settings, request) -> None:
    """Set the properties of `settings` to the values of a request."""
    for name, field in scene_fields(type(request)).items():
        setattr(settings, name, _to_property(getattr(request, field.name), field))


def choice_items(name: str, request_type=GenerateRequest) -> list[tuple[str, str, str]]:
    """The items of an enumeration of a field's choices."""
    return _items(next(field for field in request_fields(request_type) if field.name == name))


def _items(field: RequestField) -> list[tuple[str, str, str]]:
    return [(str(choice.value), choice.label, choice.help) for choice in field.description.choices]


def _property(field: RequestField):
    description, kind = field.description, plain_type(field.type)
    default = field.default if description.panel_default is None else description.panel_default
    common = {"name": description.label, "description": description.help, "default": _to_property(default, field)}
    if description.choices:
        return EnumProperty(items=_items(field), **common)
    if kind is bool:
        return BoolProperty(**common)
    if kind is str:  # without maxlen, which counts bytes and cuts letters in two: `check` says what is too long
        folder = {"subtype": "DIR_PATH"} if description.unit == "folder" else {"options": {"TEXTEDIT_UPDATE"}}
        return StringProperty(**folder, **common)
    limits, hard = {}, description.bounds or description.usual
    for (low, high), bounds in ((("min", "max"), hard), (("soft_min", "soft_max"), description.usual)):
        if bounds is not None:
            limits |= {low: _to_property(kind(bounds[0]), field), high: _to_property(kind(bounds[1]), field)}
    if kind is int:
        return IntProperty(**limits, **common)
    if description.unit == "deg":
        return FloatProperty(subtype="ANGLE", step=100, precision=1, **limits, **common)
    return FloatProperty(subtype="FACTOR" if description.unit == "share" else "NONE", **limits, **common)


def _to_property(value, field: RequestField):
    """A field's value as Blender keeps it: angles in radians, choices as texts, no path as an empty one."""
    if field.description.choices:
        return str(value)
    if field.description.unit == "deg":
        return math.radians(value)
    return "" if value is None else value


def _to_request(value, field: RequestField):
    """Blender's value as the field's: numbers without the noise of single precision, texts without blanks around them."""
    kind = plain_type(field.type)
    if kind is float:
        return round(math.degrees(value), _DECIMALS_DEG) if field.description.unit == "deg" else round(value, _DECIMALS)
    if kind is str:
        return value.strip() or (None if field.default is None else "")
    return kind(value)
