"""Triangle rasteriser for views and for maps of UVs, and interpolation at what it hits: the front of `raster.cu`.

Works wherever torch does: by its kernels where `programs` can run them, else by the torch twin. Both functions are custom
operators, so that torch.compile keeps them whole; coverage is computed in float64 (on MPS, which has none, in float32).
"""

from __future__ import annotations

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
