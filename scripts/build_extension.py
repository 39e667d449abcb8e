"""Build the extension's zip with Blender's own builder, which the `bpy` wheel carries: validate, build, validate.

Usage: python scripts/build_extension.py --output dist
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_ZIP_BYTES = 75_000_000


def find_blender_scripts(venv: Path = ROOT / ".venv-blender-4.5") -> Path:
    """The `scripts` folder of the Blender inside `venv`.

    Raises:
        FileNotFoundError: There is no `bpy` in that environment.
    """
    found = sorted(venv.glob("lib/python3.*/site-packages/bpy/*/scripts"))
    if not found:
        raise FileNotFoundError(f"No bpy in {venv}: run make setup.")
    return found[-1]


def run_builder(*arguments: str | Path, scripts: Path | None = None) -> str:
    """Run `blender_ext.py` with `arguments`; returns what it printed.

    Raises:
        RuntimeError: It reported an error; the text is its own.
    """
    scripts = scripts or find_blender_scripts()
    command = [sys.executable, str(scripts / "addons_core/bl_pkg/cli/blender_ext.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"blender_ext.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build_extension(output: Path, source: Path = ROOT, scripts: Path | None = None) -> Path:
    """Validate `source`, build its zip into the folder `output`, validate the zip; returns its path.

    Raises:
        RuntimeError: Blender's builder refused, or the zip is larger than `MAX_ZIP_BYTES`.
    """
    scripts = scripts or find_blender_scripts()
    tags = ("--valid-tags", scripts / "modules/_bpy_internal/extensions/tags.py")
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("tetraview-*.zip"):
        old.unlink()
    run_builder("validate", *tags, source, scripts=scripts)
    run_builder("build", *tags, "--source-dir", source, "--output-dir", output, scripts=scripts)
    (path,) = output.glob("tetraview-*.zip")
    run_builder("validate", *tags, path, scripts=scripts)
    if path.stat().st_size > MAX_ZIP_BYTES:
        raise RuntimeError(f"{path.name} is {path.stat().st_size / 1e6:.1f} MB; the limit is {MAX_ZIP_BYTES / 1e6:.0f} MB.")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder of the zip (default: dist)")
    path = build_extension(parser.parse_args().output.resolve())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, validated")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
