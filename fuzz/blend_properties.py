"""Texts that the add-on reads back from a .blend: an object's request, and what a strip and a turntable remember."""

from __future__ import annotations

import json
import os

from tetraview.engine.errors import InvalidRequestError
from tetraview.operators import saved


def run(data: bytes) -> None:
    """Read the bytes as each of the texts; only `InvalidRequestError` of the request is expected."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        request = saved.request(text)
        for path in (request.output_dir, request.views_dir or "", *request.photos.values()):
            os.path.isfile(os.path.join(path, "front.png"))
            os.fsencode(path)
    except InvalidRequestError as error:
        assert str(error).endswith(".")
    for variation in saved.variations(text):
        os.path.isfile(os.path.join(variation["folder"], "front.png"))
        json.dumps([variation["seed"], variation["stamp"], *variation["warnings"]])
    orbit = saved.orbit(text)
    if orbit is not None:
        for path in (orbit.gif, orbit.webp, *orbit.frames):
            os.path.isfile(path)
    for look in saved.view_looks(text).values():
        perspective, shading, colour, overlays = look
        assert isinstance(overlays, bool) and all(isinstance(item, str) for item in (perspective, shading, colour))
