"""A folder of framed views, as an artist's paint program or an earlier run left it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tetraview.engine.errors import PhotoError
from tetraview.engine.job.photos_phase import found_elevation
from tetraview.engine.job.view_files import read_views, rendered_views
from tetraview.engine.types import VIEW_NAMES


def run(data: bytes) -> None:
    """Read the bytes as a view, and those after the last zero as the elevation's file; only `PhotoError` is expected."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for view in VIEW_NAMES:
            (folder / f"{view}.png").write_bytes(data)
        (folder / "elevation.json").write_bytes(data.rpartition(b"\0")[2])
        assert rendered_views(folder) <= set(VIEW_NAMES)
        for read in (read_views, found_elevation):
            try:
                read(folder)
            except PhotoError as error:
                assert str(folder) in str(error)
