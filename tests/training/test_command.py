"""The command line of the reconstructor's training."""

from __future__ import annotations

import argparse

import pytest
from tetraview.engine.training import command


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    return parser


def test_sources_are_weighted_by_name(parser: argparse.ArgumentParser) -> None:
    args = parser.parse_args(["reconstructor", "--data", "d", "--source-weight", "ycb=3", "--source-weight", "a=b=0.5"])
    assert dict(args.source_weight) == {"ycb": 3.0, "a=b": 0.5}


@pytest.mark.parametrize("text", ["ycb", "ycb=", "=3", "ycb=many", "ycb=-1", "ycb=nan"])
def test_another_kind_of_weight_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not SOURCE=WEIGHT"):
        command.source_weight(text)
