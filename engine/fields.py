"""Dataclass fields that say what they are, so that checks, command-line options and a panel's controls follow from one entry.

A field is described by `Annotated[TYPE, Spec(...)]`, TYPE being str, int, float, Mapping[str, Any], or one of these `| None`.
Standard library only; a host application uses this very file (addon/fields.py is a link), hence the relative import.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import enum
import functools
import json
import math
import reprlib
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InputError


class Door(enum.Flag):
    """Where a user can give a setting."""

    WIRE = enum.auto()
    """In the message that starts a job: whatever a job can be told is in it."""
    ENGINE = enum.auto()
    """As an option of `sketchbridge refine|texture`."""
    BLENDER = enum.auto()
    """As an option of `blender -b FILE --command sketchbridge refine|texture`."""
    PANEL = enum.auto()
    """In the sidebar of Blender's 3D view."""
    ALL = WIRE | ENGINE | BLENDER | PANEL


class Unit(enum.Enum):
    """What a number counts or measures; the value is the word for it."""

    NONE = ""
    SHARE = "share"
    LENGTH = "where the sketch is 1.6 long"
    DEGREES = "degrees"
    TEXELS = "texels"
    CELLS = "cells"
    STEPS = "steps"
    TRIANGLES = "triangles"


@dataclass(frozen=True)
class Choice:
    """One of the values that a setting of fixed values takes."""

    value: str
    label: str
    description: str


@dataclass(frozen=True)
class Spec:
    """What is known of a field beside its name, type and default.

    label        its name for people
    description  one sentence without a full stop
    low, high    smallest and largest number, both allowed
    unit         of the number
    choices      the values that a text may have; empty for any
    closed       whether there are no other values than the choices; where not, whoever uses the setting checks it
    example      a value to show to somebody who has none; of a text without default, which then must not be blank
    multiple     a whole number must be a multiple of this
    separator    stands between the entries of a text that may have several; a command line's option is then given once for each
    offered      numbers worth offering in a list; others stay possible
    doors        where it can be given
    section      the panel's part that shows it
    members      the described dataclass whose fields are the names of a table of names and values
    """

    label: str
    description: str
    low: float = -math.inf
    high: float = math.inf
    unit: Unit = Unit.NONE
    choices: tuple[Choice, ...] = ()
    closed: bool = True
    example: str = ""
    multiple: int = 1
    separator: str = ""
    offered: tuple[int, ...] = ()
    doors: Door = Door.ALL
    section: str = ""
    members: type | None = None


@dataclass(frozen=True)
class Field:
    """A field of a described dataclass. `default` is dataclasses.MISSING where it has none, `optional` whether None may be given."""

    name: str
    kind: type
    optional: bool
    default: Any
    spec: Spec

    @property
    def option(self) -> str:
        """Its name on a command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """True for a text that must not be blank."""
        return self.kind is str and not self.optional and not self.spec.choices

    @property
    def bounds(self) -> str:
        """The numbers that it takes, in words: 'from 8 to 256', 'from 50 to 5,000,000 triangles'; empty for a text."""
        if self.kind not in (int, float):
            return ""
        unit = "" if self.spec.unit in (Unit.NONE, Unit.SHARE) else f" {self.spec.unit.value}"
        return f"from {_number(self.spec.low)} to {_number(self.spec.high)}{unit}"

    @property
    def help(self) -> str:
        """Description, range or choices, and default, for a command line."""
        members = ", ".join(table(self.spec.members)) if self.spec.members else ""
        facts = [" | ".join(choice.value for choice in self.spec.choices), self.bounds, members]
        if self.default not in (None, "", dataclasses.MISSING) and self.kind is not Mapping:
            facts.append(f"default {_number(self.default)}")
        if self.spec.example and self.default is dataclasses.MISSING and self.kind is not Mapping:
            facts.append(f"for example '{self.spec.example}'")
        told = "; ".join(fact for fact in facts if fact)
        return self.spec.description + (f" ({told})" if told else "")


@functools.cache
def table(described: type) -> Mapping[str, Field]:
    """Name -> field of a dataclass, in the order of its definition."""
    hints = typing.get_type_hints(described, include_extras=True)
    return types.MappingProxyType({entry.name: _field(entry, hints[entry.name]) for entry in dataclasses.fields(described)})


def _field(entry: dataclasses.Field[Any], hint: Any) -> Field:
    kind, spec = typing.get_args(hint)
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    held = next(member for member in members if member is not types.NoneType)
    return Field(entry.name, typing.get_origin(held) or held, types.NoneType in members, entry.default, spec)


def shown(described: type, door: Door) -> list[Field]:
    """The fields that can be given at one door, in order."""
    return [field for field in table(described).values() if door in field.spec.doors]


def check(record: Any) -> None:
    """InputError for the first field of a described dataclass's instance that holds what it does not take."""
    for field in table(type(record)).values():
        check_value(field, getattr(record, field.name))


def check_value(field: Field, value: Any) -> None:
    """InputError where the field does not take the value."""
    if value is None and field.optional:
        return
    spec = field.spec
    if spec.choices and spec.closed:
        values = [choice.value for choice in spec.choices]
        if value not in values:
            raise InputError("bad_setting", f"{spec.label} must be one of {', '.join(values)}, got {reprlib.repr(value)}.",
                             f"Choose one of those for '{field.name}' or leave it out.")  # fmt: skip
    elif field.kind in (int, float):
        _check_number(field, value)
    elif not isinstance(value, field.kind):
        expected = "text" if field.kind is str else "a table of names and values"
        message = f"{spec.label} must be {expected}, got {reprlib.repr(value)}."
        raise InputError("bad_setting", message, f"Correct '{field.name}' or leave it out.")
    elif field.required and not str(value).strip():
        expected, name = spec.description[:1].lower() + spec.description[1:], spec.label.lower()
        raise InputError("empty_prompt" if field.default is dataclasses.MISSING else "bad_setting",
                         f"The {name} is empty; expected {expected}.", f"Type a {name} such as '{spec.example}'.")  # fmt: skip


def _check_number(field: Field, value: Any) -> None:
    spec, whole = field.spec, field.kind is int
    right_type = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right_type or not math.isfinite(value) or not spec.low <= value <= spec.high:
        kind = "a whole number" if whole else "a number"
        expected = f"{kind} {field.bounds}".strip()
        raise InputError("bad_setting", f"{spec.label} must be {expected}, got {reprlib.repr(value)}.",
                         f"Give '{field.name}' such a number or leave it out.")  # fmt: skip
    if whole and value % spec.multiple:
        raise InputError("bad_setting", f"{spec.label} must be a multiple of {spec.multiple}, got {value}.",
                         f"Give '{field.name}' the value {value + spec.multiple - value % spec.multiple}.")  # fmt: skip


def refuse_unknown(given: Collection[Any], described: type, what: str, fix: str) -> None:
    """InputError for the first name that is no field; `what` names such things, `fix` is told after the nearest name."""
    known = table(described)
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, 1)
        raise InputError("unknown_setting", f"Unknown {what} '{unknown[0]}'; known are {', '.join(sorted(known))}.",
                         (f"Did you mean '{near[0]}'? " if near else "") + fix)  # fmt: skip


def add_options(parser: argparse.ArgumentParser, fields: Iterable[Field]) -> None:
    """An option for each field; a table of names and values is given by `--set NAME=VALUE`, once for each."""
    for field in fields:
        text = field.help.replace("%", "%%")
        if field.kind is Mapping:
            given = json.loads(field.spec.example or "{}").items()
            text += "; as " + " ".join(f"--set {name}={json.dumps(value)}" for name, value in given) if given else ""
            parser.add_argument("--set", dest=field.name, action="append", metavar="NAME=VALUE", help=text)
        elif field.spec.separator:
            parser.add_argument(field.option, action="append", help=text)
        else:
            given = str if field.spec.choices else field.kind
            metavar = None if given is str else "NUMBER"
            parser.add_argument(field.option, type=given, metavar=metavar, required=field.default is dataclasses.MISSING, help=text)


def parsed(parser: argparse.ArgumentParser, words: Sequence[str] | None, numbers: Collection[str] = ()) -> argparse.Namespace:
    """`parser.parse_args`, which ends with usage and a message; one on words that are left over says how numbers are given, and which
    option of the command ends in the same words.

    numbers  names that `--set` takes
    """
    arguments, left = parser.parse_known_args(words)
    if left:
        bare = [word for word in left if not word.startswith("-") and "=" in word]
        named = [word.lstrip("-").replace("-", "_").partition("=")[0] for word in left if word.startswith("--")]
        meant = [*bare, *(f"{name}=VALUE" for name in named if name in numbers)]
        near = sorted(other for name in named for other in vars(arguments) if name and other.endswith(f"_{name}"))
        hint = f"; write --set before each name: {' '.join(f'--set {entry}' for entry in meant)}" if meant else ""
        hint += f"; did you mean {' or '.join('--' + other.replace('_', '-') for other in near)}?" if near else ""
        parser.error(f"unrecognized arguments: {' '.join(left)}{hint}")
    return arguments


def values_from(arguments: argparse.Namespace, fields: Iterable[Field]) -> dict[str, Any]:
    """What was given of `add_options`, by name; InputError for a `--set` that says nothing."""
    found: dict[str, Any] = {}
    for field in fields:
        value = getattr(arguments, field.name)
        if isinstance(value, list):
            value = field.spec.separator.join(value) if field.spec.separator else pairs(value)
        if value is not None:
            found[field.name] = value
    return found


def words_of(values: Mapping[str, Any], fields: Iterable[Field]) -> list[str]:
    """The reverse of `values_from`: values as the words of a command line; None is left out."""
    words: list[str] = []
    for field in fields:
        value = values.get(field.name)
        if isinstance(value, Mapping):
            words += [word for name, held in value.items() for word in ("--set", f"{name}={json.dumps(held)}")]
        elif value is not None:
            words += [f"{field.option}={value}"]
    return words


def pairs(entries: Iterable[str]) -> dict[str, Any]:
    """NAME=VALUE entries as a dictionary, values read as JSON where they are that and as text where not."""
    found: dict[str, Any] = {}
    for entry in entries:
        name, separator, text = entry.partition("=")
        if not separator or not name.strip():
            raise InputError("bad_setting", f"--set expects NAME=VALUE, got '{entry}'.", "Write for example --set stage1_steps=500.")
        try:
            found[name.strip()] = json.loads(text)
        except ValueError:
            found[name.strip()] = text
    return found


def _number(value: Any) -> str:
    """A number as a person writes it: 5,000,000 and 0.0003."""
    if isinstance(value, float) and not value.is_integer():  # an infinite one neither
        return f"{value:g}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)
