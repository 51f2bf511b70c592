"""What a material's node tree says about its base colour, followed from the output's Surface; where that ends it is unknown.

Followed: reroutes, groups, mixes, factor x texture, images, colour attributes, RGB, mixes of shaders. Values are linear light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import bpy
import numpy as np

from . import geometry

DEFAULT_BASE = 0.8
"""Grey, linear, of a material that nobody touched."""
MAX_IMAGE_PIXELS = 8192 * 8192
MAX_DEPTH = 64
_COLOUR_OF = {
    "BSDF_PRINCIPLED": "Base Color", "BSDF_DIFFUSE": "Color", "EMISSION": "Color", "BSDF_TOON": "Color", "BSDF_SHEEN": "Color",
    "SUBSURFACE_SCATTERING": "Color", "BSDF_TRANSLUCENT": "Color", "BSDF_GLOSSY": "Color", "BSDF_ANISOTROPIC": "Color",
}  # fmt: skip
_BLENDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "MIX": lambda a, b: b,
    "MULTIPLY": lambda a, b: a * b,
    "ADD": lambda a, b: a + b,
    "SUBTRACT": lambda a, b: a - b,
    "DARKEN": np.minimum,
    "LIGHTEN": np.maximum,
    "SCREEN": lambda a, b: 1 - (1 - a) * (1 - b),
}


@dataclass(eq=False)
class Points:
    """Points on the triangles of an evaluated mesh: the loops int [N, 3] of each one's triangle, and barycentric weights [N, 3]."""

    mesh: bpy.types.Mesh
    loops: np.ndarray
    weights: np.ndarray
    pixels: dict[str, np.ndarray] = field(default_factory=dict)  # of images that were read, linear RGBA [H, W, 4]

    def __len__(self) -> int:
        return len(self.loops)

    def chosen(self, mask: np.ndarray) -> Points:
        """Some of the points."""
        return Points(self.mesh, self.loops[mask], self.weights[mask], self.pixels)

    def uvs(self, name: str) -> np.ndarray | None:
        """[N, 2] of the UV layer of this name, of the one that renders where there is no name; None without it."""
        layers = self.mesh.uv_layers
        layer = layers.get(name) if name else next((one for one in layers if one.active_render), layers.active)
        if layer is None:
            return None
        values = np.empty(len(self.mesh.loops) * 2, np.float32)
        layer.uv.foreach_get("vector", values)
        return self._between(values.reshape(-1, 2))

    def attribute(self, name: str) -> np.ndarray | None:
        """Linear RGBA [N, 4] of the colour attribute of this name, of the active one where there is no name; None without it."""
        attributes = self.mesh.color_attributes
        attribute = attributes.get(name) if name else attributes.active_color
        if attribute is None or not len(attribute.data):
            return None
        values = np.empty(len(attribute.data) * 4, np.float32)
        attribute.data.foreach_get("color", values)
        values = values.reshape(-1, 4)
        if attribute.domain == "POINT":
            vertex = np.empty(len(self.mesh.loops), np.int32)
            self.mesh.loops.foreach_get("vertex_index", vertex)
            values = values[vertex]
        return self._between(values)

    def _between(self, of_loops: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", self.weights, of_loops[self.loops].astype(np.float64))


def base_colour(material: bpy.types.Material, points: Points) -> np.ndarray | None:
    """Linear RGBA [N, 4] of a material at points; None where its colour cannot be told, or is what nobody chose."""
    if material.node_tree is None or not (bpy.app.version >= (5, 0) or material.use_nodes):
        return _unless_default(np.array(material.diffuse_color[:3]), points)
    output = material.node_tree.get_output_node("ALL") or material.node_tree.get_output_node("EEVEE")
    return None if output is None else _Tree(points).shader(output.inputs["Surface"], ())


def _unless_default(colour: np.ndarray, points: Points) -> np.ndarray | None:
    if np.ptp(colour) < 1e-3 and abs(float(colour[0]) - DEFAULT_BASE) < 1e-3:
        return None
    return np.tile([*colour, 1.0], (len(points), 1))


_Groups = tuple[bpy.types.Node, ...]
"""The group nodes that a socket is inside of, outermost first."""


class _Tree:
    """Evaluates sockets at points."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def shader(self, socket: bpy.types.NodeSocket, groups: _Groups) -> np.ndarray | None:
        """The base colour and alpha of the shader that is linked to an input."""
        node, groups, _ = _source(socket, groups)
        if node is None:
            return None
        if node.type == "MIX_SHADER":
            return self._mixed_shaders(node, groups)
        if node.type == "ADD_SHADER":
            return next((found for found in (self.shader(one, groups) for one in node.inputs) if found is not None), None)
        if node.type == "BSDF_TRANSPARENT":
            return np.zeros((len(self._points), 4))
        if node.type not in _COLOUR_OF:
            return None
        return self._surface(node, groups)

    def _surface(self, node: bpy.types.Node, groups: _Groups) -> np.ndarray | None:
        """Of one shader node."""
        socket = node.inputs[_COLOUR_OF[node.type]]
        fed, _, end = _source(socket, groups)
        colour = self.colour(socket, groups) if fed is not None else _unless_default(np.array(end.default_value[:3]), self._points)
        if node.type == "BSDF_PRINCIPLED":
            if fed is None and max(end.default_value[:3]) < 1e-3:
                glow = self._glow(node, groups)
                colour = colour if glow is None else glow
            alpha = self.number(node.inputs["Alpha"], groups)
            if colour is not None and alpha is not None:
                colour = np.concatenate([colour[:, :3], alpha[:, None]], axis=1)
        return colour

    def _glow(self, node: bpy.types.Node, groups: _Groups) -> np.ndarray | None:
        """The emission of a black Principled BSDF; None where it has none."""
        strength = self.number(node.inputs["Emission Strength"], groups)
        colour = self.colour(node.inputs["Emission Color"], groups)
        if strength is None or colour is None or min(strength.max(initial=0), colour[:, :3].max(initial=0)) < 1e-3:
            return None
        return colour

    def _mixed_shaders(self, node: bpy.types.Node, groups: _Groups) -> np.ndarray | None:
        share = self.number(node.inputs[0], groups)
        first, second = self.shader(node.inputs[1], groups), self.shader(node.inputs[2], groups)
        if share is None or first is None or second is None:
            return first if second is None else second if first is None else None
        alpha = first[:, 3] * (1 - share) + second[:, 3] * share
        weight = np.divide(second[:, 3] * share, alpha, out=np.zeros_like(alpha), where=alpha > 1e-6)[:, None]
        return np.concatenate([first[:, :3] * (1 - weight) + second[:, :3] * weight, alpha[:, None]], axis=1)

    def number(self, socket: bpy.types.NodeSocket, groups: _Groups) -> np.ndarray | None:
        """[N] of an input for a number."""
        node, inner, end = _source(socket, groups)
        if node is None:
            return np.full(len(self._points), np.mean(_three(end)), dtype=np.float64)
        colour = self._of_node(node, inner)
        return None if colour is None else colour[:, 3] if end.name == "Alpha" else colour[:, :3].mean(axis=1)

    def colour(self, socket: bpy.types.NodeSocket, groups: _Groups) -> np.ndarray | None:
        """Linear RGBA [N, 4] of an input for a colour."""
        node, inner, end = _source(socket, groups)
        return np.tile([*_three(end), 1.0], (len(self._points), 1)) if node is None else self._of_node(node, inner)

    def _of_node(self, node: bpy.types.Node, groups: _Groups) -> np.ndarray | None:
        if node.type == "RGB":
            return np.tile([*node.outputs[0].default_value[:3], 1.0], (len(self._points), 1))
        if node.type == "VALUE":
            return np.tile([*[node.outputs[0].default_value] * 3, 1.0], (len(self._points), 1))
        if node.type in ("VERTEX_COLOR", "ATTRIBUTE"):
            return self._points.attribute(node.layer_name if node.type == "VERTEX_COLOR" else node.attribute_name)
        if node.type == "TEX_IMAGE":
            return self._image(node, groups)
        if node.type in ("MIX", "MIX_RGB"):
            return self._mixed(node, groups)
        return None

    def _mixed(self, node: bpy.types.Node, groups: _Groups) -> np.ndarray | None:
        """A Mix node for colours, of either kind."""
        if node.type == "MIX":
            if node.data_type != "RGBA":
                return None
            share = next(one for one in node.inputs if one.type == "VALUE")
            first, second = [one for one in node.inputs if one.type == "RGBA"][:2]
        else:
            share, first, second = node.inputs[0], node.inputs[1], node.inputs[2]
        weight, a, b = self.number(share, groups), self.colour(first, groups), self.colour(second, groups)
        blend = _BLENDS.get(node.blend_type)
        if weight is None or a is None or b is None or blend is None:
            return None
        weight = weight.clip(0, 1)[:, None]
        return np.concatenate([(a * (1 - weight) + blend(a, b) * weight)[:, :3].clip(0, None), a[:, 3:]], axis=1)

    def _image(self, node: bpy.types.Node, groups: _Groups) -> np.ndarray | None:
        uvs = self._coordinates(node.inputs["Vector"], groups)
        if node.image is None or uvs is None or node.projection != "FLAT":
            return None
        pixels = self._points.pixels.get(node.image.name)
        if pixels is None:
            pixels = _pixels(node.image)
            if pixels is None:
                return None
            self._points.pixels[node.image.name] = pixels
        height, width = pixels.shape[:2]
        uvs = np.mod(uvs, 1.0) if node.extension == "REPEAT" else uvs.clip(0, 1)
        column = np.floor(uvs[:, 0] * width).astype(int).clip(0, width - 1)
        return pixels[np.floor(uvs[:, 1] * height).astype(int).clip(0, height - 1), column].astype(np.float64)

    def _coordinates(self, socket: bpy.types.NodeSocket, groups: _Groups) -> np.ndarray | None:
        """UVs [N, 2] that a texture's Vector input gets; None for coordinates of another kind."""
        node, inner, output = _source(socket, groups)
        if node is None:
            return self._points.uvs("")
        if node.type == "UVMAP":
            return self._points.uvs(node.uv_map)
        if node.type == "TEX_COORD":
            return self._points.uvs("") if output.name == "UV" else None
        if node.type != "MAPPING" or node.vector_type != "POINT":
            return None
        uvs = self._coordinates(node.inputs["Vector"], inner)
        if uvs is None or any(_source(node.inputs[name], inner)[0] is not None for name in ("Location", "Rotation", "Scale")):
            return None
        turn, scale, move = (node.inputs[name].default_value for name in ("Rotation", "Scale", "Location"))
        if abs(turn[0]) > 1e-6 or abs(turn[1]) > 1e-6:
            return None
        cosine, sine = np.cos(turn[2]), np.sin(turn[2])
        return (uvs * scale[:2]) @ np.array([[cosine, sine], [-sine, cosine]]) + np.array(move[:2])


def _three(socket: bpy.types.NodeSocket) -> np.ndarray:
    """The value of an input as a colour [3]."""
    value = socket.default_value
    return np.array(value[:3]) if hasattr(value, "__len__") else np.full(3, float(value))


def _source(socket: bpy.types.NodeSocket, groups: _Groups) -> tuple[bpy.types.Node | None, _Groups, bpy.types.NodeSocket]:
    """What feeds an input, through reroutes, muted nodes and groups: (node, the groups it is in, its output), or, where nothing is linked,
    (None, groups, the input whose own value counts)."""
    for _ in range(MAX_DEPTH):
        link = next((one for one in socket.links if one.is_valid and not one.is_muted), None) if socket.is_linked else None
        if link is None:
            return None, groups, socket
        node, output = link.from_node, link.from_socket
        following: bpy.types.NodeSocket | None = None
        if node.mute:
            following = next((one.from_socket for one in node.internal_links if one.to_socket == output), None)
        elif node.type == "REROUTE":
            following = node.inputs[0]
        elif node.type == "GROUP" and node.node_tree is not None:
            inside = next((one for one in node.node_tree.nodes if one.type == "GROUP_OUTPUT" and one.is_active_output), None)
            following = None if inside is None else next((one for one in inside.inputs if one.identifier == output.identifier), None)
            groups = groups if following is None else (*groups, node)
        elif node.type == "GROUP_INPUT" and groups:
            following = next((one for one in groups[-1].inputs if one.identifier == output.identifier), None)
            groups = groups if following is None else groups[:-1]
        if following is None:
            return node, groups, output
        socket = following
    return None, groups, socket


def _pixels(image: bpy.types.Image) -> np.ndarray | None:
    """Linear RGBA float32 [H, W, 4] of an image, row 0 at the bottom; None where it has no pixels, too many, or several tiles."""
    width, height = image.size
    if image.source == "TILED" or not 0 < width * height <= MAX_IMAGE_PIXELS or image.channels < 1:
        return None
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    if len(pixels) == 0:
        return None
    pixels = pixels.reshape(height, width, image.channels)
    light = pixels[..., :3] if image.channels >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    encoded = not image.is_float and image.colorspace_settings.name == "sRGB"
    alpha = pixels[..., 3:4] if image.channels == 4 else np.ones((height, width, 1), np.float32)
    return np.concatenate([geometry.srgb_to_linear(light) if encoded else light, alpha], axis=-1).astype(np.float32)
