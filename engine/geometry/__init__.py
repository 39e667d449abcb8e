"""From a signed distance field to a clean mesh within a budget.

`lattice` and `tables` define the samples and the triangles, `marching_tets` marches, `extract` does so coarse to fine,
`cleanup` drops invisible parts, `normals` shades, `simplify` meets the budget. Fields are positive inside; `verts` are float32
[V, 3] in world units, `faces` [F, 3] counter-clockwise seen from outside.
"""
