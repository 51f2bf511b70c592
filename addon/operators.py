"""Operators about jobs and results: they gather, call and report. The work is in jobs; in a window a timer carries it on (see pulse)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import bpy

from . import jobs, pulse, report, scene_show
from .job_fields import DREAM, UV_LAYOUTS
from .job_plan import Choice
from .jobs import Outcome
from .session import Phase


class _JobOperator:
    """Starts a job and returns where there is a window, sees it through where there is none."""

    mode: ClassVar[str]
    result_itself: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="The Result Itself",
        description="Work on the selected result as it is. Otherwise a result stands for what it was made from, so that each try starts "
        "from the sketch",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to object mode first")  # type: ignore[attr-defined]
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        with jobs.windowed(context):
            return self._told(self._begin(context) or jobs.run_blocking(context))

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if bpy.app.background or context.window is None:
            return self.execute(context)
        return self._start(context)

    def _start(self, context: bpy.types.Context) -> set[str]:
        """Begin, and leave the rest to the timer."""
        refusal = self._begin(context)
        pulse.start()
        return {"FINISHED"} if refusal is None else self._told(refusal)

    def _begin(self, context: bpy.types.Context) -> Outcome | None:
        return jobs.begin(context, self.mode, choice=self._choice(context))

    def _choice(self, context: bpy.types.Context) -> Choice:
        held = context.scene.sketchbridge
        jobs_each = 1 if self.mode == "texture" else held.variations  # a texture job makes its variations itself
        return Choice(self.result_itself, each=held.each, variations=jobs_each)

    def _told(self, outcome: Outcome) -> set[str]:
        for note in outcome.notes:
            self.report({"INFO"}, note)  # type: ignore[attr-defined]
        kind = {Phase.DONE: "INFO", Phase.CANCELLED: "WARNING"}.get(outcome.phase, "ERROR")
        self.report({kind}, " ".join(part for part in (outcome.text, outcome.measured, outcome.fix) if part))  # type: ignore[attr-defined]
        return {"FINISHED"} if outcome.phase is Phase.DONE else {"CANCELLED"}


class SKETCHBRIDGE_OT_refine(_JobOperator, bpy.types.Operator):
    """Turn the selected sketch into a refined, textured mesh that follows the prompt. The sketch is kept and hidden"""

    bl_idname = "sketchbridge.refine"
    bl_label = "Refine"
    bl_options: ClassVar[set[str]] = {"REGISTER"}
    mode = "refine"


class SKETCHBRIDGE_OT_texture(_JobOperator, bpy.types.Operator):
    """Texture the selected objects by the prompt. Their vertices, faces and UVs stay as they are; the originals are kept and hidden"""

    bl_idname = "sketchbridge.texture"
    bl_label = "Texture"
    bl_options: ClassVar[set[str]] = {"REGISTER"}
    mode = "texture"
    uv_layout: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="UV Layout",
        description="Which UVs the texture is painted for. Other layers stay as they are",
        items=[("SETTING", "As Set", "What the panel says"), *((one.value, one.label, one.description) for one in UV_LAYOUTS)],
        default="SETTING",
        options={"SKIP_SAVE"},
    )
    _warnings: tuple[str, ...] = ()

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self._start(context) if self._warnings else super().execute(context)  # the former: the dialog's OK

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.uv_layout == "SETTING" and not bpy.app.background and context.window is not None:
            self._warnings = jobs.warnings(context, self.result_itself)
            if self._warnings:
                self.uv_layout = "apart"
                return context.window_manager.invoke_props_dialog(self, width=420)
        return super().invoke(context, event)

    def draw(self, context: bpy.types.Context) -> None:
        for warning in self._warnings:
            report.paragraph(self.layout, warning, "INFO", 60)
        self.layout.prop(self, "uv_layout")

    def _choice(self, context: bpy.types.Context) -> Choice:
        return replace(super()._choice(context), uv_layout="" if self.uv_layout == "SETTING" else self.uv_layout)


class SKETCHBRIDGE_OT_dream(_JobOperator, bpy.types.Operator):
    """Make a textured mesh from the prompt alone, without a sketch. It arrives at the 3D cursor, or beside what was dreamt there before"""

    bl_idname = "sketchbridge.dream"
    bl_label = "Text to 3D"
    bl_options: ClassVar[set[str]] = {"REGISTER"}
    mode = DREAM


class SKETCHBRIDGE_OT_cancel(bpy.types.Operator):
    """Stop the running job. The scene stays as it was"""

    bl_idname = "sketchbridge.cancel"
    bl_label = "Cancel"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.running is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.cancel()
        pulse.redraw()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_pause(bpy.types.Operator):
    """Let the running job stand still, or go on; what it has in memory stays"""

    bl_idname = "sketchbridge.pause"
    bl_label = "Pause"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.running is not None and jobs.running.session.phase is Phase.RUNNING

    def execute(self, context: bpy.types.Context) -> set[str]:
        assert jobs.running is not None
        jobs.pause(not jobs.running.session.paused)
        pulse.redraw()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_take_out(bpy.types.Operator):
    """Take a job out of the line"""

    bl_idname = "sketchbridge.take_out"
    bl_label = "Take Out"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}
    place: bpy.props.IntProperty(name="Place", description="In the line; -1 for all that wait", default=-1, options={"SKIP_SAVE"})  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.take_out(self.place)
        pulse.redraw()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_resume(bpy.types.Operator):
    """Go on with a job that was not seen to its end, from where its checkpoint is"""

    bl_idname = "sketchbridge.resume"
    bl_label = "Resume"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}
    job: bpy.props.StringProperty(options={"SKIP_SAVE"})  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        record = next((record for record in jobs.unfinished_jobs() if record.job == self.job), None)
        if record is None:
            self.report({"ERROR"}, "That job is not kept any more")
            return {"CANCELLED"}
        refusal = jobs.resume(context, record)
        if refusal is not None:
            self.report({"ERROR"}, f"{refusal.text} {refusal.fix}")
        pulse.start()
        return {"FINISHED"} if refusal is None else {"CANCELLED"}


class SKETCHBRIDGE_OT_forget(bpy.types.Operator):
    """Give up a job that was not seen to its end"""

    bl_idname = "sketchbridge.forget"
    bl_label = "Forget"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}
    job: bpy.props.StringProperty(options={"SKIP_SAVE"})  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.forget(self.job)
        pulse.redraw()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_quit(bpy.types.Operator):
    """Quit Blender while a job runs, once that is confirmed. The job can be resumed at the next start"""

    bl_idname = "sketchbridge.quit"
    bl_label = "Quit Blender"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.running is not None  # else the key goes on to Blender's own

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self, event, title="A Sketchbridge job is running", message="It ends with Blender, and can be resumed at the next start.",
            confirm_text="Quit", icon="WARNING",
        )  # fmt: skip

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.abandon()
        return bpy.ops.wm.quit_blender("INVOKE_DEFAULT")


class SKETCHBRIDGE_OT_toggle(bpy.types.Operator):
    """Show the original instead of the result, or the other way round"""

    bl_idname = "sketchbridge.toggle"
    bl_label = "Before / After"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        result = jobs.find_result(context)
        if result is None:
            return False
        if not scene_show.sources_of(result):
            dreamt = result.get(f"{scene_show.MARK}_mode") == DREAM
            cls.poll_message_set("This was made from words alone" if dreamt else "What this was made from is not in the file any more")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        result = jobs.find_result(context)
        assert result is not None
        scene_show.toggle(context.view_layer, result)
        return {"FINISHED"}


CLASSES = (
    SKETCHBRIDGE_OT_refine, SKETCHBRIDGE_OT_texture, SKETCHBRIDGE_OT_dream, SKETCHBRIDGE_OT_cancel, SKETCHBRIDGE_OT_pause,
    SKETCHBRIDGE_OT_take_out, SKETCHBRIDGE_OT_resume, SKETCHBRIDGE_OT_forget, SKETCHBRIDGE_OT_quit, SKETCHBRIDGE_OT_toggle,
)  # fmt: skip
