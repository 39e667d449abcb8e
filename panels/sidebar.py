"""The sidebar tab of the 3-D view, from top to bottom: source, views, mesh, result."""

import bpy

from .job import draw_error
from .result import draw_generate, draw_mesh, draw_result
from .source import draw_source
from .strip import draw_strip
from .text import draw_wrapped

TURNTABLE_KEY = "tetraview_turntable"


class TETRAVIEW_PT_main(bpy.types.Panel):
    bl_label = "Tetraview"
    bl_idname = "TETRAVIEW_PT_main"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Tetraview"

    def draw(self, context):
        layout = self.layout
        status = context.window_manager.tetraview
        if TURNTABLE_KEY in context.scene:
            self._draw_turntable(layout)
            return
        if not status.engine_ready and not status.running:
            self._draw_no_engine(layout, context)
        draw_source(layout, context)
        draw_strip(layout, context)
        draw_mesh(layout, context)
        draw_generate(layout, context)
        draw_error(layout, context)
        draw_result(layout, context)

    def _draw_turntable(self, layout):
        box = layout.box()
        box.label(text="Orbit preview", icon="ORIENTATION_GIMBAL")
        box.label(text="A temporary scene; yours is untouched.")
        row = box.row()
        row.scale_y = 1.4
        row.operator("tetraview.orbit_close", icon="LOOP_BACK")

    def _draw_no_engine(self, layout, context):
        if context.window_manager.tetraview.error:
            return  # the error box says the same, with the button
        box = layout.box()
        draw_wrapped(box, context.window_manager.tetraview.engine_problem, context.region.width - 50, icon="INFO")
        row = box.row()
        row.scale_y = 1.3
        row.operator("tetraview.install_engine", text="Install Engine…", icon="IMPORT")
        box.operator("tetraview.open_preferences", icon="PREFERENCES").page = "ADDON"


CLASSES = (TETRAVIEW_PT_main,)
