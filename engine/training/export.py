"""Trained weights to the form in which they ship: float16 safetensors."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers.models.modeling_utils import ModelMixin

from ..reconstructor import Reconstructor


def export_weights(source: Path, target: Path, kind: type[ModelMixin] = Reconstructor) -> int:
    """Write a trained model as float16, in place of what is in `target`.

    Args:
        source: Folder that training wrote (`OUT/reconstructor`).
        target: Folder of the package's weights (`engine/weights/starter/reconstructor`).
        kind: The model's class.

    Returns:
        Bytes of the weight file.

    Raises:
        ValueError: A weight does not fit float16.
    """
    model = kind.from_pretrained(source, torch_dtype=torch.float16)
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{name} does not fit float16")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as partial:
        model.save_pretrained(partial)
        config = Path(partial) / "config.json"
        values = {k: v for k, v in json.loads(config.read_text()).items() if k != "_name_or_path"}  # a path of this machine
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        target.mkdir(exist_ok=True)
        for path in Path(partial).iterdir():
            path.chmod(0o644)  # safetensors makes it readable by its owner only
            shutil.move(path, target / path.name)
    return (target / "diffusion_pytorch_model.safetensors").stat().st_size
