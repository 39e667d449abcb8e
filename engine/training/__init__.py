"""Training of every model that ships. The reconstructor's files lie here, each other model has a folder.

`loop` trains all of them: each model brings a `Task` (batches, loss, validation). `command` is `python -m tetraview train`,
`options` what its models share; `generator/`, `cutout/` and `text/` are models, `retrieval/` makes the bank of stored examples,
which is not trained. Studio side: nothing an artist runs imports it.
"""
