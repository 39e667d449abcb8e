"""Makes the bank of stored examples that painting may begin from: chosen, described and scored; nothing here is trained.

`build_bank` chooses objects and writes their pictures, `kinship` finds the words that may stand for their nouns, `solidity`
measures how well each one reconstructs.
"""
