"""The user interface: the sidebar tab and the add-on's preferences. Panels only draw."""


def _classes():
    from . import preferences, sidebar, source

    return (*preferences.CLASSES, *source.CLASSES, *sidebar.CLASSES)


def register() -> None:
    import bpy

    for cls in _classes():
        bpy.utils.register_class(cls)


def unregister() -> None:
    import bpy

    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)
