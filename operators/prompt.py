"""Small conveniences around the prompt: earlier prompts, the dice."""

import bpy
from bpy.props import StringProperty

from . import history
from .views import random_seed


class TETRAVIEW_OT_use_prompt(bpy.types.Operator):
    """Use this prompt"""

    bl_idname = "tetraview.use_prompt"
    bl_label = "Use Prompt"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    prompt: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def description(cls, context, properties):
        return properties.prompt

    def execute(self, context):
        context.scene.tetraview.prompt = self.prompt
        return {"FINISHED"}


class TETRAVIEW_OT_forget_prompts(bpy.types.Operator):
    """Clear the list of earlier prompts"""

    bl_idname = "tetraview.forget_prompts"
    bl_label = "Forget All"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        history.forget_all()
        return {"FINISHED"}


class TETRAVIEW_OT_dice(bpy.types.Operator):
    """Pick a new random seed: other views from the same prompt"""

    bl_idname = "tetraview.dice"
    bl_label = "New Seed"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context):
        context.scene.tetraview.seed = random_seed()
        return {"FINISHED"}


CLASSES = (TETRAVIEW_OT_use_prompt, TETRAVIEW_OT_forget_prompts, TETRAVIEW_OT_dice)
