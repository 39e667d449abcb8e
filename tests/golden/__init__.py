"""Golden figures: what the product that ships measures on fixed inputs, so that no change of weights or code passes unseen.

`figures.json` holds the figures, `measure.py` measures them, and `make golden` writes them anew.
"""
