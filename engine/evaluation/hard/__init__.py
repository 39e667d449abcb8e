"""Evaluation from photos instead of clean views: no common frame, backgrounds, noise, wrong cameras.

`photos` defines and takes the kinds of photos, `backgrounds` makes the places, `measure` runs one object of one kind,
`alignment` removes scale and place from the comparison, `command` is `python -m tetraview evaluate --hard`.
"""
