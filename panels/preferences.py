"""The add-on's preferences: is the engine there, where does it keep its files, what does it run on."""

import bpy
from bpy.props import EnumProperty, StringProperty

from ..operators.properties import DEVICE_ITEMS, addon_id, engine_changed
from .job import draw_error, draw_job
from .text import draw_wrapped


class TETRAVIEW_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = addon_id()

    device: EnumProperty(
        name="Device",
        description="Hardware that the engine runs on",
        items=DEVICE_ITEMS,
    )
    variant: EnumProperty(
        name="Build",
        description="Which build of the engine to install",
        items=(
            ("auto", "Automatic", "What fits this computer"),
            ("cpu", "Processor", "Smallest download"),
            ("cuda", "NVIDIA (CUDA)", "Fastest, several GB"),
            ("mps", "Apple (Metal)", "For Apple computers"),
        ),
    )
    home: StringProperty(
        name="Data Folder",
        description="Where the engine, your results and its logs are kept; empty: the extension's own folder",
        subtype="DIR_PATH",
        update=engine_changed,
    )
    engine_python: StringProperty(
        name="Python",
        description="For developers: a Python that has the engine's packages; empty: the one that Install Engine makes",
        subtype="FILE_PATH",
        update=engine_changed,
    )

    generator: StringProperty(
        name="Generator",
        description="For developers: a folder with other weights of the four-view generator; empty: those of the extension",
        subtype="DIR_PATH",
    )

    def draw(self, context):
        layout, status = self.layout, context.window_manager.tetraview
        box = layout.box()
        box.label(text="Engine", icon="SYSTEM")
        if status.engine_ready:
            box.label(text="Ready: the engine is installed.", icon="CHECKMARK")
        else:
            draw_wrapped(box, status.engine_problem, context.region.width - 80, icon="ERROR")
        if not bpy.app.online_access:
            row = box.row()
            row.label(text="Blender is offline: only installing needs it.", icon="INTERNET_OFFLINE")
            row.operator("tetraview.open_preferences", text="Online Access").page = "SYSTEM"
        if status.running and status.kind == "INSTALL":
            draw_job(box, context)
        else:
            row = box.row(align=True)
            row.scale_y = 1.3
            row.operator(
                "tetraview.install_engine",
                text="Repair or Update Engine…" if status.engine_ready else "Install Engine…",
                icon="IMPORT",
            )
            row.operator("tetraview.remove_engine", text="", icon="TRASH")
        draw_error(box, context)
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(self, "device")
        column.prop(self, "variant")
        column.prop(self, "home")
        column.prop(self, "engine_python")
        column.prop(self, "generator")
        row = layout.row(align=True)
        row.operator("tetraview.open_folder", text="Open Data Folder", icon="FILE_FOLDER").folder = ""
        row.operator("tetraview.copy_report", icon="COPYDOWN")


CLASSES = (TETRAVIEW_AP_preferences,)
