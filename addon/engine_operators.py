"""Operators about the engine itself: install, repair, remove, take another, ask it. They gather, call and report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar

import bpy

from . import checks, engine_install, engine_log, jobs, preferences, pulse, report
from .engine_install import Installation
from .errors import SketchbridgeError
from .setup_commands import SetupError


class _CheckOperator:
    """Asks the engine's machine something, or does something to it; the answer stands in the panel and the preferences."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if isinstance(checks.running, Installation):
            cls.poll_message_set("The engine is being installed")  # type: ignore[attr-defined]
            return False
        return True

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
        checks.begin(lambda: self.make(context))

    def make(self, context: bpy.types.Context) -> checks.Check:
        """What is asked or done. SketchbridgeError where it cannot be started."""
        raise NotImplementedError


class SKETCHBRIDGE_OT_test_connection(_CheckOperator, bpy.types.Operator):
    """Start the engine, exchange greetings, and end it"""

    bl_idname = "sketchbridge.test_connection"
    bl_label = "Test Connection"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def make(self, context: bpy.types.Context) -> checks.Check:
        return checks.ConnectionCheck(preferences.engine_command(context), engine_log.new_log(preferences.log_folder()))


class SKETCHBRIDGE_OT_doctor(_CheckOperator, bpy.types.Operator):
    """Check the engine's set-up: what works, what does not, and the fix for each"""

    bl_idname = "sketchbridge.doctor"
    bl_label = "Check Set-up"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def make(self, context: bpy.types.Context) -> checks.Check:
        return checks.DoctorCheck(preferences.engine_command(context))


class SKETCHBRIDGE_OT_install_engine(_CheckOperator, bpy.types.Operator):
    """Make the engine's environment in the extension's own folder: a Python environment with torch and the other packages that it needs"""

    bl_idname = "sketchbridge.install_engine"
    bl_label = "Install Engine"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}
    anew: bpy.props.BoolProperty(name="From Scratch", description="Make it anew even where it could be completed", options={"SKIP_SAVE"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if jobs.running is not None:
            cls.poll_message_set("Wait for the running job")
            return False
        if not bpy.app.online_access and not preferences.of(context).wheels:
            cls.poll_message_set(
                "Blender may not go online: switch on Allow Online Access in the preferences (System), or name a folder of wheels"
            )
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if bpy.app.background or context.window is None:
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(self, width=460, confirm_text="Install")

    def draw(self, context: bpy.types.Context) -> None:
        held = preferences.of(context)
        layout = self.layout
        report.paragraph(layout, f"Into {preferences.engine_folder()}", "DISK_DRIVE", 64)
        advice = engine_install.advice(held.torch_index, held.wheels, engine_install.has_nvidia())
        if advice:
            report.paragraph(layout, advice, "INFO", 64)
        draw_wish(layout, held)

    def execute(self, context: bpy.types.Context) -> set[str]:
        if bpy.app.background or context.window is None:
            return super().execute(context)
        self._begin(context)
        pulse.start()
        return {"FINISHED"}

    def make(self, context: bpy.types.Context) -> checks.Check:
        held = preferences.of(context)
        wish = engine_install.Wish(*(bpy.path.abspath(text.strip()) if text.strip() else "" for text in (held.python, "", held.wheels)))
        wish = engine_install.Wish(wish.python, held.torch_index.strip(), wish.wheels)
        folder, log = preferences.engine_folder(), preferences.log_folder() / "install.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return Installation(folder, log, wish, self.anew)


class SKETCHBRIDGE_OT_remove_engine(bpy.types.Operator):
    """Delete the environment that Install Engine made. Nothing else is touched"""

    bl_idname = "sketchbridge.remove_engine"
    bl_label = "Remove Engine"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return jobs.running is None and checks.running is None and preferences.engine_folder().exists()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            engine_install.remove(preferences.engine_folder())
        except SetupError as error:
            self.report({"ERROR"}, f"{error.message} {error.fix}")
            return {"CANCELLED"}
        checks.last = None
        preferences.forget_engine()
        pulse.redraw()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_use_environment(bpy.types.Operator):
    """Take the engine from an environment that is there already: choose its folder"""

    bl_idname = "sketchbridge.use_environment"
    bl_label = "Use an Environment"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            words = engine_install.existing(Path(self.directory).resolve())
        except SetupError as error:
            self.report({"ERROR"}, f"{error.message} {error.fix}")
            return {"CANCELLED"}
        preferences.of(context).engine_command = shlex.join(words)
        bpy.ops.sketchbridge.test_connection("INVOKE_DEFAULT")
        return {"FINISHED"}


class SKETCHBRIDGE_OT_cancel_check(bpy.types.Operator):
    """Stop what is being asked or installed"""

    bl_idname = "sketchbridge.cancel_check"
    bl_label = "Cancel"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return checks.running is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        checks.abandon()
        pulse.redraw()
        return {"FINISHED"}


class SKETCHBRIDGE_OT_copy_report(bpy.types.Operator):
    """Copy the answer, with the versions and the machine, for a report of a fault"""

    bl_idname = "sketchbridge.copy_report"
    bl_label = "Copy Report"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.window_manager.clipboard = full_report(context)
        self.report({"INFO"}, "The report is on the clipboard")
        return {"FINISHED"}


class SKETCHBRIDGE_OT_open_preferences(bpy.types.Operator):
    """Open the add-on's preferences"""

    bl_idname = "sketchbridge.open_preferences"
    bl_label = "Open Preferences"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        bpy.ops.preferences.addon_show(module=preferences.PACKAGE)
        return {"FINISHED"}


def full_report(context: bpy.types.Context) -> str:
    """What somebody who is to help needs to know."""
    try:
        command = shlex.join(preferences.engine_command(context))
    except SketchbridgeError as error:
        command = error.message
    facts = {"Blender": bpy.app.version_string, "Engine": command, "Installed": engine_install.state(preferences.engine_folder())}
    lines = engine_install.machine_facts(facts)
    if checks.last is not None:
        lines += ["", checks.last.title, *checks.last.lines]
    log = max(preferences.log_folder().glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    if log is not None:
        lines += ["", f"The end of {log.name}:", engine_log.log_tail(log).replace(" | ", "\n")]
    return "\n".join(lines) + "\n"


def draw_wish(layout: bpy.types.UILayout, held: preferences.SketchbridgePreferences) -> None:
    """How the environment is to be made."""
    column = layout.column()
    column.use_property_split = True
    column.prop(held, "python")
    column.prop(held, "torch_index")
    column.prop(held, "wheels")


CLASSES = (
    SKETCHBRIDGE_OT_test_connection, SKETCHBRIDGE_OT_doctor, SKETCHBRIDGE_OT_install_engine, SKETCHBRIDGE_OT_remove_engine,
    SKETCHBRIDGE_OT_use_environment, SKETCHBRIDGE_OT_cancel_check, SKETCHBRIDGE_OT_copy_report, SKETCHBRIDGE_OT_open_preferences,
)  # fmt: skip
