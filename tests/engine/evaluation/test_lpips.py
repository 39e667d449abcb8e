"""LPIPS against its definition computed with torchvision's layer layout, on random weights in the published file formats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tetraview.engine.errors import WeightsError
from tetraview.engine.evaluation.lpips import BACKBONES, Lpips, find_lpips
from torch import nn

VGG_LAYOUT = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]


def _features(net: str) -> nn.Sequential:
    """`torchvision.models.alexnet().features` or `vgg16().features`, layer by layer."""
    if net == "alex":
        return nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG_LAYOUT:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


LAST_RELUS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # slices of the authors' implementation end after these


@pytest.fixture(params=["alex", "vgg"])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, nn.Sequential, list[torch.Tensor], Path]:
    """Random weights in a folder: the network, its backbone, its linear layers and where they lie."""
    net = request.param
    torch.manual_seed(3)
    features = _features(net).eval()
    linear, channels = [], 0
    for index, layer in enumerate(features):
        channels = layer.out_channels if isinstance(layer, nn.Conv2d) else channels
        if index in LAST_RELUS[net]:
            linear.append(torch.rand(1, channels, 1, 1))
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, tmp_path / BACKBONES[net].file)
    torch.save({f"lin{i}.model.1.weight": value for i, value in enumerate(linear)}, tmp_path / f"{net}.pth")
    return net, features, linear, tmp_path


@torch.no_grad()
def test_matches_the_definition(weights: tuple[str, nn.Sequential, list[torch.Tensor], Path]) -> None:
    net, features, linear, folder = weights
    source = find_lpips(net, folder)
    assert source.metric is not None and source.reason == ""
    assert set(source.sha256) == {BACKBONES[net].file, f"{net}.pth"}
    images, truth = torch.rand(2, 3, 80, 72), torch.rand(2, 3, 80, 72)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    expected = torch.zeros(2)
    for n in range(2):
        x, y = (((2 * im[n] - 1) - shift[:, None, None]) / scale[:, None, None] for im in (images, truth))
        x, y = x[None], y[None]
        weight = iter(linear)
        for index, layer in enumerate(features):
            x, y = layer(x), layer(y)
            if index in LAST_RELUS[net]:
                unit_x, unit_y = (t / (torch.linalg.vector_norm(t, dim=1, keepdim=True) + 1e-10) for t in (x, y))
                expected[n] += ((unit_x - unit_y) ** 2 * next(weight)).sum(1).mean()
    result = source.metric(images, truth)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6)
    assert (result > 0).all()
    assert source.metric(images, images).abs().max() < 1e-7


def test_missing_weights_say_which_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TETRAVIEW_LPIPS", str(tmp_path / "mine"))
    source = find_lpips("alex")
    assert source.metric is None and source.sha256 == {}
    for part in ("alexnet-owt-7be5be79.pth", str(tmp_path / "mine"), str(tmp_path / "hub")):
        assert part in source.reason


def test_damaged_or_foreign_weights_are_named(tmp_path: Path) -> None:
    good_linear = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate((64, 192, 384, 256, 256))}
    backbone = {f"features.{name}": value for name, value in _features("alex").state_dict().items()}
    torch.save(good_linear, tmp_path / "alex.pth")
    torch.save(backbone, tmp_path / "backbone.pth")
    assert isinstance(Lpips.from_files(tmp_path / "backbone.pth", tmp_path / "alex.pth"), Lpips)
    torch.save({**backbone, "features.3.weight": torch.rand(5)}, tmp_path / "foreign.pth")
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({k: v for k, v in good_linear.items() if "lin4" not in k}, tmp_path / "short.pth")
    for backbone_file, linear_file, named in (
        ("foreign.pth", "alex.pth", r"foreign\.pth.*features\.3\.weight"),
        ("damaged.pth", "alex.pth", r"damaged\.pth"),
        ("list.pth", "alex.pth", r"list\.pth"),
        ("backbone.pth", "short.pth", r"short\.pth.*lin4"),
    ):
        with pytest.raises(WeightsError, match=named):
            Lpips.from_files(tmp_path / backbone_file, tmp_path / linear_file)
