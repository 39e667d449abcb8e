"""Requests, events and errors survive the wire; what is no message is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine import errors, protocol
from tetraview.engine.types import (
    PHASES,
    VIEW_NAMES,
    Asset,
    GenerateRequest,
    Planes,
    Progress,
    Views,
    event_from_dict,
    event_to_dict,
)

text = st.text(max_size=30)
paths = st.dictionaries(st.sampled_from(VIEW_NAMES), text)
count = st.integers(min_value=0)
numbers = st.floats(allow_nan=False, allow_infinity=False)
requests = st.builds(
    GenerateRequest, photos=paths, output_dir=text, views_dir=st.none() | text, poly_budget=st.integers(),
    texture_px=st.integers(), elevation_deg=numbers, cutout=text, device=text, model=st.none() | text, seed=st.integers(),
)  # fmt: skip
events = st.one_of(
    st.builds(Progress, st.sampled_from(PHASES), numbers, st.none() | numbers, text),
    st.builds(Views, paths, st.lists(text).map(tuple)),
    st.builds(Planes, text),
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


@given(st.dictionaries(st.sampled_from(["photos", "output_dir", "seed", "poly_budget", "model", "device"]), json_values))
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
