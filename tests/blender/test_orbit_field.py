"""The orbit preview before a mesh: frames in the panel, a timer that stops, and files to keep."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest

from .conftest import PHOTOS
from .job_files import make_job


@pytest.fixture(scope="module")
def frames() -> list[str]:
    return list(PHOTOS.values())


@pytest.fixture
def player(ext):
    module = ext.module("operators.player")
    yield module
    module.stop()


def test_the_views_turn_and_are_saved_in_three_formats(painter, photos, tmp_path):
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}
    assert not bpy.ops.tetraview.save_orbit.poll()
    assert bpy.ops.tetraview.orbit_views(frames=4, size_px=64) == {"FINISHED"}
    strip = painter.settings.strip
    frames = strip.orbit_frames()
    assert len(frames) == 4
    assert len({Path(path).read_bytes() for path in frames}) == 4
    assert len(bpy.data.objects) == 0
    for kind in ("GIF", "WEBP", "MP4"):
        path = tmp_path / "new" / f"turn.{kind.lower()}"
        assert bpy.ops.tetraview.save_orbit(kind=kind, filepath=str(path)) == {"FINISHED"}
        assert path.stat().st_size > 500
    assert (tmp_path / "new" / "turn.gif").read_bytes()[:6] == b"GIF89a"
    assert (tmp_path / "new" / "turn.webp").read_bytes()[8:12] == b"WEBP"
    clip = bpy.data.movieclips.load(str(tmp_path / "new" / "turn.mp4"))
    assert (tuple(clip.size), clip.frame_duration) == ((64, 64), 4)
    assert len(bpy.data.scenes) == 1
    folder = strip.folder
    assert bpy.ops.tetraview.flip_view(view="left") == {"FINISHED"}
    assert strip.folder != folder
    assert strip.orbit_frames() == []  # other views: the old turn is not theirs
    assert not bpy.ops.tetraview.play_orbit.poll()


def test_a_video_of_transparent_frames_is_on_white(ext, tmp_path):
    paths = []
    for index in range(3):  # the upper half is a quarter, a half, three quarters covered by red
        image = bpy.data.images.new("frame", 64, 64, alpha=True)
        pixels = np.zeros((64, 64, 4), np.float32)
        pixels[32:, : 16 * (index + 1)] = (1, 0, 0, 1)  # Blender's first row is the lowest
        image.pixels.foreach_set(pixels.ravel())
        image.filepath_raw, image.file_format = str(tmp_path / f"{index}.png"), "PNG"
        image.save()
        bpy.data.images.remove(image)
        paths.append(str(tmp_path / f"{index}.png"))
    ext.module("operators.orbit").write_mp4(str(tmp_path / "turn.mp4"), paths, 64, fps=12, background=(1.0, 1.0, 1.0))
    video = bpy.data.images.load(str(tmp_path / "turn.mp4"))
    first = np.empty(64 * 64 * 4, np.float32)
    video.pixels.foreach_get(first)
    first = first.reshape(64, 64, 4)
    assert first[4:28, 4:60, :3].min() > 0.95  # nothing there: white
    assert np.abs(first[36:60, 4:12, :3] - (1, 0, 0)).max() < 0.1
    assert bpy.data.scenes.get("Tetraview Video") is None


def test_frames_turn_and_stop_when_nobody_looks(ext, player, frames, monkeypatch):
    player.play(frames)
    assert ext.status.orbit_playing
    shown = []
    for _ in range(len(frames) + 1):
        shown.append(ext.status.orbit_frame(frames))
        assert player.advance() == pytest.approx(player.FRAME_S)
    assert shown == [*frames, frames[0]]
    assert ext.status.orbit_frame(frames[::-1]) == frames[-1]  # other frames than those that play
    now = player.time.monotonic()
    monkeypatch.setattr(player.time, "monotonic", lambda: now + player.UNSEEN_S + 1)
    assert player.advance() is None


def test_play_toggles_and_opening_a_file_or_switching_off_ends_it(ext, player, frames):
    ext.settings.strip.orbit = make_job(ext, orbit_frames=2).name
    assert bpy.ops.tetraview.play_orbit() == {"FINISHED"}
    assert player.is_playing()
    assert bpy.ops.tetraview.play_orbit() == {"FINISHED"}
    assert not player.is_playing()
    player.play(frames)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert not player.is_playing()
    player.play(frames)
    ext.disable()
    try:
        assert not bpy.app.timers.is_registered(player.advance)
    finally:
        ext.enable()


def test_frames_that_are_gone_are_an_error_in_words(ext, tmp_path):
    job = make_job(ext, orbit_frames=2)
    ext.settings.strip.orbit = job.name
    (job / "orbit.gif").unlink()
    with pytest.raises(RuntimeError, match="gone from the disk"):
        bpy.ops.tetraview.save_orbit(kind="GIF", filepath=str(tmp_path / "a.gif"))


def test_old_pictures_are_freed(ext, tmp_path):
    pictures = ext.module("operators.pictures")
    data = Path(PHOTOS["front"]).read_bytes()
    for number in range(3 * pictures.GENERATION_SIZE):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        pictures.icon_of(str(path))
        assert pictures.count() <= 2 * pictures.GENERATION_SIZE
    assert pictures.count() > 0
