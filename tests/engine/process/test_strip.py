"""Edits of the strip of views: each is a new job whose views are the new strip, and the old one stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tetraview.engine.errors import InvalidRequestError, PhotoError
from tetraview.engine.job.generate import generate
from tetraview.engine.types import VIEW_NAMES, Asset, Preview, Progress, Views


@pytest.fixture
def strip(request_to_paint, models, history):
    """Edits a strip: `strip(name, views_dir, **edits)` runs the job and returns its events."""

    def run(name, views_dir, **edits):
        request = request_to_paint(name, views_dir=str(views_dir), **edits)
        return list(generate(request, stop_after="views", models=models, history=history))

    return run


@pytest.fixture(scope="module")
def marked_dir(tmp_path_factory) -> Path:
    """A strip of four different, lopsided views; one file is written as no encoder of ours would."""
    folder = tmp_path_factory.mktemp("marked")
    for index, name in enumerate(VIEW_NAMES):
        image = Image.new("RGBA", (128, 128))
        ImageDraw.Draw(image).polygon(((30, 30), (100, 40 + 5 * index), (40, 100)), fill=(60 * index, 90, 200, 255))
        image.save(folder / f"{name}.png", compress_level=9 if name == "back" else 0)
    return folder


def of(folder) -> dict[str, bytes]:
    return {name: (Path(folder) / f"{name}.png").read_bytes() for name in VIEW_NAMES}


def pixels(folder, name) -> np.ndarray:
    return np.asarray(Image.open(Path(folder) / f"{name}.png"))


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_painting_one_tile_again_leaves_the_others_byte_for_byte(strip, marked_dir, tmp_path, name):
    before = of(marked_dir)
    events = strip("new", marked_dir, repaint=(name,), seed=3)
    after = of(tmp_path / "new" / "views")
    assert {other for other in VIEW_NAMES if after[other] != before[other]} == {name}
    assert pixels(tmp_path / "new" / "views", name).shape == (128, 128, 4)  # as large as the others
    assert of(marked_dir) == before
    assert [set(event.paths) for event in events if isinstance(event, Preview)] == [{name}, {name}]
    assert events[-1].painted == (name,)
    strip("same", marked_dir, repaint=(name,), seed=3)
    strip("other", marked_dir, repaint=(name,), seed=4)
    assert of(tmp_path / "same" / "views") == after != of(tmp_path / "other" / "views")


def test_a_tile_that_is_painted_again_need_not_be_there(strip, marked_dir, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name in ("front", "back"):
        (folder / f"{name}.png").write_bytes((marked_dir / f"{name}.png").read_bytes())
    (folder / "left.png").write_bytes(b"no picture")
    assert isinstance(strip("new", folder, repaint=("right", "left"))[-1], Views)
    with pytest.raises(PhotoError, match=r"left\.png cannot be read"):
        strip("worse", folder, repaint=("right",))


def test_painting_all_four_again_needs_none_of_the_old(strip, marked_dir, tmp_path):
    strip("new", tmp_path, repaint=VIEW_NAMES)
    assert all(pixels(tmp_path / "new" / "views", name).shape == (512, 512, 4) for name in VIEW_NAMES)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flip=st.sets(st.sampled_from(VIEW_NAMES), min_size=1))
def test_mirroring_is_exact_and_undoes_itself(strip, marked_dir, tmp_path, flip):
    flip = tuple(flip)
    events = strip("once", marked_dir, flip=flip, generator="nowhere")  # nothing is painted: none is needed
    strip("twice", tmp_path / "once" / "views", flip=flip, generator="nowhere")
    assert {event.phase for event in events if isinstance(event, Progress)} == {"photos"} and events[-1].painted == ()
    for name in VIEW_NAMES:
        old, once, twice = (pixels(folder, name) for folder in (marked_dir, tmp_path / "once/views", tmp_path / "twice/views"))
        assert np.array_equal(once, old[:, ::-1] if name in flip else old) and np.array_equal(twice, old)
        if name not in flip:
            assert of(tmp_path / "twice" / "views")[name] == of(marked_dir)[name]


def test_a_photo_takes_the_place_of_a_tile_at_the_size_of_the_opposite_one(strip, marked_dir, photos_dir, tmp_path):
    photos = {name: str(photos_dir / f"{name}.jpg") for name in ("left", "front")}  # front is not asked for, and not read
    strip("new", marked_dir, replace=("left",), photos=photos)
    before, after = of(marked_dir), of(tmp_path / "new" / "views")
    assert {name for name in VIEW_NAMES if after[name] != before[name]} == {"left"}
    new = pixels(tmp_path / "new" / "views", "left")
    assert new.shape == (128, 128, 4)
    inside = new[new[..., 3] == 255][:, :3]
    assert np.abs(np.median(inside, 0) - (180, 30, 30)).max() < 12  # the mug of the photo
    rows = {name: np.flatnonzero((pixels(folder, name)[..., 3] >= 128).any(1)) for name, folder in (
        ("left", tmp_path / "new" / "views"), ("right", marked_dir),
    )}  # fmt: skip
    assert abs(rows["left"][0] - rows["right"][0]) <= 2 and abs(rows["left"][-1] - rows["right"][-1]) <= 2


def test_several_edits_at_once(strip, marked_dir, photos_dir, tmp_path):
    photos = {"left": str(photos_dir / "left.jpg")}
    strip("plain", marked_dir, replace=("left",), photos=photos)
    events = strip("all", marked_dir, replace=("left",), flip=("left", "front"), repaint=("back",), photos=photos)
    assert events[-1].painted == ("back",)
    folder = tmp_path / "all" / "views"
    assert np.array_equal(pixels(folder, "left")[:, ::-1], pixels(tmp_path / "plain" / "views", "left"))
    assert np.array_equal(pixels(folder, "front")[:, ::-1], pixels(marked_dir, "front"))
    assert of(folder)["right"] == of(marked_dir)["right"] and of(folder)["back"] != of(marked_dir)["back"]


def test_an_unreadable_photo_leaves_the_old_strip(strip, marked_dir, tmp_path):
    before = of(marked_dir)
    with pytest.raises(PhotoError, match=r"gone\.png"):
        strip("new", marked_dir, replace=("left",), photos={"left": str(tmp_path / "gone.png")})
    assert of(marked_dir) == before and not list((tmp_path / "new").rglob("*.png"))


def test_a_strip_is_never_edited_in_place(strip, marked_dir, tmp_path):
    strip("old", marked_dir, flip=("left",))
    before = of(tmp_path / "old" / "views")
    for edit in ({"flip": ("left",)}, {"repaint": ("left",)}):
        with pytest.raises(InvalidRequestError, match="another output folder"):
            strip("old", tmp_path / "old" / "views", **edit)
    assert of(tmp_path / "old" / "views") == before
    assert isinstance(strip("old", tmp_path / "old" / "views")[-1], Views)  # going on from it is another thing
    assert of(tmp_path / "old" / "views") == before


def test_the_mesh_of_an_edited_strip_is_made_again_from_its_request(request_from_views, views_dir, models, history, tmp_path):
    def mesh(name):
        request = request_from_views(name, views_dir=str(views_dir), flip=("left",), orbit_frames=2, orbit_px=64)
        asset = list(generate(request, models=models, history=history))[-1]
        assert isinstance(asset, Asset) and list(asset.weights_sha256) == ["tiny/diffusion_pytorch_model.safetensors"]
        return Path(asset.glb).read_bytes()

    assert mesh("one") == mesh("two")
