"""The registry of shipped weights: complete, true, and strict about files that were changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open
from tetraview.engine.errors import WeightsError
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.models.registry import (
    SHIPPED_WEIGHTS,
    STARTER_GENERATOR,
    STARTER_MODEL,
    WEIGHTS_FILE,
    check_shipped,
    files_to_register,
    read_registry,
    sha256_of,
    write_registry,
)

MAX_BYTES = 60_000_000


def test_every_file_that_ships_is_registered_as_it_is() -> None:
    on_disk = {path.relative_to(SHIPPED_WEIGHTS).as_posix(): path for path in files_to_register()}
    registry = read_registry()
    assert registry.keys() == on_disk.keys(), "run scripts/register_weights.py after an export"
    for name, path in on_disk.items():
        assert (registry[name].sha256, registry[name].bytes) == (sha256_of(path), path.stat().st_size), name
    assert sum(entry.bytes for entry in registry.values()) <= MAX_BYTES


def test_no_weight_ships_wider_than_half_precision() -> None:
    for path in SHIPPED_WEIGHTS.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            wide = [name for name in file.keys() if file.get_slice(name).get_dtype() in ("F32", "F64")]  # noqa: SIM118
        assert not wide, f"{path.name}: {wide[:3]}"


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Path]:
    """A small set of shipped weights: what the registry is told of, and its folder."""
    (tmp_path / "starter").mkdir()
    (tmp_path / "starter" / "a.safetensors").write_bytes(b"weights")
    (tmp_path / "starter" / "config.json").write_text("{}")
    (tmp_path / "starter" / "NOTICE.md").write_text("not a weight")
    assert set(write_registry(tmp_path)) == {"starter/a.safetensors", "starter/config.json"}
    read_registry.cache_clear()
    yield tmp_path
    read_registry.cache_clear()


def test_whole_files_pass_and_tell_their_hash(shipped: Path) -> None:
    path = shipped / "starter" / "a.safetensors"
    assert check_shipped([path], shipped) == {path: sha256_of(path)}


@pytest.mark.parametrize("damage", ["changed", "cut short", "not registered"])
def test_a_shipped_file_that_is_not_as_registered_is_refused(shipped: Path, damage: str) -> None:
    path = shipped / "starter" / ("b.safetensors" if damage == "not registered" else "a.safetensors")
    path.write_bytes({"changed": b"weightS", "cut short": b"weigh", "not registered": b"weights"}[damage])
    with pytest.raises(WeightsError, match=rf"{path.name} are damaged or were replaced: install the extension again"):
        check_shipped([path], shipped)


def test_a_missing_file_or_registry_is_one_clear_sentence(shipped: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.safetensors .* cannot be read \(No such file"):
        check_shipped([shipped / "starter" / "gone.safetensors"], shipped)
    (shipped / "registry.json").write_text('{"starter/a.safetensors": ')
    with pytest.raises(WeightsError, match="install the extension again"):
        check_shipped([shipped / "starter" / "a.safetensors"], shipped)


def test_an_artists_own_weights_are_only_hashed(tmp_path: Path) -> None:
    """Copies of the starter in another folder, and changed ones, load: whoever trains needs no registry."""
    folder = tmp_path / "mine"
    shutil.copytree(STARTER_MODEL, folder)
    loaded = ModelCache().get(folder, "cpu")
    assert loaded.sha256 == {f"mine/{WEIGHTS_FILE}": sha256_of(folder / WEIGHTS_FILE)}


def test_the_starter_that_was_exchanged_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = dict(read_registry())
    for name, entry in entries.items():
        if name.endswith(".safetensors"):
            entries[name] = type(entry)("0" * 64, entry.bytes)
    monkeypatch.setattr("tetraview.engine.models.registry.read_registry", lambda root: entries)
    with pytest.raises(WeightsError, match=r"starter/reconstructor/.* damaged or were replaced"):
        ModelCache().get(STARTER_MODEL, "cpu")
    with pytest.raises(WeightsError, match=r"starter/generator/.* damaged or were replaced"):
        ModelCache().get_generator(STARTER_GENERATOR, "cpu")
