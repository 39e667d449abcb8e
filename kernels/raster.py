"""Triangle rasteriser for views and for maps of UVs, and interpolation at what it hits: the front of `raster.cu`.

Works wherever torch does: by its kernels where `programs` can run them, else by the torch twin. Both functions are custom
operators, so that torch.compile keeps them whole; coverage is computed in float64 (on MPS, which has none, in float32).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import reference_raster
from .programs import program
from .reference_raster import Raster

TILE = 8
"""Side in pixels of the squares that are handed out; so many threads take one."""
DEFINITIONS = {"TILE": TILE}
VARIANTS = (DEFINITIONS,)
"""All the definitions that `raster.cu` is compiled with."""
MAX_SIDE = 32768
_THREADS = 128
_MAX_BLOCKS = 1 << 20


def runs_on(device: torch.device) -> bool:
    """Whether kernels do the work there, not the twin."""
    return program("raster", DEFINITIONS, device) is not None


def rasterize(points: Tensor, faces: Tensor, height: int, width: int) -> Raster:
    """The nearest triangle in front of the eye at each pixel's centre; of several at one depth, that of lowest index.

    Exact: of two triangles on either side of an edge, exactly one gets a pixel there. Triangles may lie behind the eye, cross its
    plane, or reach out of the image. Both their sides are seen. Takes no gradients.

    Args:
        points: float [V, 3], (x w, y w, w): x right and y down in the image, pixels, the first pixel's centre at 0.5; w the
            depth. A map of UVs is rasterised with w = 1.
        faces: int64 [F, 3].
        height, width: Size of the image, 1 to `MAX_SIDE` pixels.

    Returns:
        A Raster on the device of the points. Triangles without area as seen from the eye, or with a corner that is not finite or
        beyond `reference_raster.LIMIT`, cover nothing.

    Raises:
        ValueError: A shape, dtype, device, size or index is wrong.

    Olano and Greer 1997, Triangle Scan Conversion using 2D Homogeneous Coordinates, https://doi.org/10.1145/258694.258723
    """
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"points: expected float [V, 3], got {points.dtype} {tuple(points.shape)}")
    _check_faces(faces, points)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(f"an image of {height} x {width} pixels; both sides must be 1 to {MAX_SIDE}")
    precise = points.detach().to(torch.float32 if points.device.type == "mps" else torch.float64)
    return Raster(*_rasterize(precise, faces, height, width))


def interpolate(values: Tensor, faces: Tensor, face_index: Tensor, barycentrics: Tensor) -> Tensor:
    """Values given at corners, at the pixels of a raster. Gradients flow to the values only.

    Args:
        values: float32 [V, C].
        faces: int64 [F, 3], indices into `values` (those of the positions, or others: UVs have their own).
        face_index: int64 [...], indices into `faces`; -1 for none.
        barycentrics: float32 [..., 3].

    Returns:
        float32 [..., C], zero where there is no triangle.

    Raises:
        ValueError: A shape, dtype, device or index is wrong.
    """
    if values.ndim != 2 or values.dtype != torch.float32:
        raise ValueError(f"values: expected float32 [V, C], got {values.dtype} {tuple(values.shape)}")
    _check_faces(faces, values)
    if face_index.dtype != torch.int64 or face_index.device != values.device:
        raise ValueError(f"face_index: expected int64 on {values.device}, got {face_index.dtype} on {face_index.device}")
    if (
        barycentrics.shape != (*face_index.shape, 3)
        or barycentrics.dtype != torch.float32
        or barycentrics.device != values.device
    ):
        raise ValueError(
            f"barycentrics: expected float32 {(*face_index.shape, 3)} on {values.device}, "
            f"got {barycentrics.dtype} {tuple(barycentrics.shape)} on {barycentrics.device}"
        )
    return _interpolate(values, faces, face_index, barycentrics.detach())


def _check_faces(faces: Tensor, values: Tensor) -> None:
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64 or faces.device != values.device:
        raise ValueError(
            f"faces: expected int64 [F, 3] on {values.device}, got {faces.dtype} {tuple(faces.shape)} on {faces.device}"
        )


def _check_range(faces: Tensor, n_values: int) -> None:
    if len(faces):
        low, high = (int(end) for end in faces.aminmax())
        if low < 0 or high >= n_values:
            raise ValueError(f"faces index {low}..{high}, but there are {n_values} values")


@torch.library.custom_op("tetraview::rasterize", mutates_args=())
def _rasterize(points: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    _check_range(faces, len(points))
    kernels = program("raster", DEFINITIONS, points.device)
    if kernels is None:
        face_index, barycentrics, distance = reference_raster.rasterize(points, faces, height, width)
        return face_index, barycentrics, distance
    points, faces = points.contiguous(), faces.contiguous()
    n_faces, n_pixels = len(faces), height * width
    nearest = points.new_full((n_pixels,), -1, dtype=torch.int64)  # as unsigned, the largest there is
    if n_faces:
        rectangles = points.new_empty((n_faces, 4), dtype=torch.int32)
        tiles = points.new_empty(n_faces, dtype=torch.int64)
        kernels.launch(
            "bound_triangles", -(-n_faces // _THREADS), _THREADS, [points, faces, rectangles, tiles, n_faces, height, width]
        )
        ends = tiles.cumsum(0)
        n_pairs = int(ends[-1])
        blocks = min(-(-n_pairs * TILE // _THREADS), _MAX_BLOCKS)
        kernels.launch("cover_tiles", blocks, _THREADS, [points, faces, rectangles, ends, nearest, n_faces, n_pairs, width])
    face_index = torch.empty_like(nearest)
    barycentrics = points.new_empty((n_pixels, 3), dtype=torch.float32)
    depth = points.new_empty(n_pixels, dtype=torch.float32)
    kernels.launch(
        "resolve_pixels",
        -(-n_pixels // _THREADS),
        _THREADS,
        [points, faces, nearest, face_index, barycentrics, depth, n_pixels, width],
    )
    return face_index.reshape(height, width), barycentrics.reshape(height, width, 3), depth.reshape(height, width)


@_rasterize.register_fake
def _(points: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        faces.new_empty((height, width)),
        points.new_empty((height, width, 3), dtype=torch.float32),
        points.new_empty((height, width), dtype=torch.float32),
    )


@torch.library.custom_op("tetraview::interpolate_raster", mutates_args=())
def _interpolate(values: Tensor, faces: Tensor, face_index: Tensor, barycentrics: Tensor) -> Tensor:
    _check_range(faces, len(values))
    if face_index.numel() and int(face_index.max()) >= len(faces):
        raise ValueError(f"face_index goes up to {int(face_index.max())}, but there are {len(faces)} faces")
    kernels = program("raster", DEFINITIONS, values.device)
    if kernels is None:
        return reference_raster.interpolate(values, faces, face_index, barycentrics)
    out = values.new_empty((*face_index.shape, values.shape[1]))
    blocks = min(-(-out.numel() // 256), _MAX_BLOCKS)
    inputs = (tensor.contiguous() for tensor in (values, faces, face_index, barycentrics))
    kernels.launch("interpolate_pixels", blocks, 256, [*inputs, out, face_index.numel(), values.shape[1]])
    return out


@_interpolate.register_fake
def _(values: Tensor, faces: Tensor, face_index: Tensor, barycentrics: Tensor) -> Tensor:
    return values.new_empty((*face_index.shape, values.shape[1]))


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
    values, faces, face_index, barycentrics = inputs
    ctx.save_for_backward(faces, face_index, barycentrics)
    ctx.n_values = len(values)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    faces, face_index, barycentrics = ctx.saved_tensors
    channels = grad.shape[-1]
    hit = face_index.clamp(min=0).reshape(-1)
    weights = barycentrics * (face_index >= 0)[..., None]
    parts = (weights[..., None] * grad[..., None, :]).reshape(-1, channels)  # [N * 3, C]
    into = faces[hit].reshape(-1) if len(faces) else faces.new_zeros(0)
    return grad.new_zeros(ctx.n_values, channels).index_add(0, into, parts[: len(into)]), None, None, None


_interpolate.register_autograd(_backward, setup_context=_remember)
