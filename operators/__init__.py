"""Everything that does something in Blender: operators, their property groups, the link to the engine process.

Blender calls `register`; a newcomer reads `views.py` and `generate.py` first, then `task.py` (how any long job runs) and
`session.py` (the engine process). `mesh_builder.py`, `provenance.py` and `turntable.py` hold plain functions.
"""


def _classes():
    from . import arrival, diagnostics, generate, install, orbit, orbit_field, photos, prompt, variations, views

    modules = (arrival, prompt, photos, views, variations, orbit_field, generate, orbit, install, diagnostics)
    return tuple(cls for module in modules for cls in module.CLASSES)


def register() -> None:
    import bpy

    from . import arrival, file_changes, pictures, properties

    pictures.register()
    properties.register()
    for cls in _classes():
        bpy.utils.register_class(cls)
    bpy.types.STATUSBAR_HT_header.append(arrival.draw_status_bar)
    file_changes.register()


def unregister() -> None:
    import bpy

    from . import arrival, file_changes, pictures, player, properties, session, task

    player.stop()
    file_changes.unregister()
    bpy.types.STATUSBAR_HT_header.remove(arrival.draw_status_bar)
    arrival.stop()
    task.stop_timer()
    session.close()
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)
    properties.unregister()
    pictures.unregister()
