"""A job's folder that is taken away while it runs, and a full disk: one sentence with the place, and nothing half done."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from tetraview.engine.errors import EngineError
from tetraview.engine.job.folder import written_whole
from tetraview.engine.job.generate import generate
from tetraview.engine.types import Progress


def lose(request, models, history, phase: str) -> str:
    """The sentence of a job whose folder is deleted when a phase begins."""
    lost = False
    with pytest.raises(EngineError) as caught:
        for event in generate(request, models=models, history=history):
            if isinstance(event, Progress) and event.phase == phase and not lost:
                lost = True
                shutil.rmtree(request.output_dir)
    return str(caught.value)


@pytest.mark.parametrize("phase", ["planes", "orbit", "mesh", "texture"])
@pytest.mark.parametrize("has_result", [False, True], ids=["new", "again"])
def test_a_folder_deleted_during_the_job_is_not_made_anew(
    request_from_views, models, history, phase, has_result, tmp_path
):
    request = request_from_views(orbit_frames=2, orbit_px=64)
    if has_result:
        list(generate(request, models=models, history=history))
    said = lose(request, models, history, phase)
    assert said == f"The folder {request.output_dir} was deleted, moved or emptied while the job ran: run the job again."
    assert not (tmp_path / "job").exists()
    assert list(generate(request, models=models, history=history, stop_after="planes"))


def test_a_file_that_cannot_be_written_is_named_by_its_own_name(tmp_path):
    with pytest.raises(OSError) as caught, written_whole(tmp_path / "asset.glb"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "asset.glb")
    with pytest.raises(OSError) as caught, written_whole(tmp_path / "gone" / "asset.glb") as temporary:
        temporary.write_bytes(b"x")
    assert caught.value.filename == str(tmp_path / "gone" / "asset.glb")
    with pytest.raises(OSError) as caught, written_whole(tmp_path / "asset.glb"):
        open(tmp_path / "other")  # noqa: SIM115 - another file than the one that is written
    assert caught.value.filename == str(tmp_path / "other")


@pytest.mark.parametrize("kilobytes", [16, 64, 400])
def test_a_full_disk_in_the_engine_process(warm_engine, request_from_views, tmp_path, kilobytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        job = warm_engine.submit(request_from_views("disk/job", orbit_frames=2, orbit_px=64))
        with pytest.raises(EngineError, match=rf"^There is no room left to write {disk}/job/\S+: free some space"):
            list(job.run())
        assert not [path for path in disk.rglob("*") if "tmp-" in path.name or "lock" in path.name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert list(warm_engine.submit(request_from_views("next"), stop_after="planes").run())
