"""Devices degrade with a message, never refuse."""

from __future__ import annotations

import pytest
import torch
from tetraview.engine import devices
from tetraview.engine.devices import choose_device, usable_devices, use_all_cores


def pretend(monkeypatch, *kinds: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)
    monkeypatch.setattr(devices, "_computes", lambda device: True)


@pytest.mark.parametrize(
    ("kinds", "preference", "name", "noted"),
    [
        ((), "auto", "cpu", False), ((), "cpu", "cpu", False), ((), "cuda", "cpu", True), ((), "mps", "cpu", True),
        (("cuda",), "auto", "cuda", False), (("cuda",), "cpu", "cpu", False), (("cuda",), "cuda:1", "cuda:1", False),
        (("cuda",), "cuda:7", "cuda", True), (("cuda",), "cuda:x", "cuda", True), (("cuda",), "mps", "cuda", True),
        (("mps",), "auto", "mps", False), (("mps",), "cuda:0", "mps", True), (("cuda", "mps"), "auto", "cuda", False),
    ],
)  # fmt: skip
def test_choice(monkeypatch, kinds, preference, name, noted):
    pretend(monkeypatch, *kinds)
    choice = choose_device(preference)
    assert choice.name == name and bool(choice.note) == noted


def test_a_gpu_that_cannot_compute_is_passed_over(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no kernel image")))
    assert usable_devices()[0] != "cuda"


def test_threads_follow_the_environment(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert use_all_cores() == 1 == torch.get_num_threads()
        monkeypatch.setenv("OMP_NUM_THREADS", "many")
        assert use_all_cores() >= 1
    finally:
        torch.set_num_threads(before)
