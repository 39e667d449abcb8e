"""Surfaces for the benchmarks of meshes: what the engine makes of validation objects, and what it makes of bad inputs.

    python benchmarks/surfaces.py PACK FOLDER        writes one .npz a surface, with `verts` and `faces`

Clean surfaces come from four rendered views. Torn ones come from the same views with holes in their cut-outs, with clutter left
in them, and with four views of four different objects; one more is a solid sphere that noise has perforated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from timed_jobs import VIEWS

UInt8Array = npt.NDArray[np.uint8]
Surface = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]

CLEAN = 20
TORN = ("holes", "clutter", "mixed")
"""How the views of torn surfaces were spoiled."""
VIEW_PX = 512
RESOLUTION = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="pack of validation objects (.npz)")
    parser.add_argument("folder", type=Path, help="receives the surfaces")
    parser.add_argument("--clean", type=int, default=CLEAN, help=f"surfaces of clean views (default {CLEAN})")
    parser.add_argument("--torn", type=int, default=4, help="surfaces of each kind of torn views (default 4)")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, (verts, faces) in make_surfaces(args.pack, args.clean, args.torn):
        np.savez(args.folder / f"{name}.npz", verts=verts, faces=faces)
        print(f"{name}: {len(faces):,} triangles", flush=True)
    return 0


def load_surfaces(folder: Path) -> dict[str, Surface]:
    """The surfaces that this program wrote to a folder, by name."""
    surfaces = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            surfaces[path.stem] = archive["verts"], archive["faces"]
    return surfaces


def make_surfaces(pack: Path, clean: int, torn: int) -> Iterator[tuple[str, Surface]]:
    """Each surface with its name; the same for the same pack and weights."""
    from tetraview.engine.evaluation.objects import choose_objects, find_objects, load_all
    from tetraview.engine.evaluation.scoring import input_views
    from tetraview.engine.geometry.cleanup import remove_specks
    from tetraview.engine.geometry.extract import extract_mesh
    from tetraview.engine.reconstructor import Reconstructor

    folder = Path(__file__).resolve().parents[1] / "engine" / "weights" / "starter" / "reconstructor"
    reconstructor = Reconstructor.from_pretrained(str(folder), torch_dtype=torch.float32, local_files_only=True).eval()

    def surface_of(views: dict[str, UInt8Array]) -> Surface:
        with torch.inference_mode():
            field: Any = reconstructor.encode(np.stack([views[name] for name in VIEWS]))
            return remove_specks(*extract_mesh(field, RESOLUTION))

    refs = choose_objects(find_objects([pack]), limit=clean, seed=11)
    shown: list[dict[str, UInt8Array]] = []
    for number, (_, mesh) in enumerate(load_all(refs)):
        shown.append(input_views(mesh, VIEW_PX))
        yield f"clean_{number:02d}", surface_of(shown[-1])
    for kind in TORN:
        for number in range(torn):
            yield f"{kind}_{number:02d}", surface_of(spoil(shown, number, kind))
    for number in range(torn):
        yield f"perforated_{number:02d}", perforated(number)


def spoil(shown: list[dict[str, UInt8Array]], number: int, kind: str) -> dict[str, UInt8Array]:
    """The views of one object, spoiled as a bad cut-out or a set of photos of different things would be."""
    rng = np.random.default_rng([number, TORN.index(kind)])
    if kind == "mixed":
        return {name: shown[(4 * number + k) % len(shown)][name] for k, name in enumerate(VIEWS)}
    spoiled = {}
    for name in VIEWS:
        view = shown[number][name].copy()
        grain = cv2.GaussianBlur(rng.normal(size=view.shape[:2]).astype(np.float32), (0, 0), 4.0)
        where = grain > np.quantile(grain, 0.75)
        if kind == "holes":
            view[where, 3] = 0
        else:
            near = cv2.dilate(view[..., 3], np.ones((61, 61), np.uint8)) > 0
            added = where & near & (view[..., 3] == 0)
            view[added] = (*rng.integers(30, 220, 3), 255)
        spoiled[name] = view
    return spoiled


class PerforatedSphere:
    """The signed distance of a sphere with noise at two scales added, which tears it."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        coarse = torch.from_numpy(rng.normal(size=(1, 1, 24, 24, 24)).astype(np.float32))
        fine = torch.from_numpy(rng.normal(size=(1, 1, 80, 80, 80)).astype(np.float32))
        self.noise = ((coarse, 0.09), (fine, 0.012 + 0.004 * seed))

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        """Positive inside, [N] at points [N, 3]."""
        distance = 0.72 - points.norm(dim=-1)
        for grid, strength in self.noise:
            where = points.reshape(1, 1, 1, -1, 3).to(grid.dtype)
            distance = distance + strength * torch.nn.functional.grid_sample(grid, where, align_corners=True).reshape(-1)
        return torch.minimum(distance, 0.95 - points.abs().amax(-1))

    def lattice_sdf(self, ijk: torch.Tensor, resolution: int) -> torch.Tensor:
        """As `sdf`, at lattice vertices [N, 3]."""
        return self.sdf(ijk.float() * (2.0 / resolution) - 1.0)


def perforated(seed: int, resolution: int = 128) -> Surface:
    """The surface of a perforated sphere."""
    from tetraview.engine.geometry.cleanup import remove_specks
    from tetraview.engine.geometry.extract import extract_mesh_dense

    return remove_specks(*extract_mesh_dense(PerforatedSphere(seed), resolution))


if __name__ == "__main__":
    sys.exit(main())
