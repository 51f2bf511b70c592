"""Operators: they gather, call and report. The work is in jobs and checks; in a window their timer carries it on (see pulse)."""

from __future__ import annotations

from typing import ClassVar

import bpy

from . import checks, engine_log, engine_process, jobs, preferences, pulse, report, scene_show
from .job_fields import UV_LAYOUTS
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
        return jobs.begin(context, self.mode, result_itself=self.result_itself)

    def _told(self, outcome: Outcome) -> set[str]:
        for note in outcome.notes:
            self.report({"INFO"}, note)  # type: ignore[attr-defined]
        kind = {Phase.DONE: "INFO", Phase.CANCELLED: "WARNING"}.get(outcome.phase, "ERROR")
        self.report({kind}, f"{outcome.text} {outcome.fix}".strip())  # type: ignore[attr-defined]
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

    def _begin(self, context: bpy.types.Context) -> Outcome | None:
        layout = "" if self.uv_layout == "SETTING" else self.uv_layout
        return jobs.begin(context, self.mode, result_itself=self.result_itself, uv_layout=layout)


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
            cls.poll_message_set("What this was made from is not in the file any more")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        result = jobs.find_result(context)
        assert result is not None
        scene_show.toggle(context.view_layer, result)
        return {"FINISHED"}


class _CheckOperator:
    """Asks the engine's machine something; the answer stands in the panel and the preferences."""

    def execute(self, context: bpy.types.Context) -> set[str]:
        self._begin(context)
        answer = checks.run_blocking()
        if answer.failed:
            self.report({"ERROR"}, " ".join(answer.lines))  # type: ignore[attr-defined]
            return {"CANCELLED"}
        for line in answer.lines:
            self.report({"INFO"} if answer.healthy else {"WARNING"}, line)  # type: ignore[attr-defined]
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if bpy.app.background or context.window is None:
            return self.execute(context)
        self._begin(context)
        pulse.start()
        return {"FINISHED"}

    def _begin(self, context: bpy.types.Context) -> None:
        checks.begin(lambda: self.make(engine_process.find_command(preferences.engine_command(context))))

    def make(self, command: list[str]) -> checks.Check:
        """The check of this command. EngineError where it cannot be started."""
        raise NotImplementedError


class SKETCHBRIDGE_OT_test_connection(_CheckOperator, bpy.types.Operator):
    """Start the engine, exchange greetings, and end it"""

    bl_idname = "sketchbridge.test_connection"
    bl_label = "Test Connection"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def make(self, command: list[str]) -> checks.Check:
        return checks.ConnectionCheck(command, engine_log.new_log(preferences.log_folder()))


class SKETCHBRIDGE_OT_doctor(_CheckOperator, bpy.types.Operator):
    """Check the engine's set-up: what works, what does not, and the fix for each"""

    bl_idname = "sketchbridge.doctor"
    bl_label = "Check Set-up"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def make(self, command: list[str]) -> checks.Check:
        return checks.DoctorCheck(command)


CLASSES = (
    SKETCHBRIDGE_OT_refine, SKETCHBRIDGE_OT_texture, SKETCHBRIDGE_OT_cancel, SKETCHBRIDGE_OT_toggle,
    SKETCHBRIDGE_OT_test_connection, SKETCHBRIDGE_OT_doctor,
)  # fmt: skip
