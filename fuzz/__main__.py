"""`python -m fuzz TARGET --seconds N [--corpus DIR]`: run one target with atheris, from its seeds; needs atheris installed."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from . import TARGETS

SEEDS = Path(__file__).resolve().parents[1] / "tests" / "fuzz_seeds"
MAX_BYTES, SLOWEST_S, MOST_MB = 65_536, 20, 4096


def main() -> None:
    """Fuzz; libFuzzer ends the process, with a status other than 0 after a finding, which it leaves in the corpus' folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--corpus", type=Path, default=Path("out/fuzz"), help="where what was found is kept")
    args = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["tetraview", "PIL", "json"]):
        target = importlib.import_module(f"fuzz.{args.target}")
    corpus = args.corpus / args.target
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={args.seconds}", f"-max_len={MAX_BYTES}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MOST_MB}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus}-", str(corpus), str(SEEDS / args.target)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
