"""Grids: rendered once, resumable, in several appearances whose captions tell what is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.cameras import RIG_FOVY_DEG, rig_c2w
from tetraview.engine.dataset.render import render_views
from tetraview.engine.training.generator.captions import LIT_WORDS, CaptionConfig, draw_caption
from tetraview.engine.training.generator.grid_cache import GridCache, GridCacheConfig, build_grid_cache
from tetraview.engine.training.generator.materials import NAMED_COLOURS, nearest_names, recolour, recoloured_meta, with_article

from .conftest import BOXES, PX

NAMES = st.sampled_from(sorted(NAMED_COLOURS))


def test_unlit_views_are_the_rig_s(grids: GridCache) -> None:
    for index, meta in enumerate(grids.meta):
        mesh = next(b for b in BOXES if b.id == meta["id"])
        assert np.array_equal(grids.views(index, 0), render_views(mesh, rig_c2w(), RIG_FOVY_DEG, PX).rgba)


def test_appearances_differ_in_colour_not_in_shape(grids: GridCache) -> None:
    unlit, lit, recoloured, _ = (grids.views(0, a) for a in range(4))
    assert np.array_equal(unlit[..., 3], lit[..., 3]) and np.array_equal(unlit[..., 3], recoloured[..., 3])
    covered = unlit[..., 3] == 255
    faces = [len(np.unique(views[covered][:, :3], axis=0)) for views in (unlit, lit)]
    assert faces[1] > faces[0]  # the sides of a lit box are of several shades
    assert np.abs(unlit[covered][:, :3].astype(int) - recoloured[covered][:, :3]).max() > 20


def test_recoloured_captions_tell_what_is_seen(grids: GridCache) -> None:
    for index in range(len(grids)):
        for appearance in (2, 3):
            entry = grids.meta[index]["appearances"][appearance]
            views = grids.views(index, appearance)
            seen = nearest_names(views[views[..., 3] == 255][None, :, :3])
            most = list(NAMED_COLOURS)[np.bincount(seen.ravel()).argmax()]
            assert entry["colours"][0][0] == most and f" {most} box" in entry["caption"]


def test_interrupted_and_finished_shards(packs: list[Path], tmp_path: Path) -> None:
    config = GridCacheConfig(px=8, shard=1, kinds=("unlit",), limit=2)
    (tmp_path / "shard_0000.partial").mkdir()
    (tmp_path / "shard_0000.partial" / "grids.npy").write_bytes(b"half")
    first = next(build_grid_cache(packs, tmp_path, config))
    kept = (first / "grids.npy").stat().st_mtime_ns
    assert len(list(build_grid_cache(packs, tmp_path, config))) == 1  # the other one
    assert (first / "grids.npy").stat().st_mtime_ns == kept and len(GridCache(tmp_path)) == 2
    assert list(build_grid_cache(packs, tmp_path, config)) == []
    with pytest.raises(ValueError, match="other settings"):
        list(build_grid_cache(packs, tmp_path, GridCacheConfig(px=16)))


def test_processes_render_the_same(packs: list[Path], tmp_path: Path) -> None:
    config = GridCacheConfig(px=8, shard=1)
    for workers in (1, 2):
        assert len(list(build_grid_cache(packs, tmp_path / str(workers), config, workers=workers))) == 3
    alone, together = GridCache(tmp_path / "1"), GridCache(tmp_path / "2")
    assert alone.meta == together.meta
    assert all(np.array_equal(alone.views(i, a), together.views(i, a)) for i in range(3) for a in range(4))


@given(old=NAMES, new=NAMES, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_recolouring_gives_about_the_named_colour(old: str, new: str, seed: int) -> None:
    texture = np.full((4, 4, 3), NAMED_COLOURS[old], np.uint8)
    other = "white" if old != "white" else "black"
    texture[:2] = NAMED_COLOURS[other]
    painted = recolour(texture, old, new, np.random.default_rng(seed))
    assert painted is not None
    assert np.abs(painted[2:].astype(int) - NAMED_COLOURS[new]).max() < 60
    assert np.abs(painted[:2].astype(int) - texture[:2]).max() <= 2
    assert recolour(np.full((2, 2, 3), NAMED_COLOURS[other], np.uint8), old, new, np.random.default_rng(0)) is None


def test_recoloured_meta_keeps_the_rest() -> None:
    meta = {
        "caption": "a dark gray and black smg, low-poly style",
        "caption_short": "smg",
        "colours": [["dark gray", 0.5], ["black", 0.4]],
    }
    changed = recoloured_meta(meta, "orange")
    assert changed is not None and changed["caption"] == "an orange and black smg, low-poly style"
    assert changed["colours"] == [["orange", 0.5], ["black", 0.4]]
    assert recoloured_meta(meta, "black") is None  # it is there already
    assert recoloured_meta({**meta, "caption_short": "black smg"}, "orange") is None
    assert recoloured_meta({**meta, "colours": [["dark gray", 0.1]]}, "orange") is None
    assert recoloured_meta({**meta, "caption": "an smg"}, "orange") is None
    assert with_article("an red box") == "a red box" and with_article("red boxes") == "red boxes"


def drawn(entry: dict, config: CaptionConfig, count: int = 300, **options: bool) -> list[str]:
    rng = np.random.default_rng(0)
    return [draw_caption(entry, config, rng, **options) for _ in range(count)]


def test_captions_come_in_every_form(grids: GridCache) -> None:
    entry = grids.meta[0]["appearances"][0]
    colour = entry["colours"][0][0]
    prompts = drawn(entry, CaptionConfig())
    assert {"", "box", "a box", f"a {colour} box", f"a {colour} box, low-poly style", f"{colour} furniture"} <= set(prompts)
    assert 0.05 < prompts.count("") / len(prompts) < 0.16
    assert set(drawn(entry, CaptionConfig(dropout=1.0))) == {""}


def test_lit_and_recoloured_captions(grids: GridCache) -> None:
    entry = {**grids.meta[0]["appearances"][0], "kind": "lit"}
    assert all(LIT_WORDS in prompt for prompt in drawn(entry, CaptionConfig(dropout=0)))
    assert not any(LIT_WORDS in prompt for prompt in drawn(entry, CaptionConfig(), name_light=False))
    recoloured = {**entry, "kind": "recoloured"}
    assert all(entry["colours"][0][0] in prompt for prompt in drawn(recoloured, CaptionConfig(dropout=0)))


@given(st.dictionaries(st.sampled_from(["caption", "caption_short", "category", "kind"]), st.none() | st.text(max_size=12)))
@settings(max_examples=40, deadline=None)
def test_any_meta_gives_a_prompt(entry: dict) -> None:
    assert all(isinstance(prompt, str) for prompt in drawn(entry, CaptionConfig(), 10))
