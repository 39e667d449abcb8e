"""What the artist sees: the sidebar tab, the add-on's preferences and their thumbnails. Nothing here does anything by itself."""


def _classes():
    from . import preferences, sidebar

    return (*preferences.CLASSES, *sidebar.CLASSES)


def register() -> None:
    import bpy

    from . import thumbnails

    thumbnails.register()
    for cls in _classes():
        bpy.utils.register_class(cls)


def unregister() -> None:
    import bpy

    from . import thumbnails

    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)
    thumbnails.unregister()
