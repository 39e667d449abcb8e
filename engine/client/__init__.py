"""Blender's side of the engine: starts the engine process and talks to it. Standard library and numpy only."""

from .job import Job
from .locate import find_engine_python
from .process import EngineProcess, start_child

__all__ = ["EngineProcess", "Job", "find_engine_python", "start_child"]
