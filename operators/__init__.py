"""Everything that does something in Blender: operators, their property groups, the link to the engine process.

Blender calls `register`; a newcomer reads `generate.py` first, then `task.py` (how any long job runs) and `session.py`
(the engine process). `mesh_builder.py`, `turntable.py` and `gif.py` hold plain functions.
"""


def _classes():
    from . import diagnostics, generate, install, orbit, photos

    return (*photos.CLASSES, *generate.CLASSES, *orbit.CLASSES, *install.CLASSES, *diagnostics.CLASSES)


def register() -> None:
    import bpy

    from . import properties

    properties.register()
    for cls in _classes():
        bpy.utils.register_class(cls)


def unregister() -> None:
    import bpy

    from . import properties, session

    session.close()
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)
    properties.unregister()
