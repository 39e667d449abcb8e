"""Which Python runs the engine."""

from __future__ import annotations

import pytest
from tetraview.engine.client.locate import PYTHON_VARIABLE, environment_python, find_engine_python
from tetraview.engine.errors import EngineMissingError


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)


def python_at(path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return str(path)


def test_order_is_variable_preference_private(monkeypatch, tmp_path):
    with pytest.raises(EngineMissingError, match="not installed yet") as caught:
        find_engine_python(None, tmp_path)
    assert caught.value.fix == "tetraview.install_engine"
    private = python_at(environment_python(tmp_path))
    assert find_engine_python("", tmp_path) == private
    preferred = python_at(tmp_path / "preferred")
    assert find_engine_python(preferred, tmp_path) == preferred
    from_variable = python_at(tmp_path / "variable")
    monkeypatch.setenv(PYTHON_VARIABLE, from_variable)
    assert find_engine_python(preferred, tmp_path) == from_variable


def test_a_wrong_choice_is_never_passed_over(monkeypatch, tmp_path):
    python_at(environment_python(tmp_path))
    with pytest.raises(EngineMissingError, match="preferences"):
        find_engine_python(str(tmp_path / "gone"), tmp_path)
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(EngineMissingError, match=PYTHON_VARIABLE):
        find_engine_python(None, tmp_path)
