"""Operators: they gather, call and report. The work is in jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

import bpy

from . import doctor, engine_log, engine_process, jobs, preferences, scene_show
from .errors import SketchbridgeError
from .jobs import Outcome
from .session import Phase

TICK_SECONDS = 0.1
_timers: list[bpy.types.Timer] = []


class _JobOperator:
    """A modal operator on a timer where there is a window, a blocking loop where there is none."""

    mode: ClassVar[str]
    result_itself: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="The Result Itself",
        description="Work on the selected result as it is. Otherwise a result stands for what it was made from, so that each try starts "
        "from the sketch",
        options={"SKIP_SAVE"},
    )
    _timer: bpy.types.Timer | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to object mode first")  # type: ignore[attr-defined]
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        with jobs.windowed(context):
            refusal = jobs.begin(context, self.mode, result_itself=self.result_itself)
            return self._told(context, refusal or jobs.run_blocking(context))

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if bpy.app.background or context.window is None:
            return self.execute(context)
        refusal = jobs.begin(context, self.mode, result_itself=self.result_itself)
        if refusal is not None:
            return self._told(context, refusal)
        self._timer = context.window_manager.event_timer_add(TICK_SECONDS, window=context.window)
        _timers.append(self._timer)
        context.window_manager.modal_handler_add(self)
        redraw(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            redraw(context)
            if not jobs.step(context):
                return {"PASS_THROUGH"}
            outcome = jobs.last if jobs.running is None else jobs.finish(context)  # the former: another file, the add-on going
        except BaseException:
            self.cancel(context)
            raise
        self._stop_timer(context)
        return self._told(context, outcome)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the modal: the window closes, another file is opened."""
        self._stop_timer(context)
        jobs.abandon()

    def _stop_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            _timers.remove(self._timer)
            self._timer = None

    def _told(self, context: bpy.types.Context, outcome: Outcome | None) -> set[str]:
        redraw(context)
        if outcome is None:
            return {"CANCELLED"}
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
    """Texture the selected object by the prompt. Its vertices, faces and UVs stay as they are; the original is kept and hidden"""

    bl_idname = "sketchbridge.texture"
    bl_label = "Texture"
    bl_options: ClassVar[set[str]] = {"REGISTER"}
    mode = "texture"


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
        redraw(context)
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


class SKETCHBRIDGE_OT_test_connection(bpy.types.Operator):
    """Start the engine, exchange greetings, and end it"""

    bl_idname = "sketchbridge.test_connection"
    bl_label = "Test Connection"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            with waiting(context):
                command, log = (
                    engine_process.find_command(preferences.engine_command(context)),
                    engine_log.new_log(preferences.log_folder()),
                )
                answer = engine_process.greet(command, log, 20.0)
        except SketchbridgeError as error:
            self.report({"ERROR"}, f"{error.message} {error.fix}")
            return {"CANCELLED"}
        shown = ", ".join(f"{name} {value}" for name, value in answer.info.items() if name != "process")
        self.report({"INFO"}, f"The engine answers: {answer.software} ({shown})")
        return {"FINISHED"}


class SKETCHBRIDGE_OT_doctor(bpy.types.Operator):
    """Check the engine's set-up: what works, what does not, and the fix for each"""

    bl_idname = "sketchbridge.doctor"
    bl_label = "Check Set-up"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            with waiting(context):
                text, healthy = doctor.examine(engine_process.find_command(preferences.engine_command(context)))
        except SketchbridgeError as error:
            self.report({"ERROR"}, f"{error.message} {error.fix}")
            return {"CANCELLED"}
        for line in text.splitlines():
            self.report({"INFO"}, line)
        told = "The set-up is complete." if healthy else "The set-up has gaps; see the lines above in the Info editor."
        self.report({"INFO" if healthy else "WARNING"}, told)
        return {"FINISHED"}


def is_modal() -> bool:
    """True while one of the job operators waits for its timer."""
    return bool(_timers)


@contextlib.contextmanager
def waiting(context: bpy.types.Context) -> Iterator[None]:
    """The mouse pointer tells that Blender waits."""
    if context.window is not None:
        context.window.cursor_set("WAIT")
    try:
        yield
    finally:
        if context.window is not None:
            context.window.cursor_set("DEFAULT")


def redraw(context: bpy.types.Context) -> None:
    """Have every 3D view drawn anew."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


MODAL_CLASSES = (SKETCHBRIDGE_OT_refine, SKETCHBRIDGE_OT_texture)
CLASSES = (
    SKETCHBRIDGE_OT_refine, SKETCHBRIDGE_OT_texture, SKETCHBRIDGE_OT_cancel, SKETCHBRIDGE_OT_toggle,
    SKETCHBRIDGE_OT_test_connection, SKETCHBRIDGE_OT_doctor,
)  # fmt: skip
