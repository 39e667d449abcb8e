"""A reconstructor for every test of the evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tetraview.engine.reconstructor import Reconstructor


@pytest.fixture(scope="session")
def hull_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reconstructor whose object is the visual hull, solid and coloured by the views: what it makes can be foretold."""
    torch.manual_seed(0)
    model = Reconstructor(
        input_px=64, patch_px=4, channels=(16, 32), attention_px=4, head_dim=16, plane_channels=8, plane_px=16,
        shallow_channels=4, hidden=16, octaves=2,
    )  # fmt: skip
    with torch.no_grad():
        for head, value in ((model.decoder.sdf, 1.0), (model.decoder.density, 6.0)):
            head.weight.zero_()
            head.bias.fill_(value)
    folder = tmp_path_factory.mktemp("model") / "reconstructor"
    model.save_pretrained(folder)
    return folder
