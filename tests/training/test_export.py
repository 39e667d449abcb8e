"""The weights that ship: half precision, readable by all, no path of the machine that made them."""

from __future__ import annotations

import json
import os

import pytest
import torch
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.training.export import export_weights


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    model = Reconstructor(input_px=32, channels=(16, 16), plane_channels=8, plane_px=16, shallow_channels=4, hidden=16)
    model.save_pretrained(tmp_path / "trained")
    return model, tmp_path / "trained"


def test_exported_weights_are_the_trained_ones_in_half_precision(trained, tmp_path):
    model, source = trained
    target = tmp_path / "package" / "reconstructor"
    size = export_weights(source, target)
    file = target / "diffusion_pytorch_model.safetensors"
    assert sorted(path.name for path in target.iterdir()) == ["config.json", file.name]
    assert size == file.stat().st_size < sum(p.numel() for p in model.parameters()) * 2 + 20_000
    loaded = Reconstructor.from_pretrained(target)
    for (name, one), two in zip(model.named_parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(two.float(), one.half().float(), msg=name)
    assert "path" not in json.dumps(json.loads((target / "config.json").read_text()))
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o644


def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay(trained, tmp_path):
    model, source = trained
    target = tmp_path / "package"
    export_weights(source, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with torch.no_grad():
        model.decoder.trunk.weight[0, 0] = 1e6
    model.save_pretrained(source)
    with pytest.raises(ValueError, match=r"decoder\.trunk\.weight does not fit float16"):
        export_weights(source, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
