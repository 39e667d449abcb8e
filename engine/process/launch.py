"""Starts the engine process, `ENGINE_PYTHON -I launch.py --home HOME`, or a command: `launch.py COMMAND ...`.

Loads this package from the folder it lies in, under the name `tetraview`, whatever that folder is called and
whatever else is installed, and runs its worker or its command line. Blender never imports this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "tetraview"


def load_package(root: Path, name: str = PACKAGE) -> ModuleType:
    """Import the package in folder `root` under `name`, without touching `sys.path`.

    Raises:
        ImportError: `root` holds no package.
    """
    spec = importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=[str(root)])
    if spec is None or spec.loader is None:
        raise ImportError(f"no package in {root}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    load_package(Path(__file__).resolve().parents[2])
    module = "process.worker" if sys.argv[1:2] == ["--home"] else "cli"
    sys.exit(importlib.import_module(f"{PACKAGE}.engine.{module}").main(sys.argv[1:]))
