"""UV atlas, albedo texture and GLB of a finished mesh.

`atlas.unwrap` (charts -> flatten -> packing) -> `texture.paint_texture` (bake -> back_projection -> gutters) -> `glb.write_glb`.
Texels are found by `rendering.uv_raster.rasterize_uvs`: exact, numpy only, each texel centre in at most one face; or, on a GPU,
with the same rule by our kernel (`engine/rendering/rasterizer.py`).
"""
