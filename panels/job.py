"""Parts shared by the panels: the running job, and the last error."""

from .text import draw_wrapped, duration

FIXES = {
    "preferences": ("tetraview.open_preferences", "Open Preferences", "PREFERENCES", {"page": "ADDON"}),
    "preferences.system": ("tetraview.open_preferences", "Open System Preferences", "PREFERENCES", {"page": "SYSTEM"}),
    "tetraview.install_engine": ("tetraview.install_engine", "Install Engine", "IMPORT", {}),
}
"""The button of each error's `fix`: operator, text, icon, properties."""

JOB_NAMES = {
    "VIEWS": "Painting the views",
    "VARIATIONS": "Painting variations",
    "FIELD": "Turning the views",
    "GENERATE": "Making the mesh",
    "ORBIT": "Rendering the orbit",
    "INSTALL": "Installing the engine",
}


def draw_job(layout, context) -> None:
    """Progress of the running job and its Cancel button."""
    status = context.window_manager.tetraview
    column = layout.column(align=True)
    text = f"{status.fraction:.0%}"
    if status.eta_s >= 0:
        text += f"   about {duration(status.eta_s)} left"
    column.progress(factor=status.fraction, type="BAR", text=text)
    row = column.row(align=True)
    row.scale_y = 1.4
    row.operator("tetraview.cancel", text="Cancelling…" if status.cancelling else "Cancel", icon="X")
    column.label(text=status.message or JOB_NAMES.get(status.kind, ""), icon="SORTTIME", translate=False)


def draw_error(layout, context) -> None:
    """The last error in a box with the button that fixes it."""
    status = context.window_manager.tetraview
    if not status.error:
        return
    box = layout.box()
    row = box.row()
    text = row.column()
    text.alert = True
    draw_wrapped(text, status.error, context.region.width - 90, icon="ERROR")
    row.operator("tetraview.dismiss", text="", icon="X", emboss=False)
    buttons = box.column(align=True)
    if status.error_fix in FIXES:
        operator, label, icon, values = FIXES[status.error_fix]
        button = buttons.operator(operator, text=label, icon=icon)
        for key, value in values.items():
            setattr(button, key, value)
    buttons.operator("tetraview.copy_report", text="Copy Report", icon="COPYDOWN")
