"""What is shown and selected in a view layer: originals, results, earlier variants. Results are found by their marks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import bpy

MARK = "sketchbridge"
"""Prefix of the custom properties on results; the preview object carries MARK + "_preview"."""


@dataclass(frozen=True)
class Place:
    """A scene and one of its view layers, by names and by the scene's session id, which outlives a renaming."""

    scene: str
    uid: int
    layer: str

    @classmethod
    def of(cls, context: bpy.types.Context) -> Place:
        """Where the context is."""
        return cls(context.scene.name, context.scene.session_uid, context.view_layer.name)

    @contextmanager
    def entered(self, context: bpy.types.Context) -> Iterator[bpy.types.ViewLayer]:
        """The context's scene and layer are these meanwhile, whatever the window shows; where they are gone, they are the window's."""
        scene = next((scene for scene in bpy.data.scenes if scene.session_uid == self.uid), None) or bpy.data.scenes.get(self.scene)
        layer = None if scene is None else scene.view_layers.get(self.layer) or scene.view_layers[0]
        if layer is None or layer == context.view_layer:
            yield context.view_layer
        else:
            with context.temp_override(scene=scene, view_layer=layer):
                yield layer


@dataclass(frozen=True)
class Selection:
    """What is selected in a view layer, and what is active there, by session ids."""

    selected: frozenset[int]
    active: int

    @classmethod
    def of(cls, layer: bpy.types.ViewLayer) -> Selection:
        """The layer's selection now."""
        active = layer.objects.active
        chosen = frozenset(obj.session_uid for obj in objects_of(layer) if obj.select_get(view_layer=layer))
        return cls(chosen, 0 if active is None else active.session_uid)

    def holds(self, layer: bpy.types.ViewLayer) -> bool:
        """True while the layer's selection is this one, apart from objects that have been deleted."""
        there = {obj.session_uid for obj in objects_of(layer)}
        now = Selection.of(layer)
        return now.selected == self.selected & there and (now.active == self.active or self.active not in there)


def objects_of(layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """The layer's objects, without the gaps that objects leave for a moment after they were removed."""
    return [obj for obj in layer.objects if obj is not None]


def hide(layer: bpy.types.ViewLayer, objects: Iterable[bpy.types.Object], hidden: bool, render: bool = False) -> None:
    """Hide objects in the layer, or show them; in renders too where asked, there wherever they are."""
    for obj in objects:
        if obj.name in layer.objects:
            obj.hide_set(hidden, view_layer=layer)
        if render:
            obj.hide_render = hidden


def select_only(layer: bpy.types.ViewLayer, objects: Sequence[bpy.types.Object]) -> None:
    """Select exactly these of the layer; the first becomes the active one."""
    for obj in objects_of(layer):
        obj.select_set(obj in objects, view_layer=layer)
    there = [obj for obj in objects if obj.name in layer.objects]
    if there:
        layer.objects.active = there[0]


def is_result(obj: bpy.types.Object) -> bool:
    """True for what a job made."""
    return f"{MARK}_sources" in obj


def sources_of(obj: bpy.types.Object) -> list[bpy.types.Object]:
    """The originals of a result that are still in the file."""
    try:
        names = json.loads(obj.get(f"{MARK}_sources", "[]"))
    except (ValueError, TypeError):
        return []
    found = (bpy.data.objects.get(name) for name in names if isinstance(name, str))
    return [source for source in found if source is not None and source.users_collection]


def originals_of(obj: bpy.types.Object, mode: str) -> list[bpy.types.Object]:
    """What a job of this mode works on where `obj` is selected: the object itself, or what the result was made from.

    Another refined version starts from the sketch, however often it was textured since; another texture from the untextured object.
    """
    seen, here = [obj], obj
    while is_result(here):
        sources = sources_of(here)
        if here.get(f"{MARK}_mode", "refine") == mode and sources:
            return sources
        if mode != "refine" or len(sources) != 1 or sources[0] in seen:
            break
        here = sources[0]
        seen.append(here)
    return [obj]


def variants_of(sources: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """All results made from any of these, the newest last."""
    wanted = set(sources)
    found = [obj for obj in bpy.data.objects if is_result(obj) and obj.users_collection and not wanted.isdisjoint(sources_of(obj))]
    return sorted(found, key=lambda obj: float(obj.get(f"{MARK}_made", 0.0)))


def result_of(obj: bpy.types.Object) -> bpy.types.Object | None:
    """`obj` itself where it is a result, else the newest result made from it, else None."""
    if is_result(obj):
        return obj
    return next(reversed(variants_of([obj])), None)


def show_result(layer: bpy.types.ViewLayer, result: bpy.types.Object) -> None:
    """Show the result in place of its originals and of the other variants, and select it."""
    sources = [source for source in sources_of(result) if source.name in layer.objects]
    hide(layer, [*sources, *(variant for variant in variants_of(sources) if variant != result)], True, render=True)
    hide(layer, [result], False, render=True)
    select_only(layer, [result])


def toggle(layer: bpy.types.ViewLayer, result: bpy.types.Object) -> bool:
    """Show the result's originals, or the result, in place of the other; what is shown is selected. True where that is the result.

    Other variants are hidden. A result without originals stays in sight.
    """
    sources = [source for source in sources_of(result) if source.name in layer.objects]
    wanted = not sources or result.hide_get(view_layer=layer) or result.hide_render
    if wanted:
        show_result(layer, result)
    else:
        hide(layer, [result, *variants_of(sources)], True, render=True)
        hide(layer, sources, False, render=True)
        select_only(layer, sources)
    return wanted
