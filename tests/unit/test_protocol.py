"""Requests, events and errors survive the wire; what is no message is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine import errors
from tetraview.engine.process import protocol
from tetraview.engine.types import (
    PHASES,
    VIEW_NAMES,
    Asset,
    GenerateRequest,
    Orbit,
    Planes,
    Preview,
    Progress,
    Views,
    event_from_dict,
    event_to_dict,
)

text = st.text(max_size=30)
paths = st.dictionaries(st.sampled_from(VIEW_NAMES), text)
count = st.integers(min_value=0)
numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.lists(st.sampled_from(VIEW_NAMES)).map(tuple)
fields_of_requests = {
    "photos": paths, "output_dir": text, "prompt": text, "negative_prompt": text, "views_dir": st.none() | text, "repaint": names,
    "flip": names, "replace": names, "poly_budget": st.integers(), "texture_px": st.integers(), "elevation_deg": numbers,
    "fovy_deg": numbers,
    "cutout": text, "device": text, "model": st.none() | text, "generator": st.none() | text, "seed": st.integers(),
    "steps": st.integers(), "guidance": numbers, "object_size": numbers, "use_examples": st.booleans(),
    "find_elevation": st.booleans(), "orbit_frames": st.integers(), "orbit_px": st.integers(),
}  # fmt: skip
requests = st.builds(GenerateRequest, **fields_of_requests)
events = st.one_of(
    st.builds(Progress, st.sampled_from(PHASES), numbers, st.none() | numbers, text),
    st.builds(Preview, paths, count, count),
    st.builds(Views, paths, st.lists(text).map(tuple), names),
    st.builds(Planes, text),
    st.builds(Orbit, st.lists(text).map(tuple), text, text),
    st.builds(Asset, text, text, text, numbers, numbers, count, count, st.dictionaries(text, numbers), text, paths),
)
scalars = st.none() | st.booleans() | st.integers() | numbers | text
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)


@given(requests)
def test_requests_survive_the_wire_and_the_file(request):
    command = protocol.encode({"command": "generate", "request": protocol.request_to_dict(request)})
    assert command.count(b"\n") == 1 and command.endswith(b"\n")
    assert protocol.request_from_dict(protocol.decode(command, "command")["request"]) == request
    assert GenerateRequest.from_json(request.to_json()) == request


@given(events)
def test_events_survive_the_wire(event):
    line = protocol.encode({"message": "event", "event": event_to_dict(event)})
    assert event_from_dict(protocol.decode(line, "message")["event"]) == event


@given(json_values)
def test_wrong_requests_are_refused_or_right(value):
    try:
        request = protocol.request_from_dict(value)
    except errors.InvalidRequestError:
        return
    assert protocol.request_from_dict(json.loads(json.dumps(protocol.request_to_dict(request)))) == request


def test_every_field_is_drawn():
    assert set(fields_of_requests) == {field.name for field in dataclasses.fields(GenerateRequest)}


@given(st.dictionaries(st.sampled_from(list(fields_of_requests)), json_values))
def test_checked_requests_never_trip_over_their_types(fields):
    try:
        protocol.request_from_dict({"photos": {}, "output_dir": "x", **fields}).check()
    except errors.InvalidRequestError as error:
        assert str(error)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(line, "message")


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"message": 1}', b"x" * (protocol.MAX_LINE_BYTES + 1), b"null", b'"message"'])
def test_odd_lines_are_refused(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(line, "message")


@pytest.mark.parametrize("cls", [errors.EngineError, errors.PhotoError, errors.InvalidRequestError, errors.WeightsError])
def test_errors_keep_class_text_and_fix(cls):
    back = protocol.error_from_dict(json.loads(json.dumps(protocol.error_to_dict(cls("No chair.", fix="tetraview.sit")))))
    assert type(back) is cls and str(back) == "No chair." and back.fix == "tetraview.sit"


def test_errors_of_a_newer_engine_are_still_shown():
    class NewError(errors.WeightsError):
        pass

    assert protocol.error_to_dict(NewError("x"))["kind"] == "WeightsError"
    assert type(protocol.error_from_dict({"kind": "Unheard", "text": "y"})) is errors.EngineError


@pytest.mark.parametrize(
    ("fields", "painted", "phases"),
    [
        ({"prompt": "a chair"}, VIEW_NAMES, ("views", "planes")),
        ({"photos": {"back": "b.png"}}, ("front", "right", "left"), ("photos", "views", "planes")),
        ({"photos": dict.fromkeys(VIEW_NAMES, "x.png")}, (), ("photos", "planes")),
        ({"views_dir": "v"}, (), ("photos", "planes")),
        ({"views_dir": "v", "repaint": ("left", "front")}, ("front", "left"), ("photos", "views", "planes")),
        ({"views_dir": "v", "orbit_frames": 24}, (), ("photos", "planes", "orbit")),
    ],
)
def test_what_a_request_paints_and_runs(fields, painted, phases):
    request = GenerateRequest(**{"photos": {}, "output_dir": "x", **fields})
    request.check()
    assert request.painted == painted and request.phases == (*phases, "mesh", "simplify", "unwrap", "texture", "asset")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nothing to start from"),
        ({"prompt": " \n"}, "nothing to start from"),
        ({"views_dir": "v", "repaint": VIEW_NAMES}, "nothing to start from"),
        ({"prompt": "a", "repaint": ("left",)}, "no views to repaint"),
        ({"prompt": "a", "flip": ("left",)}, "no views to flip"),
        ({"views_dir": "v", "flip": ("top",)}, "Flipping the view 'top' is not offered"),
        ({"views_dir": "v", "replace": ("left",)}, "No photo to replace the left view"),
        ({"views_dir": "v", "replace": ("left",), "photos": {"left": "x"}, "repaint": ("left",)}, "not both"),
        ({"views_dir": "v", "flip": ("left",), "repaint": ("left",)}, "not both"),
        ({"prompt": "a", "orbit_frames": 1}, "An orbit of 1 frames is out of range"),
        ({"prompt": "a", "orbit_frames": 9, "orbit_px": 9}, "An orbit of 9 px is out of range"),
        ({"prompt": "a", "object_size": 0.0}, "An object size of 0 is out of range"),
        ({"prompt": "a", "guidance": 99.0}, "A guidance of 99 is out of range"),
    ],
)
def test_requests_that_cannot_be_run_say_why(fields, words):
    with pytest.raises(errors.InvalidRequestError, match=words):
        GenerateRequest(**{"photos": {}, "output_dir": "x", **fields}).check()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"find_elevation": "no"}, "The request's find_elevation must be true or false, not 'no'."),
        ({"find_elevation": 1}, "The request's find_elevation must be true or false, not 1."),
        ({"seed": True}, "The request's seed must be a whole number, not True."),
        ({"guidance": "4"}, "The request's guidance must be a number, not '4'."),
        ({"elevation_deg": 10**400}, "The request's elevation_deg must be a number, not 1000"),
        ({"model": 3}, "The request's model must be a text or null, not 3."),
        ({"flip": "left"}, "The request's flip must be a list of texts, not 'left'."),
        ({"photos": {"front": None}}, "The request's photos must be an object of texts"),
    ],
)
def test_wrong_types_are_refused_on_the_wire_and_in_the_file(fields, words):
    values = {"photos": {}, "output_dir": "x", "prompt": "a", **fields}
    with pytest.raises(errors.InvalidRequestError) as on_the_wire:
        protocol.request_from_dict(values)
    with pytest.raises(errors.InvalidRequestError) as in_the_file:
        GenerateRequest.from_json(json.dumps(values))
    assert str(on_the_wire.value).startswith(words) and str(in_the_file.value) == str(on_the_wire.value)


def test_unknown_fields_are_refused_on_the_wire_and_left_out_of_a_file():
    values = {"photos": {}, "output_dir": "x", "colour": "red"}
    with pytest.raises(errors.InvalidRequestError, match="unknown field 'colour'"):
        protocol.request_from_dict(values)
    assert GenerateRequest.from_json(json.dumps(values)) == GenerateRequest({}, "x")
    with pytest.raises(errors.InvalidRequestError, match="has no output_dir"):
        protocol.request_from_dict({"photos": {}})


def test_the_key_of_the_views_follows_what_they_are_made_from():
    one, four = {"front": "f.png"}, dict.fromkeys(VIEW_NAMES, "x.png")

    def changes(photos, **fields):
        request = GenerateRequest(photos, "x", prompt="a")
        return dataclasses.replace(request, **fields).views_key() != request.views_key()

    for fields in ({"elevation_deg": 5.0}, {"find_elevation": True}, {"cutout": "plain"}):
        assert changes(one, **fields) and changes(four, **fields) and not changes({}, **fields)
    for fields in ({"prompt": "b"}, {"seed": 1}, {"steps": 9}, {"use_examples": False}):
        assert changes(one, **fields) and changes({}, **fields) and not changes(four, **fields)
    for fields in ({"poly_budget": 500}, {"texture_px": 256}, {"output_dir": "y"}, {"device": "cpu"}, {"orbit_frames": 9}):
        assert not changes(one, **fields) and not changes({}, **fields) and not changes(four, **fields)
