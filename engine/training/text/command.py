"""`python -m tetraview train text`: the starter's token table, distilled from a sentence encoder."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

log = logging.getLogger(__name__)

SUMMARY = "the starter's token table, distilled from a sentence encoder and a dictionary"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments to its parser."""
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder of object packs: their captions' words are sure to be in the table")
    add("--sentence-encoder", required=True, metavar="DIR", help="a BERT-like encoder's folder: config.json, weights, vocab.txt")
    add("--wordnet", required=True, metavar="DIR", help="WordNet 3.0's folder: data.noun, index.noun ...")
    add("--out", default="out/generator", metavar="DIR", help="all stages' results; the table goes to OUT/text (%(default)s)")
    add("--threads", type=int, metavar="N", help="threads of the processor (all)")


def run(args: argparse.Namespace) -> int:
    """Run the stage; returns the exit status.

    Raises:
        EngineError: The encoder, the dictionary or the packs are missing.
    """
    import torch

    from .distill import distill

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    scores = distill(Path(args.sentence_encoder), Path(args.wordnet), Path(args.data), Path(args.out) / "text")
    for name, score in scores.items():
        log.info("%s: %s", name, score)
    return 0
