"""Objects to learn from and to measure against: packs of textured meshes, mesh files, and their rendering by ray casting.

Studio side: nothing an artist runs imports it.
"""
