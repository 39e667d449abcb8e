"""Tetraview: four photos in, a textured mesh in the Blender scene.

Blender calls `register` and `unregister`; the command line and the tests import this package without Blender.
"""

from __future__ import annotations


def register() -> None:
    from . import operators, panels

    operators.register()
    panels.register()


def unregister() -> None:
    from . import operators, panels

    panels.unregister()
    operators.unregister()
