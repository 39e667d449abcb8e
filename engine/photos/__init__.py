"""From photo files to framed views: reading, cutting out, judging, balancing, framing, finding the elevation.

`intake.prepare_views` is the way through all of it.
"""
