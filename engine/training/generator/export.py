"""A trained pipeline to the form in which it ships: float16 safetensors, LoRA additions fused in."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from ...multiview.pipeline import FourViewPipeline

LORA_FILE = "pytorch_lora_weights.safetensors"


def export_pipeline(pipeline: FourViewPipeline, best: Path, target: Path, lora: bool) -> int:
    """Write a pipeline as float16, in place of what is in `target`.

    Args:
        pipeline: The pipeline that was trained; only used with LoRA.
        best: Folder that training wrote (`OUT/generator/best`): a pipeline, or the additions of LoRA.
        target: Folder to write to.
        lora: Whether `best` holds LoRA weights; they are fused into a copy of the pipeline's denoiser.

    Returns:
        Bytes of all files.

    Raises:
        ValueError: A weight does not fit float16.
    """
    if lora:
        pipeline.unet.delete_adapters("default")
        pipeline.unet.load_lora_adapter(best, prefix=None, weight_name=LORA_FILE, use_safetensors=True)
        pipeline.unet.fuse_lora()
        pipeline.unet.unload_lora()
        shipped = pipeline.to(dtype=torch.float16)
    else:
        shipped = FourViewPipeline.from_pretrained(best, torch_dtype=torch.float16)
    for part, module in shipped.components.items():
        if isinstance(module, torch.nn.Module):
            for name, parameter in module.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise ValueError(f"{part}.{name} does not fit float16")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shipped.save_pretrained(partial)
    for weights in partial.glob("*/*.safetensors"):
        weights.chmod(0o644)  # safetensors leaves it to the owner alone
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
