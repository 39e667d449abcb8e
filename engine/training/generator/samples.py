"""Sample sheets: the same prompts and known views with the same noise every time, and the judge's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...imaging.compare import psnr
from .grid_cache import GridCache
from .pixels import row_on_white
from .selection import Judge

UInt8Array = npt.NDArray[np.uint8]

PROMPTS = (
    "a red armchair",
    "a brown table",
    "a dark green tree, low-poly style",
    "a blue car, low-poly style",
    "an orange fox",
    "a gray robot, low-poly style",
    "a yellow couch",
    "a purple mushroom",
)


@dataclass(frozen=True)
class SampleJob:
    """One row of the sheet: a prompt, and the truth whose front view is known (uint8 [4, S, S, 4]), or None."""

    prompt: str
    truth: UInt8Array | None = None


def sample_jobs(cache: GridCache | None, count: int) -> list[SampleJob]:
    """`count` rows: prompts, then objects of the cache of which the front view is known."""
    known = 0 if cache is None else min(len(cache), count // 2)
    jobs = [SampleJob(prompt) for prompt in PROMPTS[: count - known]]
    for index in np.linspace(0, len(cache or ()) - 1, known).astype(int):
        assert cache is not None
        caption = str(cache.meta[int(index)]["appearances"][0].get("caption") or "")
        jobs.append(SampleJob(caption, np.array(cache.views(int(index), 0))))
    return jobs


@dataclass(frozen=True)
class SampleSheet:
    """The sheet uint8 [rows * S, 8 S, 3]; scores by name; `objective` is what checkpoints are chosen by (less is better)."""

    image: UInt8Array
    scores: dict[str, float]

    @property
    def objective(self) -> float:
        return self.scores.get("stage_two", -self.scores.get("known_psnr", 0.0))


def paint_sheet(pipeline: Any, jobs: list[SampleJob], judge: Judge, *, steps: int, guidance_scale: float) -> SampleSheet:
    """Paint every job with its own fixed seed, two jobs a row, and judge the views.

    Args:
        pipeline: A `FourViewPipeline`.
        jobs: The samples to paint; their truth must have the size of the pipeline's views.
        judge: Scores the painted views.
        steps, guidance_scale: Settings of the sampler.
    """
    columns = []
    scores: dict[str, list[float]] = {"stage_two": [], "known_psnr": [], "clip": []}
    for seed, job in enumerate(jobs):
        known = {} if job.truth is None else {"front": job.truth[0]}
        generator = torch.Generator().manual_seed(seed)
        painted = pipeline(
            job.prompt, known_views=known, num_inference_steps=steps, guidance_scale=guidance_scale, generator=generator
        ).rgba
        columns.append(row_on_white(painted))
        if judge.reconstructor is not None:
            scores["stage_two"].append(judge.stage_two_error(painted))
        if judge.clip is not None and job.prompt:
            scores["clip"].append(judge.clip_score(painted, job.prompt))
        if job.truth is not None:
            pair = [row_on_white(views[1:]).astype(np.float32) / 255 for views in (painted, job.truth)]
            scores["known_psnr"].append(psnr(pair[0], pair[1]))
    half = -(-len(columns) // 2)
    left = np.concatenate(columns[:half], 0)
    right = np.concatenate(columns[half:] + [np.full_like(columns[0], 255)] * (2 * half - len(columns)), 0)
    return SampleSheet(np.concatenate([left, right], 1), {name: float(np.mean(v)) for name, v in scores.items() if v})
