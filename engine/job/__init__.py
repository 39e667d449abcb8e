"""One request from start to end: what runs it, step by step, and where its files go.

`generate` is the whole path from request to asset. Its first two steps are `photos_phase` (framed views from photos or from an
earlier run) and `views_phase` (missing views are painted). `progress` runs steps and tells how far they are, `folder` names a
job's files, `history` remembers how long phases took, `elevation_score` judges a camera elevation.
"""
