"""What is read from the scene: positions, modifiers, colours in sRGB, strokes as tubes, and that reading leaves no trace."""

from __future__ import annotations

from types import ModuleType

import bpy
import helpers
import numpy as np
import pytest
from helpers import add_cube, add_object, matrix, part, select

QUADS = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]], [[0, 1, 2, 3], [1, 4, 5, 2]]


def read(scene: ModuleType) -> object:
    before = helpers.fingerprint()
    reading = part(scene, "scene_read").read_sketch(bpy.context)
    assert helpers.fingerprint() == before
    return reading


def srgb(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def sorted_rows(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 4).T)]


def signed_volume(reading: object) -> float:
    a, b, c = (reading.part.vertices.astype(np.float64)[reading.part.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("scale", [(1, 2, 3), (-1, 2, 3), (-1, -2, 3), (-1, -2, -3)])
def test_positions_are_the_worlds_and_faces_look_outward(scene: ModuleType, scale: tuple[float, float, float]) -> None:
    cube = add_cube()
    cube.matrix_world = matrix((5, 6, 7), (0.3, 0.5, -0.7), scale)
    bpy.context.view_layer.update()
    reading = read(scene)
    np.testing.assert_allclose(sorted_rows(reading.part.vertices + reading.origin), sorted_rows(helpers.world_vertices(cube)), atol=1e-5)
    assert signed_volume(reading) == pytest.approx(8 * 6, rel=1e-5)


def test_modifiers_are_applied_and_ngons_become_triangles(scene: ModuleType) -> None:
    cube = add_cube()
    cube.modifiers.new("Array", "ARRAY").count = 3
    reading = read(scene)
    assert len(reading.part.vertices) == 24 and len(reading.part.faces) == 36 and signed_volume(reading) == pytest.approx(24)


def test_several_objects_are_joined_and_useless_ones_named(scene: ModuleType) -> None:
    first, second = add_cube("First"), add_cube("Second")
    points = add_object("Points", helpers.CUBE, [])
    second.location = (10, 0, 0)
    select(second, first, points)
    reading = read(scene)
    assert reading.names == ("Second", "First") and reading.active == "Second" and len(reading.part.faces) == 24
    assert len(reading.notes) == 1 and "'Points'" in reading.notes[0]


@pytest.mark.parametrize("kind", ["FLOAT_COLOR", "BYTE_COLOR"])
@pytest.mark.parametrize("domain", ["POINT", "CORNER"])
def test_colour_attributes_arrive_srgb_encoded(scene: ModuleType, kind: str, domain: str) -> None:
    quads = add_object("Quads", *QUADS)
    attribute = quads.data.color_attributes.new("Col", kind, domain)
    values = np.tile(np.array([0.2, 0.5, 0.8, 1.0], np.float32), (len(attribute.data), 1))
    attribute.data.foreach_set("color", values.ravel())
    # Byte colours hold 8 bits of the encoded value: half a step is 0.002.
    np.testing.assert_allclose(
        read(scene).part.colours, [[srgb(0.2), srgb(0.5), srgb(0.8)]] * 6, atol=1e-5 if kind == "FLOAT_COLOR" else 2.1e-3
    )


def test_corner_colours_are_averaged_at_shared_vertices(scene: ModuleType) -> None:
    quads = add_object("Quads", *QUADS)
    attribute = quads.data.color_attributes.new("Col", "FLOAT_COLOR", "CORNER")
    values = np.zeros((8, 4), np.float32)
    values[:4, 0] = 1.0  # the first face is red, the second black
    attribute.data.foreach_set("color", values.ravel())
    np.testing.assert_allclose(read(scene).part.colours[:, 0], [1, srgb(0.5), srgb(0.5), 1, 0, 0], atol=1e-5)


def principled(name: str, colour: tuple[float, float, float]) -> tuple[bpy.types.Material, bpy.types.NodeSocket]:
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    shader = next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    shader = shader or material.node_tree.nodes.new("ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (*colour, 1)
    return material, shader.inputs["Base Color"]


def test_materials_colour_their_faces(scene: ModuleType) -> None:
    quads = add_object("Quads", *QUADS)
    quads.data.materials.append(principled("Red", (0.5, 0, 0))[0])
    quads.data.materials.append(principled("Blue", (0, 0, 0.5))[0])
    quads.data.polygons[1].material_index = 1
    colours = read(scene).part.colours
    np.testing.assert_allclose(colours[[0, 3]], [[srgb(0.5), 0, 0]] * 2, atol=1e-5)
    np.testing.assert_allclose(colours[[4, 5]], [[0, 0, srgb(0.5)]] * 2, atol=1e-5)
    assert colours[1, 0] > 0 and colours[1, 2] > 0  # shared by both faces


def test_a_base_colour_texture_is_sampled(scene: ModuleType) -> None:
    quads = add_object("Quads", *QUADS)
    layer = quads.data.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", np.array([[0.25, 0.5]] * 4 + [[0.75, 0.5]] * 4, np.float32).ravel())
    image = bpy.data.images.new("Halves", 2, 1)
    image.pixels.foreach_set(np.array([1, 0.5, 0, 1, 0, 0.25, 1, 1], np.float32))
    material, socket = principled("Painted", (1, 1, 1))
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    material.node_tree.links.new(texture.outputs["Color"], socket)
    quads.data.materials.append(material)
    colours = part(scene, "scene_read").read_sketch(bpy.context).part.colours
    # An 8-bit image holds encoded values: what was painted is what arrives, to its step of 1/255.
    np.testing.assert_allclose(colours[[0, 4]], [[1, 0.5, 0], [0, 0.25, 1]], atol=3e-3)


def test_without_colours_none_are_sent(scene: ModuleType) -> None:
    add_cube()
    assert read(scene).part.colours is None


def test_a_curve_without_bevel_becomes_a_tube(scene: ModuleType) -> None:
    bpy.ops.curve.primitive_bezier_circle_add(radius=2)
    reading = read(scene)
    # A torus of radius 2 whose tube is 1 % of the diagonal of its plane, sqrt(32), thick.
    radius = 0.01 * np.sqrt(32)
    assert abs(signed_volume(reading)) == pytest.approx(2 * np.pi**2 * 2 * radius**2, rel=0.12)  # of an octagon


def test_a_bevelled_curve_and_text_come_as_they_look(scene: ModuleType) -> None:
    bpy.ops.curve.primitive_bezier_circle_add(radius=2)
    bpy.context.object.data.bevel_depth = 0.25
    np.testing.assert_allclose(np.ptp(read(scene).part.vertices, axis=0), [4.5, 4.5, 0.5], atol=0.02)
    bpy.ops.object.text_add()
    bpy.context.object.data.extrude = 0.1
    assert np.ptp(read(scene).part.vertices[:, 2]) == pytest.approx(0.2)


def test_hair_curves_become_tubes(scene: ModuleType) -> None:
    curves = bpy.data.hair_curves.new("Strokes")
    curves.add_curves([3, 2])
    curves.attributes["position"].data.foreach_set(
        "vector", np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [3, 0, 0], [3, 0, 1]], np.float32).ravel()
    )
    radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", np.full(5, 0.1, np.float32))
    obj = bpy.data.objects.new("Strokes", curves)
    bpy.context.scene.collection.objects.link(obj)
    select(obj)
    reading = read(scene)
    octagon = 0.5 * 8 * np.sin(np.pi / 4) * 0.1**2
    assert signed_volume(reading) == pytest.approx(3 * octagon, rel=1e-4)


def drawing(points: np.ndarray, radius: float) -> bpy.types.Object:
    """A Grease Pencil object with one stroke, of this Blender's kind."""
    if bpy.app.version < (4, 3):
        data = bpy.data.grease_pencils.new("Drawing")
        layer = data.layers.new("Layer", set_active=True)
        stroke = layer.frames.new(1).strokes.new()
        stroke.points.add(len(points))
        stroke.points.foreach_set("co", points.astype(np.float32).ravel())
        stroke.points.foreach_set("pressure", np.ones(len(points), np.float32))
        stroke.line_width = round(radius / 0.0005)
    else:
        data = (bpy.data.grease_pencils_v3 if hasattr(bpy.data, "grease_pencils_v3") else bpy.data.grease_pencils).new("Drawing")
        layer = data.layers.new("Layer", set_active=True)
        strokes = layer.frames.new(1).drawing
        strokes.add_strokes([len(points)])
        strokes.attributes["position"].data.foreach_set("vector", points.astype(np.float32).ravel())
        widths = strokes.attributes.get("radius") or strokes.attributes.new("radius", "FLOAT", "POINT")
        widths.data.foreach_set("value", np.full(len(points), radius, np.float32))
    obj = bpy.data.objects.new("Drawing", data)
    bpy.context.scene.collection.objects.link(obj)
    select(obj)
    return obj


def test_a_drawn_stroke_becomes_a_tube_of_its_own_thickness(scene: ModuleType) -> None:
    obj = drawing(np.array([[0, 0, 0], [0, 0, 1], [0, 0, 3]]), 0.05)
    obj.matrix_world = matrix((1, 2, 3), (0, 0.5, 0), (2, 2, 2))
    bpy.context.view_layer.update()
    reading = read(scene)
    octagon = 0.5 * 8 * np.sin(np.pi / 4) * 0.05**2
    assert signed_volume(reading) == pytest.approx(octagon * 3 * 8, rel=1e-3)
    assert reading.part.colours is not None


def test_hidden_layers_are_left_out(scene: ModuleType) -> None:
    obj = drawing(np.array([[0, 0, 0], [0, 0, 1]]), 0.05)
    obj.data.layers[0].hide = True
    bpy.context.view_layer.update()
    with pytest.raises(part(scene, "scene_read").SceneError, match="no faces or strokes"):
        part(scene, "scene_read").read_sketch(bpy.context)


def test_the_grey_that_blender_gives_is_nobodys_colour(scene: ModuleType) -> None:
    quads = add_object("Quads", *QUADS)
    quads.data.materials.append(principled("Untouched", (0.8, 0.8, 0.8))[0])
    assert read(scene).part.colours is None
    quads.data.materials.append(principled("Blue", (0, 0, 0.5))[0])
    quads.data.polygons[1].material_index = 1
    colours = read(scene).part.colours
    assert np.isnan(colours[[0, 3]]).all()
    np.testing.assert_allclose(colours[[1, 2, 4, 5]], [[0, 0, srgb(0.5)]] * 4, atol=1e-5)  # also at the border


def test_a_colour_that_cannot_be_told_is_unknown_and_one_behind_reroutes_is_found(scene: ModuleType) -> None:
    quads = add_object("Quads", *QUADS)
    material, socket = principled("Woven", (1, 0, 0))
    tree = material.node_tree
    tree.links.new(tree.nodes.new("ShaderNodeTexNoise").outputs["Color"], socket)
    quads.data.materials.append(material)
    assert read(scene).part.colours is None  # not the red of a socket that something is plugged into
    colour, first, second = (tree.nodes.new(kind) for kind in ("ShaderNodeRGB", "NodeReroute", "NodeReroute"))
    colour.outputs[0].default_value = (0, 0.5, 0, 1)
    for start, end in ((colour.outputs[0], first.inputs[0]), (first.outputs[0], second.inputs[0]), (second.outputs[0], socket)):
        tree.links.new(start, end)
    np.testing.assert_allclose(read(scene).part.colours, [[0, srgb(0.5), 0]] * 6, atol=1e-5)


def test_a_collection_instance_and_instances_of_geometry_nodes_are_read(scene: ModuleType) -> None:
    cube = add_cube("Inside")
    collection = bpy.data.collections.new("Set")
    collection.objects.link(cube)
    bpy.context.scene.collection.objects.unlink(cube)
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", collection
    empty.location, empty.scale = (5, 0, 0), (1, -2, 1)
    bpy.context.scene.collection.objects.link(empty)
    select(empty)
    reading = read(scene)
    assert len(reading.part.vertices) == 8 and signed_volume(reading) == pytest.approx(16) and reading.notes == ()
    np.testing.assert_allclose(reading.origin, [5, 0, 0], atol=1e-6)


def test_points_instanced_by_geometry_nodes_are_read(scene: ModuleType) -> None:
    carrier = add_object("Carrier", [[0, 0, 0], [10, 0, 0], [20, 0, 0]], [])
    tree = bpy.data.node_groups.new("Scatter", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    kinds = ("NodeGroupInput", "NodeGroupOutput", "GeometryNodeInstanceOnPoints", "GeometryNodeMeshCube")
    start, end, instances, box = (tree.nodes.new(kind) for kind in kinds)
    tree.links.new(start.outputs[0], instances.inputs["Points"])
    tree.links.new(box.outputs["Mesh"], instances.inputs["Instance"])
    tree.links.new(instances.outputs[0], end.inputs[0])
    carrier.modifiers.new("Scatter", "NODES").node_group = tree
    reading = read(scene)
    assert len(reading.part.faces) == 3 * 12 and signed_volume(reading) == pytest.approx(3)


def test_edges_without_faces_become_tubes(scene: ModuleType) -> None:
    add_object("Wire", [[0, 0, 0], [1, 0, 0], [1, 1, 0]], [], [[0, 1], [1, 2]])
    reading = read(scene)
    assert len(reading.part.faces) > 16 and signed_volume(reading) > 0 and reading.notes == ()


def test_a_metaball_of_a_family_is_not_called_left_out(scene: ModuleType) -> None:
    bpy.ops.object.metaball_add(type="BALL", location=(0, 0, 0))
    bpy.ops.object.metaball_add(type="BALL", location=(1, 0, 0))
    family = [obj for obj in bpy.context.scene.objects if obj.type == "META"]
    select(*family)
    reading = part(scene, "scene_read").read_sketch(bpy.context)
    assert len(family) == 2 and reading.notes == () and len(reading.names) == 1


# --- what the artist chose -------------------------------------------------------------------------------------------


def ball(name: str = "Ball") -> bpy.types.Object:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=16, ring_count=8)
    bpy.context.object.name = name
    return bpy.context.object


def link(material: bpy.types.Material, source: bpy.types.NodeSocket, target: bpy.types.NodeSocket) -> None:
    material.node_tree.links.new(source, target)


def two_halves(name: str = "Halves") -> bpy.types.Image:
    """Left red, right blue, 64 x 64."""
    image = bpy.data.images.new(name, 64, 64)
    pixels = np.zeros((64, 64, 4), np.float32)
    pixels[:, :32] = (1, 0, 0, 1)
    pixels[:, 32:] = (0, 0, 1, 1)
    image.pixels.foreach_set(pixels.ravel())
    return image


def test_an_untouched_material_is_no_choice(scene: ModuleType) -> None:
    """The default cube's, which everybody has: grey 0.8 that nobody chose must not be held against the prompt."""
    cube = add_cube()
    cube.data.materials.append(principled("Material", (0.8, 0.8, 0.8))[0])
    assert read(scene).part.colours is None
    cube.data.materials[0] = principled("White", (1, 1, 1))[0]
    assert np.allclose(read(scene).part.colours, 1)


def test_only_the_painted_object_has_colours(scene: ModuleType) -> None:
    add_cube().data.materials.append(principled("Red", (0.5, 0, 0))[0])
    ball().data.materials.append(principled("Material", (0.8, 0.8, 0.8))[0])
    bpy.ops.object.select_all(action="SELECT")
    colours = part(scene, "scene_read").read_sketch(bpy.context).part.colours
    known = np.isfinite(colours).all(axis=1)
    assert known.sum() == 8 and np.allclose(colours[known], [srgb(0.5), 0, 0], atol=1e-5)


def test_a_shader_is_followed_through_reroutes_groups_and_mixes(scene: ModuleType) -> None:
    """Group(texture x factor) -> reroute -> mix with black by one half -> Principled inside a mix of shaders."""
    obj = ball()
    material, socket = principled("Deep", (1, 1, 1))
    nodes, tree = material.node_tree.nodes, bpy.data.node_groups.new("Tinted", "ShaderNodeTree")
    tree.interface.new_socket("Tint", in_out="INPUT", socket_type="NodeSocketColor")
    tree.interface.new_socket("Result", in_out="OUTPUT", socket_type="NodeSocketColor")
    texture, times = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeMix")
    inside, outside = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    texture.image, times.data_type, times.blend_type = two_halves(), "RGBA", "MULTIPLY"
    times.inputs["Factor"].default_value = 1
    first, second = [one for one in times.inputs if one.type == "RGBA"][:2]
    tree.links.new(texture.outputs["Color"], first)
    tree.links.new(inside.outputs[0], second)
    tree.links.new(next(one for one in times.outputs if one.type == "RGBA"), outside.inputs[0])
    group, reroute, half = nodes.new("ShaderNodeGroup"), nodes.new("NodeReroute"), nodes.new("ShaderNodeMix")
    group.node_tree, half.data_type = tree, "RGBA"
    group.inputs[0].default_value = (0.5, 0.5, 0.5, 1)
    half.inputs["Factor"].default_value = 0.5
    low, high = [one for one in half.inputs if one.type == "RGBA"][:2]
    low.default_value = (0, 0, 0, 1)
    link(material, group.outputs[0], reroute.inputs[0])
    link(material, reroute.outputs[0], high)
    link(material, next(one for one in half.outputs if one.type == "RGBA"), socket)
    obj.data.materials.append(material)
    sent = part(scene, "scene_read").read_sketch(bpy.context).part
    assert sent.paint is not None and np.isfinite(sent.paint.colours).all()
    shades = np.unique(sent.paint.colours.round(3), axis=0)
    assert np.allclose(shades, [[0, 0, srgb(0.25)], [srgb(0.25), 0, 0]], atol=5e-3)
    low_points = sent.paint.points[sent.paint.colours[:, 0] > 0.3]
    assert 0.4 < len(low_points) / len(sent.paint.points) < 0.6


def test_where_a_shader_cannot_be_followed_nothing_is_known(scene: ModuleType) -> None:
    obj = ball()
    material, socket = principled("Noise", (1, 0, 0))
    noise = material.node_tree.nodes.new("ShaderNodeTexNoise")
    link(material, noise.outputs["Color"], socket)
    obj.data.materials.append(material)
    assert part(scene, "scene_read").read_sketch(bpy.context).part.colours is None


def test_a_shader_that_the_output_does_not_show_says_nothing(scene: ModuleType) -> None:
    obj = ball()
    material, _ = principled("Two", (0.8, 0.8, 0.8))
    stray = material.node_tree.nodes.new("ShaderNodeEmission")
    stray.inputs["Color"].default_value = (1, 0, 0, 1)
    obj.data.materials.append(material)
    assert part(scene, "scene_read").read_sketch(bpy.context).part.colours is None


def test_a_material_counts_before_an_attribute_that_it_does_not_use(scene: ModuleType) -> None:
    """A mask or a left-over beside a texture is no colour; one beside an untouched material is."""
    obj = ball()
    attribute = obj.data.color_attributes.new("Mask", "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", np.tile(np.array([0, 1, 0, 1], np.float32), len(obj.data.vertices)))
    material, socket = principled("Painted", (1, 1, 1))
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = two_halves()
    link(material, texture.outputs["Color"], socket)
    obj.data.materials.append(material)
    reader = part(scene, "scene_read")
    assert reader.read_sketch(bpy.context).part.paint.colours[:, 1].max() < 0.01
    obj.data.materials[0] = principled("Untouched", (0.8, 0.8, 0.8))[0]
    assert np.allclose(reader.read_sketch(bpy.context).part.colours, [0, 1, 0], atol=1e-3)


def test_what_is_painted_between_the_vertices_is_read_and_transparent_texels_are_not(scene: ModuleType) -> None:
    """A quad whose corners lie on a white border round a red square; the border of a second one is transparent."""
    pixels = np.ones((32, 32, 4), np.float32)
    pixels[2:-2, 2:-2] = (1, 0, 0, 1)
    reader = part(scene, "scene_read")
    for alpha in (1.0, 0.0):
        obj = add_object("Card", [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [(0, 1, 2, 3)])
        layer = obj.data.uv_layers.new(name="UVMap")
        layer.uv.foreach_set("vector", np.array([0, 0, 1, 0, 1, 1, 0, 1], np.float32))
        image = bpy.data.images.new(f"Card {alpha}", 32, 32, alpha=True)
        pixels[..., 3] = np.where(pixels[..., 1] > 0.5, alpha, 1)
        image.pixels.foreach_set(pixels.ravel())
        material, socket = principled(f"Card {alpha}", (1, 1, 1))
        texture = material.node_tree.nodes.new("ShaderNodeTexImage")
        texture.image = image
        link(material, texture.outputs["Color"], socket)
        link(material, texture.outputs["Alpha"], socket.node.inputs["Alpha"])
        obj.data.materials.append(material)
        bpy.ops.object.select_all(action="DESELECT")
        obj.select_set(True)
        bpy.context.view_layer.objects.active = obj
        paint = reader.read_sketch(bpy.context).part.paint
        white = (paint.colours[:, 1] > 0.5).mean()
        assert abs(white - (1 - (28 / 32) ** 2)) < 0.02 if alpha else white == 0
        assert np.median(paint.colours, axis=0).tolist() == [1, 0, 0]


@pytest.mark.skipif(bpy.app.version < (5, 0), reason="the files were saved by Blender 5.0")
@pytest.mark.parametrize(("name", "known"), [("blockout_default_material", False), ("blockout_no_material", False)])
def test_blockouts_as_people_save_them_have_no_colours(scene: ModuleType, name: str, known: bool) -> None:
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "cases" / "blender" / f"{name}.blend"
    with bpy.data.libraries.load(str(path)) as (source, target):
        target.objects = source.objects
    bpy.ops.object.select_all(action="DESELECT")
    for obj in target.objects:
        if obj.type == "MESH":
            bpy.context.scene.collection.objects.link(obj)
            obj.select_set(True)
            bpy.context.view_layer.objects.active = obj
    sent = part(scene, "scene_read").read_sketch(bpy.context).part
    assert len(sent.faces) > 10 and (sent.colours is not None) == known and sent.paint is None


def material(name: str, colour: tuple[float, float, float] | None) -> bpy.types.Material:
    """A new material as Blender makes it, with another base colour where one is given."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    if colour is not None:
        made.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colour, 1)
    return made


@pytest.mark.parametrize(
    ("keep", "expected", "words"),
    [
        ("yes", [1, 0, 0], "Sketch: from materials"),
        ("materials", [1, 0, 0], "Sketch: from materials"),
        ("attributes", [0, 1, 0], "Sketch: from colour attributes"),
        ("no", None, "left to the prompt"),
    ],
)
def test_the_switch_says_whose_colours_are_read_and_the_panel_tells_it_before(
    scene: ModuleType, keep: str, expected: list[float] | None, words: str
) -> None:
    cube = add_cube()
    cube.data.materials.append(material("Red", (1, 0, 0)))
    attribute = cube.data.color_attributes.new("Painted", "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", np.tile([0, 1, 0, 1], len(attribute.data)).astype(np.float32))
    bpy.context.scene.sketchbridge.keep_colours = keep
    assert words in part(scene, "outline").colours_told(bpy.context)
    found = part(scene, "scene_read").read_sketch(bpy.context, keep=keep).part
    if expected is None:
        assert found.colours is None and found.paint is None
    else:
        np.testing.assert_allclose(found.colours, [expected] * len(found.colours), atol=1e-3)


def test_the_panel_tells_what_has_no_colour_that_somebody_chose(scene: ModuleType) -> None:
    plain, red = add_cube("Plain"), add_cube("Red")
    plain.data.materials.append(material("Untouched", None))
    red.data.materials.append(material("Red", (1, 0, 0)))
    select(plain, red)
    told = part(scene, "outline").colours_told
    assert told(bpy.context) == "Colours kept: Red: from materials. Plain: none, starts in grey."
    select(plain)
    assert told(bpy.context) == "No colour was chosen: Plain starts in grey."
    select()
    assert told(bpy.context) == ""


def test_each_material_has_its_own_colour_where_both_use_the_whole_uv_square(scene: ModuleType) -> None:
    """The usual game asset: two textures, one layout each, both over all of 0..1."""
    faces = [[0, 1, 3, 2], [4, 6, 7, 5]]
    obj = add_object("Halves", helpers.CUBE, faces)
    layer = obj.data.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", np.tile([0, 0, 1, 0, 1, 1, 0, 1], 2).astype(np.float32))
    for name, colour in (("Left", (1, 0, 0)), ("Right", (0, 0, 1))):
        image = bpy.data.images.new(name, 8, 8)
        image.pixels.foreach_set(np.tile([*colour, 1.0], 64).astype(np.float32))
        made = material(name, None)
        node = made.node_tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        made.node_tree.links.new(node.outputs["Color"], made.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
        obj.data.materials.append(made)
    obj.data.polygons.foreach_set("material_index", [0, 1])
    found = part(scene, "scene_read").read_sketch(bpy.context).part
    side = np.sign(found.vertices[:, 0])
    np.testing.assert_allclose(found.colours[side < 0], [[1, 0, 0]] * 4, atol=2e-2)
    np.testing.assert_allclose(found.colours[side > 0], [[0, 0, 1]] * 4, atol=2e-2)
    if found.paint is not None:
        red = found.paint.points[:, 0] < 0
        assert found.paint.colours[red, 0].min() > 0.95 and found.paint.colours[~red, 2].min() > 0.95
    assert "from textures" in part(scene, "outline").colours_told(bpy.context)
