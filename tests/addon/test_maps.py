"""Maps in Blender: the files that the engine writes, the sockets and colour spaces they get, and where they are kept."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import bpy
import helpers
import numpy as np
import pytest

from engine.formats.exr import encode_exr
from engine.formats.map_files import encode_map, packed

RAMP = np.stack(np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 1, 17)), axis=-1)


def material_of_maps(scene: ModuleType, maps: dict[str, np.ndarray], form: str = "png8", **report) -> bpy.types.Material:
    """The material that a result with these maps gets."""
    materials, protocol = helpers.part(scene, "scene_materials"), helpers.part(scene, "protocol")
    files = {kind: encode_map(kind, image, form) for kind, image in maps.items()}
    none = np.zeros((0, 3), np.float32)
    done = protocol.Done("job", {"mean_colours": {}, **report}, none, none.astype(np.int32), None, files)
    with materials.Attempt() as attempt:
        return materials.Images(done, attempt).material(0, "Thing", "UVMap")


def flat(value: int, channels: int = 1, dtype: type = np.uint8) -> np.ndarray:
    return np.full((8, 8, channels), value, dtype)


def source(material: bpy.types.Material, socket: str) -> bpy.types.Node:
    """The node that a socket of the material's shader gets its value from."""
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    return shader.inputs[socket].links[0].from_node


MAPS = {
    "albedo": flat(90, 3),
    "roughness": flat(128),
    "metallic": flat(0),
    "normal": flat(128, 3),
    "occlusion": flat(200),
    "height": flat(128),
}


def test_every_map_has_its_socket_and_its_colour_space(scene: ModuleType) -> None:
    material = material_of_maps(scene, MAPS)
    assert source(material, "Base Color").image.colorspace_settings.name == "sRGB"
    for socket in ("Roughness", "Metallic"):
        assert source(material, socket).image.colorspace_settings.name == "Non-Color"
    bend = source(material, "Normal")
    assert bend.type == "NORMAL_MAP" and bend.uv_map == "UVMap"
    assert bend.inputs["Color"].links[0].from_node.image.colorspace_settings.name == "Non-Color"
    group = next(node for node in material.node_tree.nodes if node.type == "GROUP")
    assert group.node_tree.name == "glTF Material Output" and group.inputs["Occlusion"].is_linked
    textures = [node for node in material.node_tree.nodes if node.type == "TEX_IMAGE"]
    assert all(node.inputs["Vector"].links[0].from_node.uv_map == "UVMap" and node.image.packed_file for node in textures)
    height = next(node for node in textures if node.label == "height")
    assert not height.outputs["Color"].is_linked


def test_orm_is_split_into_its_sockets(scene: ModuleType) -> None:
    material = material_of_maps(scene, packed(MAPS, "orm"))
    images = {node.label for node in material.node_tree.nodes if node.type == "TEX_IMAGE"}
    assert images == {"albedo", "orm", "normal", "height"}
    for socket, output in (("Roughness", 1), ("Metallic", 2)):
        split = source(material, socket)
        assert split.type == "SEPARATE_COLOR" and split.outputs[output].links[0].to_socket.name == socket


@pytest.mark.parametrize(("form", "tolerance"), [("png8", 0.5 / 255 + 1e-6), ("png16", 0.5 / 65535 + 1e-6), ("exr", 3e-4)])
def test_blender_reads_what_the_engine_wrote(scene: ModuleType, tmp_path: Path, form: str, tolerance: float) -> None:
    """The values of a ramp, rows from the top; what no file holds is not asked of it."""
    kinds = {"png8": np.uint8, "png16": np.uint16}
    image = np.concatenate([RAMP, RAMP[..., :1] * RAMP[..., 1:]], axis=-1)
    held = np.rint(image * np.iinfo(kinds[form]).max).astype(kinds[form]) if form in kinds else image.astype(np.float32)
    path = tmp_path / f"map{'.exr' if form == 'exr' else '.png'}"
    path.write_bytes(encode_map("normal", held, form))
    loaded = bpy.data.images.load(str(path))
    loaded.colorspace_settings.name = "Non-Color"
    values = np.array(loaded.pixels[:]).reshape(17, 24, -1)[::-1, :, :3]
    np.testing.assert_allclose(values, image, atol=tolerance)


def test_exr_files_of_one_and_four_channels_and_of_noise(scene: ModuleType, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((37, 9, 4)).astype(np.float32)
    for channels in (1, 4):
        path = tmp_path / f"noise{channels}.exr"
        path.write_bytes(encode_exr(noise[..., :channels]))
        loaded = bpy.data.images.load(str(path))
        loaded.colorspace_settings.name, loaded.alpha_mode = "Non-Color", "CHANNEL_PACKED"
        values = np.array(loaded.pixels[:]).reshape(37, 9, -1)[::-1]
        np.testing.assert_allclose(values[..., :channels], noise[..., :channels], atol=1e-3)


def test_colours_in_exr_are_linear_and_said_to_be(scene: ModuleType) -> None:
    material = material_of_maps(scene, {"albedo": np.full((8, 8, 3), 0.5, np.float32)}, "exr")
    image = source(material, "Base Color").image
    assert image.colorspace_settings.name == "Linear Rec.709" and image.is_float
    assert image.pixels[0] == pytest.approx(0.2140, abs=1e-3)


def test_images_beside_the_file_never_replace_others(scene: ModuleType, tmp_path: Path) -> None:
    """Saved beside a saved .blend, under a new name each; packed where the file has no place yet."""
    unsaved = material_of_maps(scene, {"albedo": flat(90, 3)}, image_files="beside")
    assert source(unsaved, "Base Color").image.packed_file
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    for count in (1, 2):
        material = material_of_maps(scene, {"albedo": flat(90, 3)}, image_files="beside")
        image = source(material, "Base Color").image
        assert not image.packed_file and Path(bpy.path.abspath(image.filepath)).parent == tmp_path
        assert len(list(tmp_path.glob("*albedo*.png"))) == count


def test_a_layout_within_the_square_does_not_mix_in_the_opposite_border(scene: ModuleType) -> None:
    for repeats, extension in ((False, "EXTEND"), (True, "REPEAT")):
        told = [{"name": "Thing", "pieces": [0], "tiles": [1001], "variation": 0, "repeats": repeats}]
        assert source(material_of_maps(scene, MAPS, images=told), "Base Color").extension == extension


def test_glb_and_usd_carry_the_maps(scene: ModuleType, tmp_path: Path) -> None:
    cube = helpers.add_cube()
    cube.data.uv_layers.new(name="UVMap")
    cube.data.materials.append(material_of_maps(scene, packed(MAPS, "orm")))
    bpy.ops.export_scene.gltf(filepath=str(tmp_path / "cube.glb"), export_format="GLB")
    data = (tmp_path / "cube.glb").read_bytes()
    for texture in (b'"baseColorTexture"', b'"metallicRoughnessTexture"', b'"normalTexture"', b'"occlusionTexture"'):
        assert texture in data
    bpy.ops.wm.usd_export(filepath=str(tmp_path / "cube.usda"), export_materials=True, generate_preview_surface=True)
    text = (tmp_path / "cube.usda").read_text()
    assert "UsdPreviewSurface" in text and text.count("UsdUVTexture") >= 3
    assert all(f"inputs:{name}.connect" in text for name in ("diffuseColor", "roughness", "metallic", "normal"))
