"""Make the bank of stored examples that painting may start from: choose, describe and score them; nothing is trained.

`build_bank` chooses objects and writes their pictures, `kinship` finds words that may stand for their nouns, `solidity`
measures how well each one reconstructs.
"""
