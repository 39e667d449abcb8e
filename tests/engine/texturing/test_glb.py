from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from tetraview.engine.texturing.atlas import unwrap
from tetraview.engine.texturing.glb import write_glb
from tetraview.engine.version import __version__

from .scenes import box, joined, sphere

VALIDATOR = Path(__file__).resolve().parents[3] / ".node" / "node_modules" / "gltf-validator"
CHECK_JS = """
const validator = require(process.argv[1]);
const fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])))
  .then(report => console.log(JSON.stringify(report)), error => { console.error(error); process.exit(1); });
"""


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def asset(tmp_path_factory):
    verts, faces = joined(box((1.0, 0.6, 0.4), (0.0, -0.2, 0.1), 2), sphere(0.2, 2))
    atlas = unwrap(verts, faces, 256)
    rng = np.random.default_rng(0)
    albedo = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("glb") / "asset.glb"
    write_glb(path, atlas, png(albedo), 0.55, 0.1)
    return path, atlas, albedo


def khronos_report(path: Path) -> dict:
    """What the Khronos validator, installed by `make setup`, says of a file."""
    assert (VALIDATOR / "package.json").exists(), f"no glTF validator in {VALIDATOR}: run make setup"
    command = ["node", "-e", CHECK_JS, str(VALIDATOR), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_the_khronos_validator_finds_nothing(asset):
    path, atlas, _ = asset
    report = khronos_report(path)
    assert report["issues"]["numErrors"] == 0 and report["issues"]["numWarnings"] == 0, report["issues"]["messages"]
    assert report["issues"]["numInfos"] == 0, report["issues"]["messages"]
    assert report["info"]["generator"] == f"Tetraview {__version__}"
    assert report["info"]["totalTriangleCount"] == len(atlas.faces)
    assert report["info"]["materialCount"] == report["info"]["drawCallCount"] == 1


def test_degenerate_and_unused_vertices_stay_valid(tmp_path):
    verts, faces = box((1, 1, 1), splits=1)
    verts = np.concatenate([verts, np.ones((2, 3), np.float32)])  # used by nothing
    faces = np.concatenate([faces, [[0, 0, 1]], faces[:1]]).astype(np.int32)  # no area; doubled
    path = tmp_path / "odd.glb"
    write_glb(path, unwrap(verts, faces, 256), png(np.zeros((256, 256, 3), np.uint8)), 1.0, 0.0)
    report = khronos_report(path)
    assert report["issues"]["numErrors"] == 0 and report["issues"]["numWarnings"] == 0, report["issues"]["messages"]


def test_another_reader_sees_the_same_asset_with_y_up(asset):
    path, atlas, albedo = asset
    mesh = trimesh.load(path, process=False, force="mesh")
    back = np.stack([mesh.vertices[:, 0], -mesh.vertices[:, 2], mesh.vertices[:, 1]], -1)  # glTF to Blender
    np.testing.assert_allclose(back[mesh.faces], atlas.verts[atlas.faces], atol=1e-6)
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], atlas.uvs[atlas.uv_faces], atol=1e-6)
    image = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(image, albedo)
    assert mesh.visual.material.roughnessFactor == pytest.approx(0.55)
    assert mesh.visual.material.metallicFactor == pytest.approx(0.1)
    assert mesh.volume > 0  # the turn of the axes keeps the winding


def test_the_file_appears_whole_or_not_at_all(asset, tmp_path, monkeypatch):
    _, atlas, albedo = asset
    path = tmp_path / "asset.glb"
    path.write_bytes(b"earlier")

    def full_disk(self, data):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_glb(path, atlas, png(albedo), 0.5, 0.0)
    assert path.read_bytes() == b"earlier" and [p.name for p in tmp_path.iterdir()] == ["asset.glb"]


def test_wrong_arguments_are_refused(asset, tmp_path):
    _, atlas, albedo = asset
    with pytest.raises(ValueError, match="no PNG"):
        write_glb(tmp_path / "a.glb", atlas, b"GIF89a", 0.5, 0.0)
    with pytest.raises(ValueError, match="roughness"):
        write_glb(tmp_path / "a.glb", atlas, png(albedo), 1.5, 0.0)
