"""`python -m tetraview orbit`: turntable pictures of a result, of any model file, or of the field before meshing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..cameras import RIG_FOVY_DEG
from ..dataset.lighting import Light
from ..dataset.meshes import MESH_SUFFIXES, load_mesh_file
from ..dataset.render import render_views
from ..dataset.textured_mesh import TexturedMesh
from ..errors import EngineError, InvalidRequestError
from ..job.folder import JobFolder
from ..rendering.turntable import ANIMATED, STILL, TURN_S, compose, turn_c2w, write_turntable
from ..types import GenerateRequest

MAX_PX, MAX_FRAMES = 2048, 720

Pixels = npt.NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `orbit`."""
    parser.add_argument(
        "source", metavar="SOURCE",
        help="a folder that `generate` or `reconstruct` made, a .glb, .gltf, .obj or .ply, or a folder of PNGs: the frames",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, metavar="PATH",
        help="a .gif or .webp (animation), a .png or .jpg (sheet of all frames), or a folder (one PNG a frame)",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, default=36, metavar="N", help="frames of one turn (default 36)")
    parser.add_argument("--size", type=int, default=320, metavar="PX", help="side of a frame, pixels (default 320)")
    parser.add_argument("--elevation", type=float, default=20.0, metavar="DEG", help="degrees above the horizon (default 20)")
    parser.add_argument("--seconds", type=float, default=TURN_S, metavar="S", help=f"duration of one turn (default {TURN_S})")
    parser.add_argument("--background", default="white", metavar="COLOUR", help='name, "#rrggbb" or "none" (default white)')
    parser.add_argument("--unlit", action="store_true", help="the bare texture, without light")
    parser.add_argument("--volumetric", action="store_true", help="render the field of a job's views, before any mesh")
    parser.add_argument("--device", default="auto", metavar="NAME", help="for --volumetric: auto, cpu, cuda or mps")
    parser.add_argument("--model", metavar="DIR", help="for --volumetric: weights other than those of the job's request")


def run(args: argparse.Namespace) -> int:
    """Render the turntable and write it."""
    if not 1 <= args.frames <= MAX_FRAMES or not 16 <= args.size <= MAX_PX:
        args.parser.error(f"use 1 to {MAX_FRAMES} frames of 16 to {MAX_PX} px")
    if not -89 <= args.elevation <= 89 or args.seconds <= 0:
        args.parser.error("use an elevation of -89 to 89 degrees and a positive duration")
    output, source = Path(args.output), Path(args.source)
    if output.suffix.lower() not in (*ANIMATED, *STILL, ""):
        args.parser.error(f"cannot write {output.suffix}: use .gif, .webp, .png, .jpg or a folder")
    background = _colour(args.background)
    c2w = turn_c2w(args.frames, args.elevation)
    frames: Iterable[Pixels]
    if rendered := frames_in(source):
        frames, args.frames = map(read_frame, rendered), len(rendered)
    elif args.volumetric:
        frames = render_volumetric(source, c2w, args.size, device=args.device, model=args.model)
    else:
        frames = render_mesh(load_source(source), c2w, args.size, lit=not args.unlit)
    from tqdm import tqdm

    images = [compose(frame, background) for frame in tqdm(frames, total=args.frames, desc="orbit", unit="frame")]
    write_turntable(images, output, args.seconds)
    print(output)
    return 0


def frames_in(source: Path) -> list[Path]:
    """The PNGs of a folder that is no job's, by name; none if it is anything else."""
    return [] if JobFolder(source).request.exists() else sorted(source.glob("*.png"))


def read_frame(path: Path) -> Pixels:
    """A picture as uint8 [H, W, 4].

    Raises:
        EngineError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise EngineError(f"The frame {path} cannot be read: render it again.") from error


def load_source(source: Path) -> TexturedMesh:
    """The mesh to show: of a job's folder, of its `asset.npz`, or of a model file.

    Raises:
        EngineError: There is none, or it cannot be read.
    """
    if source.suffix.lower() in MESH_SUFFIXES:
        if not source.is_file():
            raise EngineError(f"There is no file {source}.")
        return load_mesh_file(source)
    job = JobFolder(source.parent if source.name == "asset.npz" else source)
    if not job.asset.is_file() or not job.albedo.is_file():
        raise EngineError(
            f"{source} holds no asset: give a folder that `generate` or `reconstruct` made, or a .glb, .gltf, .obj or .ply file."
        )
    try:
        with np.load(job.asset) as arrays, Image.open(job.albedo) as albedo:
            verts, faces, uvs, uv_faces = (arrays[name] for name in ("verts", "faces", "uvs", "uv_faces"))
            texture = np.asarray(albedo.convert("RGB"))
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"The asset in {job.path} is damaged ({error}): reconstruct it again.") from error
    corner_verts = np.zeros((len(uvs), 3), np.float32)
    corner_verts[uv_faces] = verts[faces]  # one vertex a uv
    return TexturedMesh(job.path.name, corner_verts, uv_faces.astype(np.int32), uvs.astype(np.float32), texture)


def render_mesh(mesh: TexturedMesh, c2w: npt.NDArray[np.float32], size_px: int, *, lit: bool = True) -> Iterator[Pixels]:
    """Frames uint8 [S, S, 4], RGBA with straight alpha; lit by a lamp that stands above the camera's left shoulder."""
    for camera in c2w:
        lamp = camera[:3, :3] @ np.array([-0.5, 0.9, 0.8], np.float32)
        light = Light(lamp, ambient=0.6, diffuse=0.55, shadows=False) if lit else None
        yield render_views(mesh, camera[None], RIG_FOVY_DEG, size_px, supersample=3, shading=light).rgba[0]


def render_volumetric(
    source: Path, c2w: npt.NDArray[np.float32], size_px: int, *, device: str = "auto", model: str | None = None
) -> Iterator[Pixels]:
    """Frames uint8 [S, S, 4] of the field that the views in a job's folder give.

    Raises:
        EngineError: No job there, or no weights.
    """
    from ..devices import choose_device, use_all_cores
    from ..imaging.views import FourViews
    from ..job.photos_phase import require_no_empty_view
    from ..job.view_files import read_views, rendered_views
    from ..models.loading import ModelCache, field_of_views
    from ..models.registry import STARTER_MODEL
    from ..rendering.volumetric import render_field

    job = JobFolder(source)
    try:
        request = GenerateRequest.from_json(job.request.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise EngineError(f"{source} is not a job folder: its request.json cannot be read.") from error
    use_all_cores()
    folder = Path(model or request.model or STARTER_MODEL)
    loaded = ModelCache().get(folder, choose_device(device).name)
    views = read_views(job.views)
    require_no_empty_view(views)
    rendered = {name: views[name] for name in rendered_views(job.views)}
    all_views = FourViews.of(views, request.rig).with_views(rendered, are_rendered=True)
    field = field_of_views(loaded, all_views.to_reconstruct)
    for camera in c2w:
        yield (render_field(field, camera, RIG_FOVY_DEG, size_px) * 255 + 0.5).astype(np.uint8)


def _colour(name: str) -> tuple[int, int, int] | None:
    from PIL import ImageColor

    if name.lower() == "none":
        return None
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise InvalidRequestError(f'{name!r} is not a colour: use a name, "#rrggbb" or "none".') from error
