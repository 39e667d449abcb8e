"""Training of every model that ships. The reconstructor's files are here; each other model has a folder.

`loop` trains all of them: each model brings a `Task` (batches, loss, validation). `command` is `python -m tetraview train`,
`options` their shared options; `generator/`, `cutout/` and `text/` are models, `retrieval/` makes the bank of stored examples,
which is not trained. Studio side: the artist's programs never import it.
"""
