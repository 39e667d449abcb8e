"""Jobs in the data folder, as the engine leaves them."""

from __future__ import annotations

from pathlib import Path

from .conftest import PHOTOS


def make_job(ext, *, orbit_frames: int = 0) -> Path:
    """The folder of a job in the data folder whose four views are the demo photos, with an orbit preview of so many frames."""
    folder = ext.module("engine.job.folder")
    job = folder.JobFolder(folder.new_job_folder(ext.module("operators.session").home(), "made for a test"))
    folder.write_views(job, {name: Path(path).read_bytes() for name, path in PHOTOS.items()})
    if orbit_frames:
        job.orbit.mkdir()
        for index, path in enumerate(list(PHOTOS.values())[:orbit_frames]):
            (job.orbit / f"frame_{index:03d}.png").write_bytes(Path(path).read_bytes())
        job.orbit_gif.write_bytes(b"GIF89a")
        job.orbit_webp.write_bytes(b"RIFF0000WEBP")
    return job.path
