"""Four 12-megapixel photos through the intake: reading, cutting out on a plain background, framing, warnings.

    python benchmarks/photo_intake.py

Made from the demo's views, placed on a grey ground with a gradient and sensor noise, saved as JPEG. Prints
the seconds of each run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tetraview.engine.photos.intake import prepare_views
from tetraview.engine.types import VIEW_NAMES

ROOT = Path(__file__).resolve().parents[1]


def photograph(view: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A 4000 x 3000 photo of a cut-out view on a grey ground."""
    ramp = np.linspace(225, 190, 3000)[:, None, None] + np.zeros((1, 4000, 3))
    ground = Image.fromarray(ramp.astype(np.uint8))
    subject = view.convert("RGBA").resize((2600, 2600), Image.Resampling.BICUBIC)
    ground.paste(subject, (700, 200), subject)
    noisy = np.asarray(ground, np.int16) + rng.integers(-4, 5, (3000, 4000, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=Path, default=ROOT / "docs" / "demo" / "photos", help="folder with the four PNGs")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.jpg") for name in VIEW_NAMES}
        for name, path in paths.items():
            photograph(Image.open(options.views / f"{name}.png"), rng).save(path, quality=92)
        seconds = []
        for _ in range(options.runs + 1):
            start = time.perf_counter()
            prepare_views(paths)
            seconds.append(time.perf_counter() - start)
    runs = ", ".join(f"{second:.2f}" for second in seconds)
    print(f"four photos of 12 megapixels: {statistics.median(seconds[1:]):.2f} s, median of all but the first of {runs}")


if __name__ == "__main__":
    main()
