"""Finds the stored example that painting begins from, and makes it fit: look-up and image editing, no network.

`example_bank` is the bank of pictures with captions and the way in. `prompts` takes a prompt apart, `noun_similarity`
compares its noun with those of the examples, `outline_similarity` compares pictures; `colours` recolours what was found, and
`unseen_views` changes it into the object that known views show.
"""
