"""Evaluation from photos instead of clean views: no common frame, backgrounds, noise, wrong cameras.

`photos` says which kinds there are and takes them, `backgrounds` has the places, `measure` runs one object of one kind,
`alignment` takes scale and place out of the comparison, `command` is `python -m tetraview evaluate --hard`.
"""
