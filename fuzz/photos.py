"""Bytes of a photo, into the intake: read, cut out by its transparency or its background, and framed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tetraview.engine.errors import PhotoError
from tetraview.engine.photos.intake import prepare_views
from tetraview.engine.photos.load import load_photo

MOST_CUT_PX = 128
"""Larger photos are read only: cutting them out would take most of the time."""


def run(data: bytes) -> None:
    """Read the bytes as a photo; only `PhotoError` is expected."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo"
        path.write_bytes(data)
        try:
            if max(load_photo(path).shape) <= MOST_CUT_PX:
                for cutout in ("alpha", "plain"):
                    prepare_views({"front": path}, cutout=cutout, view_px=64)
        except PhotoError as error:
            assert "Traceback" not in str(error) and str(error).strip().endswith((".", ")"))
