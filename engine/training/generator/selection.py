"""Select the best checkpoint by stage two's error on painted grids, the PSNR of known views and, if present, CLIP.

The reconstructor reproduces four views of one object; it cannot reproduce views that contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...cameras import RIG_FOVY_DEG, rig_c2w
from ...reconstructor import Reconstructor
from ...rendering.volumetric import render_field
from .pixels import row_on_white

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

MIN_COVER = 0.005
"""A view with less of its pixels covered counts as empty."""


def _premultiplied(rgba: npt.NDArray[np.generic]) -> FloatArray:
    """Straight RGBA, uint8 or float 0..1, to premultiplied float32 of 0..1."""
    image = np.asarray(rgba).astype(np.float32) / (255 if rgba.dtype == np.uint8 else 1)
    return np.concatenate([image[..., :3] * image[..., 3:], image[..., 3:]], -1)


def view_error(rendered: npt.NDArray[np.generic], painted: npt.NDArray[np.generic]) -> float:
    """Mean absolute difference of two RGBA images [S, S, 4] over the pixels that either covers, 0..1; 1 if `painted` is empty."""
    a, b = _premultiplied(rendered), _premultiplied(painted)
    if (b[..., 3] > 0.5).mean() < MIN_COVER:
        return 1.0
    covered = np.maximum(a[..., 3], b[..., 3])
    return float((np.abs(a - b).mean(-1) * covered).sum() / covered.sum())


@dataclass(frozen=True)
class Judge:
    """Judges painted views.

    Attributes:
        reconstructor: Stage two; if None, its error is not measured.
        clip: A `CLIPModel` and its processor; if None, the score is not measured.
        px, samples: Side of the rendered views, and samples a ray.
    """

    reconstructor: Reconstructor | None = None
    clip: tuple[Any, Any] | None = None
    px: int = 48
    samples: int = 32

    def stage_two_error(self, views: UInt8Array) -> float:
        """Mean `view_error` between the four views [4, S, S, 4] and the rendered reconstruction from them."""
        if self.reconstructor is None:
            raise ValueError("stage_two_error needs a reconstructor")
        rgba = torch.from_numpy(np.ascontiguousarray(views)).permute(0, 3, 1, 2).float() / 255
        field = self.reconstructor.encode(views)
        small = torch.nn.functional.interpolate(rgba * torch.cat([rgba[:, 3:]] * 3 + [torch.ones_like(rgba[:, 3:])], 1),
                                                (self.px, self.px), mode="area")  # fmt: skip
        alpha = small[:, 3:]
        straight = torch.cat([small[:, :3] / alpha.clamp(min=1e-4), alpha], 1).permute(0, 2, 3, 1).numpy()
        errors = []
        for view, c2w in enumerate(rig_c2w()):
            rendered = render_field(field, c2w, RIG_FOVY_DEG, self.px, samples=self.samples)
            errors.append(view_error(rendered, straight[view]))
        return float(np.mean(errors))

    @torch.no_grad()
    def clip_score(self, views: UInt8Array, prompt: str) -> float:
        """Cosine between the prompt and the mean view, as CLIP sees them (Radford et al. 2021)."""
        if self.clip is None:
            raise ValueError("clip_score needs CLIP")
        model, processor = self.clip
        images = np.split(row_on_white(views), 4, 1)
        inputs = processor(text=[prompt], images=list(images), return_tensors="pt", padding=True).to(model.device)
        output = model(**inputs)
        picture = torch.nn.functional.normalize(output.image_embeds.mean(0), dim=0)
        return float(picture @ torch.nn.functional.normalize(output.text_embeds[0], dim=0))


def load_judge(reconstructor: Path | None, clip: Path | None, device: torch.device) -> Judge:
    """A judge with what there is: folders of reconstructor and CLIP weights, each may be None."""
    model = None if reconstructor is None else Reconstructor.from_pretrained(reconstructor).to(device).eval()
    if clip is None:
        return Judge(model)
    from transformers import CLIPModel, CLIPProcessor

    pair = (CLIPModel.from_pretrained(clip, local_files_only=True).to(device).eval(), CLIPProcessor.from_pretrained(clip))
    return Judge(model, pair)
