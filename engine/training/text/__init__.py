"""Training-time side of the starter's text encoder: its vocabulary and its token table. Never imported at run time."""
