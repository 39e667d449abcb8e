"""A full-size asset with random weights on an NVIDIA GPU, end to end and by phase; no trained weights of this size exist.

    python benchmarks/full_size.py                                      on the GPU, without compiling
    python benchmarks/full_size.py --compile                            the denoiser's blocks and the plane U-Net by torch.compile
    python benchmarks/full_size.py --output benchmarks/RESULTS.md       and in the file's section
    python benchmarks/full_size.py --rehearse                           the same classes, tiny, on the processor: does it run?

SDXL's inpainting denoiser (nine channels, 4 steps, one 1024 px grid) and autoencoder, the reconstructor's `FULL`, the lattice of
256, a texture of 1024. Random weights paint noise and see no object. So the autoencoder's image is thrown away and the cut-out
and the reconstructor are given views of a dented sphere, and that sphere's signed distance is added to a thousandth of the
network's: every point costs what it would, and the surface has as many triangles as an object. The prompt's encoding is left
out: its embedding is random. "CPU" phases run on the processor wherever the rest runs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.utils import logging as diffusers_logging
from results import duration, least_and_median, machine, table, write_section
from tetraview.engine.cameras import CANONICAL_RIG, RIG_ELEVATION_DEG, RIG_FOVY_DEG, rig_c2w
from tetraview.engine.geometry.extract import extract_mesh
from tetraview.engine.multiview.conditions import TextCondition
from tetraview.engine.multiview.denoising import Guidance, set_timesteps
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.reconstructor import FULL, Field, Reconstructor
from tetraview.engine.types import VIEW_NAMES
from torch import Tensor

SECTIONS = {False: "gpu-full-size", True: "gpu-full-size-compiled"}
GOAL_S = 1.0

SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 9,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "transformer_layers_per_block": (1, 2, 10),
    "projection_class_embeddings_input_dim": 2816,
}
"""The published configuration of SDXL's inpainting denoiser."""

SDXL_VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}


@dataclass(frozen=True)
class Size:
    """The components' configurations, and the sizes of mesh and texture."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    reconstructor: dict[str, Any]
    resolution: int
    triangles: int
    texture_px: int


FULL_SIZE = Size(SDXL_UNET, SDXL_VAE, FULL, resolution=256, triangles=10_000, texture_px=1024)
REHEARSAL = Size(
    unet=SDXL_UNET
    | {
        "sample_size": 16,
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": (2, 4, 4),
        "addition_time_embed_dim": 8,
        "transformer_layers_per_block": (1, 1, 2),
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
    },
    vae=SDXL_VAE | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1, "sample_size": 128},
    reconstructor=FULL
    | {"input_px": 64, "channels": (16, 16, 32), "attention_px": 16, "plane_channels": 8, "plane_px": 64, "shallow_channels": 8},
    resolution=32,
    triangles=1_000,
    texture_px=256,
)


class Clock:
    """Seconds and memory of phases, the device's work waited for before and after each.

    Attributes:
        seconds: Seconds of each run, by phase.
        memory: Most bytes of the GPU's memory that torch held in the phase, its models included.
        kinds: "GPU", "CPU", or "beside" for what no sum counts.
        missing: Phases that could not be run, and why.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = {}
        self.memory: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    @contextlib.contextmanager
    def phase(self, name: str, kind: str = "GPU") -> Iterator[None]:
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        start = time.perf_counter()
        yield
        if cuda:
            torch.cuda.synchronize(self.device)
            self.memory[name] = max(self.memory.get(name, 0), torch.cuda.max_memory_allocated(self.device))
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        self.kinds[name] = kind

    def total(self, kinds: tuple[str, ...]) -> list[float]:
        """Seconds of each run in all phases of these kinds."""
        counted = [seconds for name, seconds in self.seconds.items() if self.kinds[name] in kinds]
        return [sum(run) for run in zip(*counted, strict=True)]

    def report(self) -> str:
        """A table: phases, then sums; the first run is the cold one."""
        rows = [self._row(name, self.kinds[name], seconds) for name, seconds in self.seconds.items()]
        rows += [[name, "-", "not measured: " + why, "-", "-"] for name, why in self.missing.items()]
        rows.append(self._row("**GPU phases**", "sum", self.total(("GPU",))))
        rows.append(self._row("**GPU and CPU phases**", "sum", self.total(("GPU", "CPU"))))
        return table(["phase", "where", "cold", "warm: least (median)", "peak GPU memory"], rows)

    def _row(self, name: str, kind: str, seconds: list[float]) -> list[str]:
        bytes_ = self.memory.get(name, max(self.memory.values(), default=0) if kind == "sum" else 0)
        memory = f"{bytes_ / 2**30:.1f} GiB" if bytes_ else "-"
        return [name, kind, duration(seconds[0]), least_and_median(seconds[1:]), memory]


@dataclass
class Models:
    """The components on their device, with what random weights cannot give."""

    pipeline: FourViewPipeline
    reconstructor: Reconstructor
    guidance: Guidance
    views: np.ndarray
    size: Size
    device: torch.device
    parameters: dict[str, int] = field(default_factory=dict)


def sphere_distance(points: Tensor) -> Tensor:
    """A sphere with dents: signed distance [...] of points [..., 3], positive inside."""
    bumps = (points @ points.new_tensor([9.0, 4, 2])).sin() + (points @ points.new_tensor([-3.0, 8, 7])).sin()
    return 0.6 + 0.04 * bumps - points.norm(dim=-1)


def sphere_views(px: int, device: torch.device) -> np.ndarray:
    """Its four views from the canonical rig: uint8 [4, px, px, 4], straight alpha."""
    axis = ((torch.arange(px, device=device) + 0.5) * (2 / px) - 1) * math.tan(math.radians(RIG_FOVY_DEG) / 2)
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    images = []
    for c2w in torch.from_numpy(rig_c2w(RIG_ELEVATION_DEG)).to(device):
        rays = torch.nn.functional.normalize(torch.stack([x, y, -torch.ones_like(x)], -1), dim=-1) @ c2w[:3, :3].T
        along = torch.full((px, px, 1), 3.0, device=device)
        for _ in range(48):  # sphere tracing
            along = along - 0.8 * sphere_distance(c2w[:3, 3] + along * rays)[..., None]
        points = c2w[:3, 3] + along.clamp(max=6) * rays
        covered = (sphere_distance(points).abs() < 1e-2)[..., None]
        images.append(torch.cat([(points * 0.4 + 0.5).clamp(0, 0.8) * covered + 1.0 * ~covered, covered.float()], -1))
    return (torch.stack(images) * 255).round().to(torch.uint8).cpu().numpy()


class SphereField(Field):
    """The sphere plus a thousandth of the reconstructor's own output."""

    def sdf(self, points: Tensor) -> Tensor:
        return sphere_distance(points) + 1e-3 * super().sdf(points).tanh()

    def lattice_sdf(self, ijk: Tensor, resolution: int = 256) -> Tensor:
        return sphere_distance(ijk.float() * (2 / resolution) - 1) + 1e-3 * super().lattice_sdf(ijk, resolution).tanh()


def make_models(size: Size, device: torch.device) -> Models:
    """The components with random weights: half precision on a GPU, but for the reconstructor, which the engine keeps exact."""
    torch.manual_seed(0)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        unet = UNet2DConditionModel(**size.unet).to(dtype).to(memory_format=torch.channels_last)
        vae = AutoencoderKL(**size.vae).to(dtype).to(memory_format=torch.channels_last)
        reconstructor = Reconstructor(**size.reconstructor)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing", steps_offset=1
    )
    for model in (unet, vae, reconstructor):
        model.eval().requires_grad_(False)
    pipeline = FourViewPipeline(vae, unet, scheduler, text_encoder=None, tokenizer=None)
    pipeline.set_progress_bar_config(disable=True)
    pooled = size.unet["projection_class_embeddings_input_dim"] - 6 * size.unet["addition_time_embed_dim"]
    embeds = torch.randn(1, 77, size.unet["cross_attention_dim"], device=device, dtype=dtype)
    condition = TextCondition(embeds, pooled=torch.randn(1, pooled, device=device, dtype=dtype))
    parts = {"denoiser": unet, "autoencoder": vae, "reconstructor": reconstructor}
    counts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
    views = sphere_views(pipeline.view_px, device)
    return Models(pipeline, reconstructor, Guidance(1.0, condition, doubled=False), views, size, device, counts)


def compile_models(models: Models) -> None:
    """The denoiser's transformer blocks, which are alike, are compiled once for all; the plane U-Net as a whole."""
    models.pipeline.unet.compile_repeated_blocks(fullgraph=True)
    models.reconstructor.unet.compile()


@torch.no_grad()
def make_asset(models: Models, clock: Clock, steps: int) -> str:
    """One asset, phase by phase; returns how large its parts are."""
    from tetraview.engine.photos.cutout import cut_out

    pipeline, size, device = models.pipeline, models.size, models.device
    generator = torch.Generator(device).manual_seed(0)
    timesteps = set_timesteps(pipeline.scheduler, steps, 1.0, device)
    with clock.phase("start image: blobs, encoded"):
        start, known = pipeline.prepare_start_latents(0.55), pipeline.prepare_known({})
    with clock.phase(f"denoiser, {steps} steps"):
        latents = pipeline.denoise(start, pipeline.prepare_noise(generator), known, timesteps, models.guidance, generator)
    with clock.phase("decode the grid, as the engine does (float32)"):
        pipeline.decode_latents(latents)
    with clock.phase("cut the views out", "CPU"):
        white = models.views.copy()
        white[..., 3] = 255
        views = np.stack([cut_out(view, "plain") for view in white])
    with clock.phase("silhouettes' distances", "CPU"):
        raw = torch.from_numpy(Reconstructor.prepare(views, int(models.reconstructor.config["input_px"])))
    with clock.phase("planes (bfloat16)"), torch.autocast(device.type, torch.bfloat16):
        encoded = models.reconstructor.encode_batch(raw[None].to(device))
    with clock.phase(f"lattice of {size.resolution} to closed mesh"):
        reconstruction = SphereField(models.reconstructor, encoded)
        verts, faces = extract_mesh(reconstruction, size.resolution)
    simple = _simplified(verts, faces, size, clock)
    with clock.phase("unwrap", "CPU"):
        from tetraview.engine.texturing.atlas import unwrap

        atlas = unwrap(*simple, size.texture_px)
    texels: list[int] = []
    bake = f"bake {size.texture_px} px: texels and the field's colour"
    _if_there(clock, bake, "GPU", lambda: texels.extend(_bake(reconstruction, atlas, size)))
    named = dict(zip(VIEW_NAMES, views, strict=True))
    _if_there(
        clock, "whole texture: bake, back-projection, gutters", "beside", lambda: _paint(reconstruction, atlas, named, size)
    )
    _if_there(clock, "decode the grid in tiles (float32)", "beside", lambda: _decode_in_tiles(pipeline, latents))
    _if_there(clock, "decode the grid in bfloat16", "beside", lambda: _decode_in_bfloat16(pipeline, latents))
    return f"{len(faces):,} triangles from the lattice, {len(simple[1]):,} after simplifying, {sum(texels):,} texels covered"


def _simplified(verts: np.ndarray, faces: np.ndarray, size: Size, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Down to the budget; where the library is missing, the sphere's surface on a lattice coarse enough."""
    if importlib.util.find_spec("fast_simplification") is None:
        clock.missing["simplify"] = "fast_simplification is not installed; a coarser surface is unwrapped instead"

        class Bare:
            def lattice_sdf(self, ijk: Tensor, resolution: int = 256) -> Tensor:
                return sphere_distance(ijk.float() * (2 / resolution) - 1)

        return extract_mesh(Bare(), max(16, size.resolution // 16 * 4))
    from tetraview.engine.geometry.simplify import simplify

    with clock.phase("simplify", "CPU"):
        return simplify(verts, faces, size.triangles)


def _if_there(clock: Clock, name: str, kind: str, work: Callable[[], object]) -> None:
    """A phase that may miss a library: then the table says so."""
    try:
        with clock.phase(name, kind):
            work()
    except ModuleNotFoundError as error:
        clock.missing[name] = f"{error.name} is not installed"


def _bake(reconstruction: Field, atlas: Any, size: Size) -> list[int]:
    """The field's colour at every texel, with the rasteriser of its device; returns how many texels each block has."""
    from tetraview.engine.rendering.rasterizer import rasterizer_for
    from tetraview.engine.texturing.bake import Surface, sample_field

    surface = Surface(atlas, size.texture_px, rasterizer_for(reconstruction.device))
    blocks = (surface.texels(faces) for faces in surface.blocks())
    return [len(sample_field(reconstruction, block.points)) for block in blocks]


def _paint(reconstruction: Field, atlas: Any, views: dict[str, np.ndarray], size: Size) -> None:
    from tetraview.engine.texturing.texture import paint_texture

    paint_texture(reconstruction, atlas, views, CANONICAL_RIG, size.texture_px)


def _decode_in_tiles(pipeline: FourViewPipeline, latents: Tensor) -> None:
    """As `enable_low_memory` has it: tiles of a view's size."""
    vae = pipeline.vae
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = pipeline.view_px, pipeline.view_px // pipeline.vae_scale
    try:
        pipeline.decode_latents(latents)
    finally:
        vae.disable_tiling()


def _decode_in_bfloat16(pipeline: FourViewPipeline, latents: Tensor) -> None:
    """Its range is wide enough for SDXL's autoencoder; its precision is less."""
    dtype = pipeline.vae.dtype
    pipeline.vae.to(dtype=torch.bfloat16)
    try:
        pipeline.decode_latents(latents)
    finally:
        pipeline.vae.to(dtype=dtype)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="warm runs, after a cold one (default 3)")
    parser.add_argument("--steps", type=int, default=4, help="runs of the denoiser (default 4)")
    parser.add_argument("--compile", action="store_true", help="compile the denoiser's blocks and the plane U-Net")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the processor if there is no GPU")
    parser.add_argument("--output", type=Path, metavar="FILE", help="replace this file's section")
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    if not cuda and not options.rehearse:
        print("no CUDA GPU: not measured", file=sys.stderr)
        return 1
    diffusers_logging.set_verbosity_error()  # it warns of every change of precision
    device = torch.device("cuda" if cuda else "cpu")
    size = REHEARSAL if options.rehearse else FULL_SIZE
    start = time.perf_counter()
    models = make_models(size, device)
    counts = ", ".join(f"{name} {count / 1e6:,.1f} million" for name, count in models.parameters.items())
    print(f"weights: {counts}; made in {time.perf_counter() - start:.1f} s", flush=True)
    if options.compile:
        compile_models(models)
    clock, facts = Clock(device), ""
    for run in range(options.runs + 1):
        facts = make_asset(models, clock, options.steps)
        print(
            f"run {run}: {clock.total(('GPU',))[-1]:.3f} s in GPU phases, {clock.total(('GPU', 'CPU'))[-1]:.3f} s in all",
            flush=True,
        )
    name = torch.cuda.get_device_name(device) if cuda else "no GPU: a rehearsal, not a measurement"
    total = min(clock.total(("GPU",))[1:])
    goal = "" if options.rehearse else f" Goal {GOAL_S:g} s for the GPU phases: {'met' if total <= GOAL_S else 'NOT met'}."
    how = "Compiled" if options.compile else "Not compiled"
    about = f"{name}; {machine()}, {os.cpu_count()} logical processors."
    sizes = f"{how}. Weights: {counts}. {facts[0].upper()}{facts[1:]}.{goal}"
    text = f"{about}\n\n{sizes}\n\n{clock.report()}"
    print(text)
    if options.output:
        write_section(options.output, SECTIONS[options.compile], text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
