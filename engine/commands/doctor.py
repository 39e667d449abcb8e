"""`python -m tetraview doctor`: can this installation generate and reconstruct, and with what?"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..job.folder import default_home, disk_use
from ..version import __version__

NEEDED = (
    ("numpy", "numpy"), ("torch", "torch"), ("diffusers", "diffusers"), ("transformers", "transformers"),
    ("safetensors", "safetensors"), ("Pillow", "PIL"), ("pillow-heif", "pillow_heif"),
    ("scipy", "scipy"), ("opencv-python-headless", "cv2"), ("embreex", "embreex"), ("xatlas", "xatlas"),
    ("fast-simplification", "fast_simplification"), ("trimesh", "trimesh"), ("tqdm", "tqdm"),
)  # fmt: skip
"""Distribution and module of what a job imports."""

MIN_FREE_BYTES = 500_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `doctor`."""
    parser.add_argument("--model", metavar="DIR", help="check these reconstructor weights instead of the starter ones")
    parser.add_argument("--generator", metavar="DIR", help="check this four-view generator instead of the starter one")


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 only if `generate` and `reconstruct` can run."""
    lines = [f"tetraview {__version__}, Python {platform.python_version()}, {platform.platform()}"]
    problems: list[str] = []
    missing = _packages(lines, problems)
    _environment(lines)
    if "torch" not in missing:
        _devices(lines)
    if not missing:
        _weights(lines, problems, args.model, args.generator)
    _disk(lines, problems)
    lines += [f"PROBLEM: {problem}" for problem in problems] or ["Everything `generate` and `reconstruct` need is here."]
    print("\n".join(anonymise(line) for line in lines))
    return 1 if problems else 0


def anonymise(text: str) -> str:
    """The text with the user's home folder, and so usually their name, as "~"."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _packages(lines: list[str], problems: list[str]) -> list[str]:
    """Versions of the needed packages; returns the modules that cannot be imported."""
    versions, missing = [], []
    for distribution, module in NEEDED:
        try:
            importlib.import_module(module)
            versions.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except Exception as error:  # a broken package may raise anything when imported
            missing.append(module)
            problems.append(f"{distribution} cannot be imported ({error}): install the engine's packages again.")
    lines.append(f"packages: {', '.join(versions)}")
    return missing


def _environment(lines: list[str]) -> None:
    lines.append(f"python: {sys.executable}")
    lines.append(f"home: {default_home()}, {disk_use(default_home() / 'jobs') / 1e6:.0f} MB of jobs")
    names = sorted(name for name in os.environ if name.startswith(("TETRAVIEW_", "CUDA_", "OMP_", "MKL_", "PYTORCH_", "HF_")))
    settings = [f"{name}={os.environ[name]}" for name in names if "TOKEN" not in name]
    lines.append(f"environment: {', '.join(settings) or 'nothing set'}")


def _devices(lines: list[str]) -> None:
    import torch

    from ..devices import usable_devices, use_all_cores

    cores = use_all_cores()
    usable = usable_devices()
    gpu = f" ({torch.cuda.get_device_name()})" if "cuda" in usable else ""
    lines.append(f"devices: {', '.join(usable)}{gpu}; {cores} threads")
    _kernels(lines, usable)


def _kernels(lines: list[str], usable: Sequence[str]) -> None:
    """List the kernels that run compiled. On an NVIDIA GPU, compile and load each now if that was not done before."""
    import torch

    from ...kernels import loader, programs

    if "cuda" not in usable:
        lines.append("kernels: PyTorch twins, as on every machine without an NVIDIA GPU")
        return
    device = torch.device("cuda")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        runs = {name: programs.program(name, loader.variants(name)[0], device) is not None for name in loader.sources()}
    if compiled := [name for name, here in runs.items() if here]:
        lines.append(f"kernels: {', '.join(compiled)} compiled for {loader.target(device)}, kept in {loader.cache_folder()}")
    if twins := [name for name, here in runs.items() if not here]:
        lines.append(f"kernels: PyTorch twins for {', '.join(twins)}")
    lines += [f"  {warning.message}" for warning in said]


def _weights(lines: list[str], problems: list[str], model: str | None, generator: str | None) -> None:
    from ..errors import WeightsError
    from ..models.loading import ModelCache
    from ..models.registry import SHIPPED_WEIGHTS, STARTER_GENERATOR, STARTER_MODEL, check_files, read_registry

    models = ModelCache()
    try:
        shipped = check_files(SHIPPED_WEIGHTS / name for name in read_registry())
        lines.append(f"weights that ship: {len(shipped)} files, all as registered")
    except WeightsError as error:
        problems.append(str(error))
    try:
        reconstructor = models.get(Path(model or STARTER_MODEL), "cpu")
        count = sum(parameter.numel() for parameter in reconstructor.reconstructor.parameters())
        lines.append(f"reconstructor: {model or STARTER_MODEL}, {count / 1e6:.1f} M parameters")
        lines += [f"  {name} sha256 {digest}" for name, digest in reconstructor.sha256.items()]
    except WeightsError as error:
        problems.append(str(error))
    try:
        painter = models.get_generator(Path(generator or STARTER_GENERATOR), "cpu")
        parts = (painter.pipeline.unet, painter.pipeline.vae, painter.pipeline.text_encoder)
        count = sum(parameter.numel() for part in parts for parameter in part.parameters())
        lines.append(f"generator: {painter.folder}, {count / 1e6:.1f} M parameters, views of {painter.pipeline.view_px} px")
        lines += [f"  {name} sha256 {digest}" for name, digest in painter.sha256.items()]
    except WeightsError as error:
        problems.append(str(error))


def _disk(lines: list[str], problems: list[str]) -> None:
    """Free space where jobs are kept, and whether a file can be written there."""
    home = default_home()
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    lines.append(f"free disk: {free / 1e9:.1f} GB")
    if free < MIN_FREE_BYTES:
        problems.append(f"Only {free / 1e6:.0f} MB are free in {place}: make room, or set TETRAVIEW_HOME to another disk.")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        problems.append(f"{place} cannot be written ({error.strerror}): set TETRAVIEW_HOME to a folder that can.")
