"""A reconstructor for every test of this folder."""

from __future__ import annotations

import pytest
import torch
from tetraview.engine.reconstructor import Reconstructor

from .models import TINY


@pytest.fixture(scope="session")
def tiny() -> Reconstructor:
    torch.manual_seed(0)
    model = Reconstructor(**TINY).eval()
    with torch.no_grad():  # an untrained model has zeros where it must be seen that planes matter
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.decoder.initialise_sdf_from_density(0.02)
    return model
