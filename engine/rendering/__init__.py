"""Pictures of fields and of meshes: volumetric rendering, rasterisers for CPU and GPU, the turntable.

`rasterizer` is the one interface to meshes; behind it are `embree`, `uv_raster` (which face covers each texel) and our kernels.
"""
