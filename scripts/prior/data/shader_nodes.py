"""Materials as Blender node trees. Needs bpy."""

from __future__ import annotations

import math

import bpy

from scripts.prior.data.workbench import Material

PATTERN_EDGE = (0.35, 0.65)


def build_material(look: Material) -> bpy.types.Material:
    """A Principled BSDF with the look's pattern and relief."""
    material = bpy.data.materials.new("look")
    material.use_nodes = True
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF"]
    inputs = shader.inputs
    inputs["Base Color"].default_value = (*look.colour, 1)
    inputs["Roughness"].default_value = look.roughness
    inputs["Metallic"].default_value = look.metallic
    inputs["Coat Weight"].default_value = look.coat
    inputs["Coat Roughness"].default_value = 0.06
    inputs["Transmission Weight"].default_value = look.transmission
    if look.subsurface:
        inputs["Subsurface Weight"].default_value = look.subsurface
        inputs["Subsurface Scale"].default_value = 0.05
    if look.glow:
        inputs["Emission Color"].default_value = (*look.colour, 1)
        inputs["Emission Strength"].default_value = look.glow
    if look.second is not None or look.bump:
        _add_pattern(tree, shader, look)
    return material


def _add_pattern(tree: bpy.types.NodeTree, shader: bpy.types.Node, look: Material) -> None:
    """Mix the two colours by the pattern, and raise the surface by it."""
    coordinates = tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]
    factor = _factor(tree, look, coordinates)
    if look.second is not None:
        ramp = tree.nodes.new("ShaderNodeValToRGB")
        low, high = ramp.color_ramp.elements
        low.position, high.position = PATTERN_EDGE
        low.color, high.color = (*look.colour, 1), (*look.second, 1)
        tree.links.new(factor, ramp.inputs["Fac"])
        tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    if look.bump:
        bump = tree.nodes.new("ShaderNodeBump")
        bump.inputs["Strength"].default_value = look.bump
        bump.inputs["Distance"].default_value = 0.02
        tree.links.new(factor, bump.inputs["Height"])
        tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])


def _factor(tree: bpy.types.NodeTree, look: Material, coordinates: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """The pattern as a number in 0..1 at each point."""
    make = {"stripes": _stripes, "spots": _spots, "wood": _wood, "bricks": _bricks}
    return make.get(look.pattern, _noise)(tree, look.scale, coordinates)


def _noise(tree: bpy.types.NodeTree, scale: float, coordinates: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    node = tree.nodes.new("ShaderNodeTexNoise")
    node.inputs["Scale"].default_value = scale
    node.inputs["Detail"].default_value = 6
    tree.links.new(coordinates, node.inputs["Vector"])
    return node.outputs["Fac"]


def _wood(tree: bpy.types.NodeTree, scale: float, coordinates: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    factor = _noise(tree, scale, coordinates)
    factor.node.inputs["Distortion"].default_value = 2
    return factor


def _stripes(tree: bpy.types.NodeTree, scale: float, coordinates: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    node = tree.nodes.new("ShaderNodeTexWave")
    node.bands_direction = "Z"
    node.inputs["Scale"].default_value = scale * math.pi / 10
    node.inputs["Distortion"].default_value = 0.3
    tree.links.new(coordinates, node.inputs["Vector"])
    return node.outputs["Fac"]


def _spots(tree: bpy.types.NodeTree, scale: float, coordinates: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    node = tree.nodes.new("ShaderNodeTexVoronoi")
    node.inputs["Scale"].default_value = scale
    node.inputs["Randomness"].default_value = 0.5
    tree.links.new(coordinates, node.inputs["Vector"])
    invert = tree.nodes.new("ShaderNodeMath")
    invert.operation = "SUBTRACT"
    invert.inputs[0].default_value = 0.85
    tree.links.new(node.outputs["Distance"], invert.inputs[1])
    return invert.outputs["Value"]


def _bricks(tree: bpy.types.NodeTree, scale: float, coordinates: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Courses on upright faces: along x + y, and up."""
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    along = tree.nodes.new("ShaderNodeMath")
    flat = tree.nodes.new("ShaderNodeCombineXYZ")
    node = tree.nodes.new("ShaderNodeTexBrick")
    node.inputs["Scale"].default_value = scale
    node.inputs["Mortar Size"].default_value = 0.04
    node.inputs["Color1"].default_value = (0.3, 0.3, 0.3, 1)
    node.inputs["Color2"].default_value = (0.6, 0.6, 0.6, 1)
    node.inputs["Mortar"].default_value = (0.0, 0.0, 0.0, 1)
    tree.links.new(coordinates, split.inputs[0])
    tree.links.new(split.outputs["X"], along.inputs[0])
    tree.links.new(split.outputs["Y"], along.inputs[1])
    tree.links.new(along.outputs[0], flat.inputs["X"])
    tree.links.new(split.outputs["Z"], flat.inputs["Y"])
    tree.links.new(flat.outputs[0], node.inputs["Vector"])
    return node.outputs["Color"]
