"""One request from start to end: its steps and its files.

`generate` is the whole path from request to asset. Its first two steps are `photos_phase` (framed views from photos or from an
earlier run) and `views_phase` (missing views are painted). `progress` runs steps and reports their progress, `folder` names a
job's files, `history` records the times of phases, `elevation_score` scores a camera elevation.
"""
