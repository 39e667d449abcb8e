"""Objects to learn from and to measure against: packs of textured meshes, mesh files, and their rendering by ray casting.

Studio side: the artist's programs never import it.
"""
