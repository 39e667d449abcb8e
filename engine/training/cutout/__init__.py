"""Training of the starter's cut-out network: rendered objects in front of procedural backgrounds, made on the fly.

`surfaces.py`: textures; `backdrops.py`: rooms, tables and clutter made of them; `scenes.py`: a subject lit, placed, shadowed
and photographed; `trainer.py`: the loss and the steps; `command.py`: the command line.
"""
