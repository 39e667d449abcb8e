"""Jobs that paint: from a prompt, and from fewer photos than four."""

from __future__ import annotations

import io
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tetraview.engine.errors import EngineError, InvalidRequestError, PhotoError, WeightsError
from tetraview.engine.imaging.views import FourViews
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.job.history import TimingHistory
from tetraview.engine.job.views_phase import paint_views
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.models.registry import STARTER_GENERATOR
from tetraview.engine.photos.intake import prepare_views
from tetraview.engine.retrieval.outline_similarity import thumbnail
from tetraview.engine.types import VIEW_NAMES, Asset, GenerateRequest, Orbit, Planes, Preview, Progress, Views

from .conftest import save_tiny_generator


@pytest.fixture
def run(models, history):
    """Runs a request to the end, and returns its events."""
    return lambda request, stop_after=None: list(generate(request, stop_after=stop_after, models=models, history=history))


def files(paths) -> dict[str, bytes]:
    return {name: Path(path).read_bytes() for name, path in paths.items()}


def test_a_prompt_becomes_four_views_with_a_preview_each_step(run, request_to_paint):
    request = request_to_paint(steps=3)
    events = run(request, "views")
    previews = [event for event in events if isinstance(event, Preview)]
    assert [type(event) for event in events if not isinstance(event, Progress)] == [Preview] * 3 + [Views]
    assert [(event.step, event.steps) for event in previews] == [(1, 3), (2, 3), (3, 3)]
    assert len({path for event in previews for path in event.paths.values()}) == 3 * 4
    for event in previews:
        assert set(event.paths) == set(VIEW_NAMES)
        for path in event.paths.values():
            with Image.open(path) as image:
                assert (
                    image.size == (16, 16) and image.mode == "RGBA" and Path(path).parent == JobFolder(job_path(request)).preview
                )
    assert {event.phase for event in events if isinstance(event, Progress)} == {"views"}
    views = events[-1]
    assert views.painted == VIEW_NAMES and views.warnings == ()
    for path in views.paths.values():
        with Image.open(path) as image:
            assert image.size == (512, 512) and image.mode == "RGBA" and np.asarray(image)[..., 3].max() > 200
    assert len(set(files(views.paths).values())) == 4
    assert not list(job_path(request).rglob(".tmp-*")) and not JobFolder(job_path(request)).planes.exists()


def test_the_seed_decides(run, request_to_paint):
    first, same, other = (
        files(run(request_to_paint(name, seed=seed), "views")[-1].paths) for name, seed in (("a", 5), ("b", 5), ("c", -6))
    )
    assert first == same
    assert all(first[name] != other[name] for name in VIEW_NAMES)


@pytest.mark.parametrize("change", [{"prompt": "a table"}, {"negative_prompt": "legs"}, {"guidance": 1.0}, {"object_size": 0.9}])
def test_every_setting_reaches_the_painting(run, request_to_paint, change):
    before, after = (run(request_to_paint(name, steps=6, **fields), "views")[-1] for name, fields in (("a", {}), ("b", change)))
    assert files(before.paths) != files(after.paths)


@pytest.mark.parametrize("given", [("front",), ("back", "left"), ("front", "right", "left")])
def test_any_photos_are_kept_and_the_others_painted(run, request_to_paint, photos_dir, given):
    photos = {name: str(photos_dir / f"{name}.jpg") for name in given}
    request = request_to_paint(photos=photos, prompt="")
    events = run(request, "views")
    views = events[-1]
    assert isinstance(views, Views) and views.painted == tuple(name for name in VIEW_NAMES if name not in given)
    assert list(dict.fromkeys(event.phase for event in events if isinstance(event, Progress))) == ["photos", "views"]
    assert all(set(event.paths) == set(views.painted) for event in events if isinstance(event, Preview))
    framed = prepare_views(photos)
    for name in given:
        assert np.array_equal(np.asarray(Image.open(views.paths[name])), framed[name]), name


def test_a_photo_decides_what_is_painted_beside_it(run, request_to_paint, photos_dir, tmp_path):
    blue = tmp_path / "blue.png"
    Image.fromarray(np.asarray(Image.open(photos_dir / "front.jpg"))[..., ::-1].copy()).save(blue)
    one, other = (
        files(run(request_to_paint(name, photos={"front": str(photo)}), "views")[-1].paths)
        for name, photo in (("a", photos_dir / "front.jpg"), ("b", blue))
    )
    assert all(one[name] != other[name] for name in VIEW_NAMES)


def test_nothing_is_shown_of_the_views_before_all_four_are_there(run, request_to_paint, photos_dir):
    request = request_to_paint(photos={"front": str(photos_dir / "front.jpg")})
    assert {type(event) for event in run(request, "photos")} == {Progress}
    assert [path.name for path in JobFolder(job_path(request)).views.iterdir()] == ["front.png"]


def test_whole_job_from_a_prompt_and_the_same_again_from_its_file(run, request_to_paint, tmp_path):
    request = request_to_paint(orbit_frames=3, orbit_px=64)
    events = run(request)
    kinds = [type(event) for event in events if not isinstance(event, Progress)]
    assert kinds == [Preview, Preview, Views, Planes, Orbit, Asset]
    asset = events[-1]
    assert set(asset.timings) == {*request.phases, "total"} and "photos" not in asset.timings
    assert 100 < asset.n_faces <= request.poly_budget
    weights = "diffusion_pytorch_model.safetensors"
    assert set(asset.weights_sha256) == {
        f"tiny/{weights}", f"generator/text_encoder/{weights}", f"generator/unet/{weights}", f"generator/vae/{weights}",
    }  # fmt: skip
    stored = GenerateRequest.from_json(JobFolder(job_path(request)).request.read_text())
    assert stored == request
    again = run(replace(stored, output_dir=str(tmp_path / "again")))[-1]
    assert again.weights_sha256 == asset.weights_sha256
    for one, other in ((asset.glb, again.glb), (asset.albedo, again.albedo)):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    with np.load(asset.mesh) as one, np.load(again.mesh) as other:
        assert all(np.array_equal(one[name], other[name]) for name in one.files)


def test_orbit_preview_before_any_mesh(run, request_from_views):
    request = request_from_views(orbit_frames=5, orbit_px=64)
    orbit = run(request, "orbit")[-1]
    job = JobFolder(job_path(request))
    assert isinstance(orbit, Orbit) and len(orbit.frames) == 5 and not job.mesh.exists()
    assert [Path(path).parent for path in orbit.frames] == [job.orbit] * 5
    frames = [np.asarray(Image.open(path)) for path in orbit.frames]
    for frame in frames:
        assert frame.shape == (64, 64, 4) and frame[32, 32, 3] > 200 and frame[2, 2, 3] == 0
    assert all((one != other).any() for one, other in itertools.pairwise(frames))
    for path in (orbit.gif, orbit.webp):
        with Image.open(path) as image:
            assert image.n_frames == 5 and image.size == (64, 64) and image.info["loop"] == 0
    assert np.asarray(Image.open(orbit.gif).convert("RGB"))[2, 2].min() == 255


def test_cancelling_while_painting_leaves_only_whole_files(models, history, request_to_paint, photos_dir):
    request = request_to_paint(photos={"front": str(photos_dir / "front.jpg")}, steps=100)
    events = generate(request, stop_after="views", models=models, history=history)
    preview = next(event for event in events if isinstance(event, Preview))
    events.close()
    assert preview.step < 100
    job = JobFolder(job_path(request))
    assert [path.name for path in job.views.iterdir()] == ["front.png"]
    assert not list(job.path.rglob(".tmp-*"))
    done = {path.name for path in job.preview.iterdir()}
    assert 3 <= len(done) <= 3 * 99
    for path in job.preview.iterdir():
        Image.open(path).load()
    again = list(generate(request, stop_after="views", models=models, history=history))
    assert isinstance(again[-1], Views)  # and the generator is none the worse for it


def test_an_empty_view_is_a_warning_and_no_solid_comes_of_it(run, request_to_paint, photos_dir, blank_generator_dir):
    photos = {name: str(photos_dir / f"{name}.jpg") for name in ("front", "right", "back")}
    request = request_to_paint(photos=photos, generator=str(blank_generator_dir))
    views = run(request, "views")[-1]
    assert [text for text in views.warnings if "The left view is empty" in text]
    assert not np.asarray(Image.open(views.paths["left"]))[..., 3].any()
    with pytest.raises(PhotoError, match="The left view is empty"):
        run(request)
    strip = replace(request, photos={}, views_dir=str(Path(views.paths["left"]).parent), output_dir=request.output_dir + "2")
    assert "left view" in run(replace(strip, flip=("front",)), "views")[-1].warnings[0]  # an edit of another view goes on


def test_painting_nothing_at_all_is_an_error(run, request_to_paint, blank_generator_dir):
    request = request_to_paint(generator=str(blank_generator_dir))
    with pytest.raises(EngineError, match="The painted views are empty"):
        run(request, "views")
    assert not list(JobFolder(job_path(request)).views.iterdir())


def test_warnings_of_what_has_no_effect_or_does_not_fit(run, request_to_paint):
    warnings = run(request_to_paint(elevation_deg=0.0, negative_prompt="legs"), "views")[-1].warnings
    assert len(warnings) == 1 and "20 degrees" in warnings[0]
    warnings = run(request_to_paint(fovy_deg=0.0), "views")[-1].warnings
    assert len(warnings) == 1 and "field of view of 30 degrees, and yours have 0" in warnings[0]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"prompt": "  "}, InvalidRequestError, "nothing to start from"),
        ({"photos": {"top": "x.png"}}, InvalidRequestError, "Unknown view 'top'"),
        ({"generator": "nowhere"}, WeightsError, "no generator weights"),
        ({"steps": 0}, InvalidRequestError, "0 steps is out of range"),
        ({"prompt": "x" * 2000}, InvalidRequestError, "too long"),
    ],
)
def test_wrong_requests_touch_nothing(run, request_to_paint, tmp_path, fields, error, words):
    with pytest.raises(error, match=words):
        run(request_to_paint(**fields))
    assert not (tmp_path / "job").exists()


def test_a_phase_that_the_job_does_not_have(run, request_to_paint, request_from_views):
    with pytest.raises(InvalidRequestError, match="begins after photos"):
        run(request_to_paint(), "photos")
    assert isinstance(run(request_from_views(), "views")[-1], Views)  # nothing to paint: the end of the phase before
    assert isinstance(run(request_from_views(), "orbit")[-1], Planes)


def test_damaged_generator(run, request_to_paint, generator_dir, tmp_path):
    damaged = tmp_path / "damaged"
    for path in generator_dir.rglob("*"):
        if path.is_file():
            copy = damaged / path.relative_to(generator_dir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes() if path.suffix != ".safetensors" else path.read_bytes()[:99])
    with pytest.raises(WeightsError, match=r"cannot be read.*download"):
        run(request_to_paint(generator=str(damaged)), "views")


def test_the_generator_is_loaded_once_and_only_for_jobs_that_paint(request_to_paint, request_from_views, generator_dir, history):
    models = ModelCache()
    list(generate(request_from_views(generator=str(generator_dir)), stop_after="planes", models=models, history=history))
    assert not models.has_generator(generator_dir, "cpu")
    list(generate(request_to_paint(), stop_after="views", models=models, history=history))
    first = models.get_generator(generator_dir, "cpu")
    assert models.has_generator(generator_dir, "cpu") and models.get_generator(generator_dir, "cpu") is first
    assert len(first.sha256) == 3 and first.examples is None


def test_new_weights_in_the_same_folder_are_loaded(tmp_path):
    models = ModelCache()
    folder = save_tiny_generator(tmp_path / "generator")
    first = models.get_generator(folder, "cpu")
    save_tiny_generator(folder, brightness=0.5)
    second = models.get_generator(folder, "cpu")
    assert second is not first and second.sha256 != first.sha256


@pytest.fixture(scope="module")
def generator_with_examples(tmp_path_factory, generator_dir) -> Path:
    """The tiny generator with one stored example, a chair as a red square of 8 px."""
    folder = tmp_path_factory.mktemp("weights") / "with_examples"
    shutil.copytree(generator_dir, folder)
    (folder / "examples").mkdir()
    grid = np.zeros((16, 16, 4), np.uint8)
    grid[:] = (200, 30, 30, 255)
    stream = io.BytesIO()
    Image.fromarray(grid).save(stream, "WEBP", lossless=True, exact=True)
    picture = torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8)
    thumbnails = torch.from_numpy(thumbnail(grid[:8, :8]))[None, None].repeat(1, 4, 1, 1, 1)
    tensors = {"pictures": picture, "ends": torch.tensor([len(picture)]), "thumbnails": thumbnails}
    save_file(tensors, folder / "examples" / "examples.safetensors")
    entry = {"id": "a", "caption": "a red chair", "noun": "chair", "colours": ["red"], "typical": 0.5}
    (folder / "examples" / "examples.json").write_text(json.dumps([entry]))
    return folder


def test_painting_begins_from_the_example_that_is_near(run, request_to_paint, models, generator_dir, generator_with_examples):
    def painted(name, generator=generator_with_examples, **fields):
        return files(run(request_to_paint(name, generator=str(generator), steps=6, **fields), "views")[-1].paths)

    blobs = painted("blobs", generator_dir)
    example = painted("example")
    assert example != blobs and painted("same") == example
    assert painted("without", use_examples=False) == blobs
    with pytest.raises(InvalidRequestError, match="names a thing that is known"):
        painted("nothing named", prompt="!")
    assert painted("far without", prompt="!", use_examples=False) == painted("far blobs", generator_dir, prompt="!")
    hashes = models.get_generator(generator_with_examples, "cpu").sha256
    assert "with_examples/examples/examples.safetensors" in hashes and len(hashes) == 4


def test_painting_beside_known_views_begins_from_what_they_say_of_the_others(
    run, request_to_paint, photos_dir, tmp_path, generator_dir, generator_with_examples
):
    def painted(name, view, generator=generator_with_examples, **fields):
        folder = tmp_path / f"known by {name}"
        folder.mkdir()
        Image.fromarray(view).save(folder / "front.png")
        edits = {"views_dir": str(folder), "repaint": ("right", "back", "left"), "prompt": ""}
        return files(run(request_to_paint(name, generator=str(generator), steps=6, **edits, **fields), "views")[-1].paths)

    red, bar = np.zeros((2, 64, 64, 4), np.uint8)
    red[:] = (210, 40, 40, 255)
    bar[8:56, 20:44] = (20, 200, 20, 255)
    assert painted("red", red) != painted("red blobs", red, generator_dir)
    assert painted("red without", red, use_examples=False) == painted("red blobs again", red, generator_dir)
    assert painted("bar", bar) != painted("bar blobs", bar, generator_dir)  # nothing looks like it: from its own outline


def test_short_memory_goes_on_with_the_cpu(request_to_paint, generator_dir, tmp_path):
    class SmallGpu(ModelCache):
        def get_generator(self, folder, device):
            if device == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().get_generator(folder, device)

    request = request_to_paint()
    job = JobFolder(job_path(request))
    job.views.mkdir(parents=True)
    told = []
    views, generator = paint_views(
        request, job, FourViews.none(64), SmallGpu(), generator_dir, "cuda", lambda share, text="", event=None: told.append(text)
    )
    assert generator.device == "cpu" and any("out of memory" in text for text in told)
    assert set(views) == set(VIEW_NAMES) and all(path.is_file() for path in job.view_paths.values())


def test_history_knows_what_painting_costs(models, request_to_paint, tmp_path):
    own = TimingHistory(tmp_path)
    for name, steps in (("cold", 2), ("first", 2), ("more", 4)):
        list(generate(request_to_paint(name, steps=steps), stop_after="views", models=models, history=own))
    settings = [entry["setting"] for entry in json.loads((tmp_path / "history.json").read_text())]
    assert [(setting["painted"], setting["steps"]) for setting in settings] == [(4, 2), (4, 2), (4, 4)]
    events = generate(request_to_paint("again"), stop_after="views", models=models, history=own)
    assert next(events).eta_s > 0
    events.close()


def test_the_starter_generator_has_its_place():
    assert STARTER_GENERATOR.parts[-4:] == ("engine", "weights", "starter", "generator")


def job_path(request) -> Path:
    return Path(request.output_dir)
