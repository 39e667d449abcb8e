"""The four-view generator: from a prompt, or from fewer photos, to four orthogonal views.

`pipeline.py` reads from top to bottom as the eight steps of `FourViewPipeline.__call__`. `grid.py`: where a view lies in the
image; `start.py`: the blobs it begins from; `known_views.py`: arrays to images and back; `conditions.py`: the prompt;
`denoising.py`: what inference and training share; `saving.py`: folders of weights; `configs.py`: sizes; `text/`: the starter's
own text encoder. A new size is a new set of components in `configs.py`, not a new pipeline.
"""
