"""The registry of shipped weights: complete, true, and strict about files that were changed."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open
from tetraview.engine.errors import WeightsError
from tetraview.engine.models import registry
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.models.registry import (
    SHIPPED_WEIGHTS,
    STARTER_GENERATOR,
    STARTER_MODEL,
    WEIGHTS_FILE,
    check_files,
    files_to_register,
    read_registry,
    sha256_of,
    write_registry,
)
from tetraview.engine.photos.starter_cutout import load_starter_cutout

MAX_BYTES = 60_000_000


def test_every_file_that_ships_is_registered_as_it_is() -> None:
    on_disk = {path.relative_to(SHIPPED_WEIGHTS).as_posix(): path for path in files_to_register()}
    registry = read_registry()
    assert registry.keys() == on_disk.keys(), "run scripts/register_weights.py after an export"
    for name, path in on_disk.items():
        assert (registry[name].sha256, registry[name].bytes) == (sha256_of(path), path.stat().st_size), name
    assert sum(entry.bytes for entry in registry.values()) <= MAX_BYTES


def test_nothing_ships_that_is_not_registered() -> None:
    others = {path.name for path in SHIPPED_WEIGHTS.rglob("*") if path.is_file()} - {path.name for path in files_to_register()}
    assert others == {"NOTICE.md", "registry.json"}


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
    (tmp_path / "starter" / "NOTICE.md").write_text("not read by a model")
    assert set(write_registry(tmp_path)) == {"starter/a.safetensors", "starter/config.json"}
    read_registry.cache_clear()
    yield tmp_path
    read_registry.cache_clear()


def test_whole_files_pass_and_tell_their_hash(shipped: Path) -> None:
    path = shipped / "starter" / "a.safetensors"
    assert check_files([path], shipped) == {path: sha256_of(path)}


@pytest.mark.parametrize("damage", ["changed", "cut short", "not registered"])
def test_a_shipped_file_that_is_not_as_registered_is_refused(shipped: Path, damage: str) -> None:
    path = shipped / "starter" / ("b.safetensors" if damage == "not registered" else "a.safetensors")
    path.write_bytes({"changed": b"weightS", "cut short": b"weigh", "not registered": b"weights"}[damage])
    with pytest.raises(WeightsError, match=rf"{path.name} is damaged or was replaced: install the extension again"):
        check_files([path], shipped)


def test_a_missing_file_or_registry_is_one_clear_sentence(shipped: Path) -> None:
    with pytest.raises(WeightsError, match=r"starter/gone\.safetensors cannot be read \(No such file .*\): install the ext"):
        check_files([shipped / "starter" / "gone.safetensors"], shipped)
    (shipped / "registry.json").write_text('{"starter/a.safetensors": ')
    with pytest.raises(WeightsError, match="install the extension again"):
        check_files([shipped / "starter" / "a.safetensors"], shipped)


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
    with pytest.raises(WeightsError, match=r"starter/reconstructor/.* is damaged or was replaced"):
        ModelCache().get(STARTER_MODEL, "cpu")
    with pytest.raises(WeightsError, match=r"starter/generator/.* is damaged or was replaced"):
        ModelCache().get_generator(STARTER_GENERATOR, "cpu")


@pytest.fixture(scope="module")
def copied_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path_factory.mktemp("package") / "weights")).resolve()


@pytest.fixture
def installed(copied_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Everything that ships, in a place where it may be damaged; whole again after each test."""
    monkeypatch.setattr(registry, "SHIPPED_WEIGHTS", copied_weights)
    load_starter_cutout.cache_clear()
    yield copied_weights
    load_starter_cutout.cache_clear()
    for name in read_registry():
        if not (copied_weights / name).is_file() or (copied_weights / name).read_bytes() != (SHIPPED_WEIGHTS / name).read_bytes():
            shutil.copy(SHIPPED_WEIGHTS / name, copied_weights / name)


def load_model_of(path: Path, weights: Path) -> None:
    """Load the one of the starter's models that a file belongs to."""
    part = weights / "starter" / path.relative_to(weights / "starter").parts[0]
    if part.name == "cutout":
        load_starter_cutout(part)
    elif part.name == "reconstructor":
        ModelCache().get(part, "cpu")
    else:
        assert ModelCache().get_generator(part, "cpu").examples is not None


@pytest.mark.parametrize("name", read_registry())
def test_a_changed_byte_in_any_file_that_ships_is_one_clear_sentence(installed: Path, name: str) -> None:
    """Weights, settings, vocabulary, captions, kinship of words, words of other languages."""
    path = installed / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    sentence = f"Tetraview's own file {name} is damaged or was replaced: install the extension again."
    with pytest.raises(WeightsError, match=f"^{re.escape(sentence)}$"):
        load_model_of(path, installed)


@pytest.mark.parametrize("name", ["examples/kin.json", "examples/words.tsv", "tokenizer/vocab.txt", "unet/config.json"])
def test_a_file_that_should_ship_and_is_gone_is_one_clear_sentence(installed: Path, name: str) -> None:
    path = installed / "starter" / "generator" / name
    path.unlink()
    with pytest.raises(WeightsError, match=rf"own file .*/{name} cannot be read \(No such.*\): install the extension again\.$"):
        load_model_of(path, installed)


def test_all_models_load_when_nothing_was_changed(installed: Path) -> None:
    for part in ("cutout", "reconstructor", "generator"):
        load_model_of(installed / "starter" / part / "config.json", installed)


def test_a_file_that_changes_while_the_models_are_kept_is_noticed(installed: Path) -> None:
    models = ModelCache()
    models.get(installed / "starter" / "reconstructor", "cpu")
    path = installed / "starter" / "reconstructor" / "config.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(WeightsError, match=r"config\.json is damaged or was replaced"):
        models.get(installed / "starter" / "reconstructor", "cpu")


@pytest.mark.parametrize("kind", ["weights", "settings"])
def test_a_download_in_the_hubs_cache_is_compared_with_its_name(tmp_path: Path, kind: str) -> None:
    """The cache keeps large files under their SHA-256, small ones under Git's hash, and links to them by their names."""
    content = b'{"sample_size": 32}'
    git = "be2764199355670161428cf1006245a33b7e8cf8"  # as `git hash-object` says
    blob = tmp_path / "blobs" / (hashlib.sha256(content).hexdigest() if kind == "weights" else git)
    blob.parent.mkdir()
    blob.write_bytes(content)
    link = tmp_path / "snapshots" / "abc" / "config.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert check_files([link]) == {link: sha256_of(link)}
    blob.write_bytes(content.replace(b"32", b"33"))
    with pytest.raises(WeightsError, match=r"^The file config\.json in .*abc is damaged or was replaced: download it again\.$"):
        check_files([link])
