"""Contact sheet of prompts, as they come out: four painted views and the mesh of each, through the engine's own path.

    .venv/bin/python scripts/prompt_sheet.py --output out/prompts [--seed 0]

Writes `sheet.jpg` and keeps every job; prompts that are done already are not made again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tetraview.engine.cameras import RIG_FOVY_DEG, orbit_c2w
from tetraview.engine.dataset.lighting import Light
from tetraview.engine.dataset.meshes import load_mesh_file
from tetraview.engine.dataset.render import render_views
from tetraview.engine.errors import EngineError
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.types import VIEW_NAMES, GenerateRequest

TILE_PX, LABEL_PX, COLUMNS = 108, 16, 4
MESH_AZIMUTH_DEG = 35.0
TITLES = {
    "seen": "nouns that training captions use",
    "synonyms": "words that they never use",
    "pairs": "colour and noun never together",
}


def make(prompt: str, folder: Path, models: ModelCache, request: GenerateRequest) -> None:
    """Make one asset, unless it is there."""
    job = JobFolder(folder)
    if job.glb.is_file() and job.timings.is_file():
        return
    for _ in generate(request, models=models):
        pass
    print(f"{prompt}: {json.loads(job.timings.read_text())['total']:.1f} s", flush=True)


def on_white(rgba: Image.Image) -> Image.Image:
    backdrop = Image.new("RGBA", rgba.size, "white")
    backdrop.alpha_composite(rgba.convert("RGBA"))
    return backdrop.convert("RGB")


def strip(prompt: str, folder: Path) -> Image.Image:
    """Label, four views and the mesh, one picture."""
    job = JobFolder(folder)
    picture = Image.new("RGB", (5 * TILE_PX + 12, TILE_PX + LABEL_PX), "white")
    font = ImageFont.load_default(size=12)
    ImageDraw.Draw(picture).text((4, 1), prompt, fill="black", font=font)
    for column, name in enumerate(VIEW_NAMES):
        if job.view(name).is_file():
            with Image.open(job.view(name)) as view:
                tile = on_white(view.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS))
            picture.paste(tile, (column * TILE_PX, LABEL_PX))
    if job.glb.is_file():
        light = Light(np.array((-0.5, -0.8, 1.0)), 0.75, 0.45, (1.0, 1.0, 1.0))
        mesh = load_mesh_file(job.glb, normalise=False)
        camera = orbit_c2w([MESH_AZIMUTH_DEG], [20.0])
        rgba = render_views(mesh, camera, RIG_FOVY_DEG, TILE_PX, supersample=3, shading=light).rgba[0]
        picture.paste(on_white(Image.fromarray(rgba)), (4 * TILE_PX + 6, LABEL_PX))
    return picture


def assemble(groups: dict[str, list[Image.Image]]) -> Image.Image:
    """All strips, group after group under its title."""
    width, height = next(iter(groups.values()))[0].size
    rows = [
        (name, strips[start : start + COLUMNS]) for name, strips in groups.items() for start in range(0, len(strips), COLUMNS)
    ]
    sheet = Image.new("RGB", (COLUMNS * width, len(rows) * height + len(groups) * 22), "white")
    draw, y, last = ImageDraw.Draw(sheet), 0, ""
    for name, strips in rows:
        if name != last:
            draw.rectangle((0, y, sheet.width, y + 20), fill="#e8e8e8")
            draw.text((6, y + 3), TITLES.get(name, name), fill="black", font=ImageFont.load_default(size=13))
            y, last = y + 22, name
        for column, picture in enumerate(strips):
            sheet.paste(picture, (column * width, y))
        y += height
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, default=Path("docs/prompts.json"), metavar="FILE")
    parser.add_argument("--output", type=Path, default=Path("out/prompts"), metavar="DIR")
    parser.add_argument("--generator", metavar="DIR", help="weights (those of the package)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-examples", action="store_true", help="start from blobs")
    args = parser.parse_args()
    models = ModelCache()
    groups: dict[str, list[Image.Image]] = {}
    for name, prompts in json.loads(args.prompts.read_text()).items():
        groups[name] = []
        for prompt in prompts:
            folder = args.output.absolute() / re.sub(r"\W+", "-", prompt)
            request = GenerateRequest(
                photos={}, output_dir=str(folder), prompt=prompt, seed=args.seed, generator=args.generator,
                use_examples=not args.no_examples,
            )  # fmt: skip
            try:
                make(prompt, folder, models, request)
            except EngineError as error:
                print(f"{prompt}: {error}", file=sys.stderr)
            groups[name].append(strip(prompt, folder))
    assemble(groups).save(args.output / "sheet.jpg", quality=88)
    print(args.output / "sheet.jpg")


if __name__ == "__main__":
    main()
