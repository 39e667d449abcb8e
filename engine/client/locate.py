"""Find the Python that runs the engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import EngineMissingError

INSTALL_OPERATOR = "tetraview.install_engine"
PYTHON_VARIABLE = "TETRAVIEW_ENGINE_PYTHON"


def environment_python(home: Path) -> Path:
    """Path of the private environment's Python, as *Install engine* places it; it need not exist."""
    environment = home / "environment"
    return environment / "Scripts" / "python.exe" if sys.platform == "win32" else environment / "bin" / "python"


def find_engine_python(preference: str | None, home: Path) -> str:
    """Path of the Python that runs the engine.

    The environment variable `TETRAVIEW_ENGINE_PYTHON` comes first, then the add-on's preference, then the private
    environment under `home`. What was named explicitly is never passed over in silence.

    Args:
        preference: The path in the add-on's preferences; empty or None if the artist chose none.
        home: The engine's home.

    Raises:
        EngineMissingError: The path named does not exist, or nothing is installed.
    """
    from_variable = os.environ.get(PYTHON_VARIABLE, "").strip()
    if from_variable:
        if not Path(from_variable).is_file():
            raise EngineMissingError(f"{PYTHON_VARIABLE} names {from_variable}, which does not exist: correct or unset it.")
        return from_variable
    chosen = (preference or "").strip()
    if chosen:
        if not Path(chosen).expanduser().is_file():
            raise EngineMissingError(f"The engine's Python in the preferences, {chosen}, does not exist: clear or correct it.")
        return str(Path(chosen).expanduser())
    private = environment_python(home)
    if not private.is_file():
        raise EngineMissingError(
            "The engine is not installed yet: press Install Engine in the add-on's preferences.", fix=INSTALL_OPERATOR
        )
    return str(private)
