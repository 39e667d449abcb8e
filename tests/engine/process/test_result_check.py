"""A mesh is compared with the views it was made from: a splinter is no success."""

import re

import numpy as np
import pytest
import trimesh
from tetraview.engine.cameras import CANONICAL_RIG
from tetraview.engine.imaging.views import FourViews
from tetraview.engine.job.result_check import measure_result, warnings_of_result
from tetraview.engine.rendering.embree import EmbreeMesh
from tetraview.engine.types import VIEW_NAMES


def box(*size, at=(0.0, 0.0, 0.0)):
    mesh = trimesh.creation.box(size)
    return np.asarray(mesh.vertices + at, np.float32), np.asarray(mesh.faces, np.int32)


def joined(*meshes):
    begin = np.cumsum([0, *(len(verts) for verts, _ in meshes)])
    return np.concatenate([v for v, _ in meshes]), np.concatenate([f + b for (_, f), b in zip(meshes, begin, strict=False)])


def views_of(verts, faces, px=256):
    """What the rig sees of a mesh."""
    images = {}
    for name, camera in zip(VIEW_NAMES, CANONICAL_RIG.c2w(), strict=True):
        hit = EmbreeMesh(verts, faces).rasterize(camera, CANONICAL_RIG.fovy_deg, px, px).distance < np.inf
        images[name] = np.dstack([np.full((px, px, 3), 90, np.uint8), np.where(hit, 255, 0).astype(np.uint8)])
    return FourViews.of(images)


CHEST = box(0.9, 0.6, 0.7)
SHEET = box(0.9, 0.014, 0.8)
PIECES = joined(
    *(box(0.42, 0.28, 0.22, at=(x, y, z)) for x in (-0.23, 0.23) for y in (-0.15, 0.15) for z in (-0.235, 0, 0.235))
)
PENCIL = box(0.04, 0.04, 1.6)


@pytest.mark.parametrize("mesh", [CHEST, PENCIL, SHEET], ids=["chest", "pencil", "sheet"])
def test_a_mesh_that_its_views_show_is_a_success(mesh):
    views = views_of(*mesh)
    facts = measure_result(*mesh, views)
    assert facts.parts == 1 and facts.volume == pytest.approx(trimesh.Trimesh(mesh[0], mesh[1]).volume, rel=1e-4)
    assert facts.mean_agreement > 0.95
    assert warnings_of_result(facts, views) == ()


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        (box(0.05, 0.04, 0.6), "Hardly anything is left"),
        (box(0.6, 0.4, 0.5), "differs much from the"),
        (box(0.9, 0.01, 0.7), "Hardly anything is left|differs much from the|as thin as a sheet"),
        (PIECES, "12 pieces"),
    ],
    ids=["splinter", "core", "sheet", "pieces"],
)  # fmt: skip
def test_what_the_views_do_not_show_is_told_in_one_sentence(mesh, sentence):
    views = views_of(*CHEST)
    facts = measure_result(*mesh, views)
    (warning,) = warnings_of_result(facts, views)
    assert re.search(sentence, warning) and warning.endswith(".")


def test_only_known_views_count():
    views = views_of(*CHEST)
    facts = measure_result(*CHEST, FourViews.of({"front": views["front"]}))
    assert list(facts.agreement) == ["front"]
