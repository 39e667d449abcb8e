"""The engine of Tetraview. Importing this package imports neither torch nor Blender."""

from .version import __version__

__all__ = ["__version__"]
