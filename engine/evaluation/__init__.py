"""Measure the engine: show it objects as four views or as photos, and compare its results with the truth.

`command` is `python -m tetraview evaluate`; `run` measures one object by the rules of `scoring`; `report`, `sheet` and `gallery`
write the outcome; `hard/` does the same with photos instead of clean views; `busy_backgrounds` photographs subjects for cut-outs.
Studio side: nothing an artist runs imports it.
"""
