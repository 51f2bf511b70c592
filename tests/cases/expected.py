"""What is right for every mesh in `tests/cases/meshes`: from how each was made, not from what a reader said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MESHES = Path(__file__).resolve().parent / "meshes"
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")

Colour = tuple[float, float, float]
RED, BLUE = (200 / 255, 30 / 255, 30 / 255), (30 / 255, 60 / 255, 200 / 255)  # of the textures and of most painted balls
KD_RED: Colour = (0.906, 0.248, 0.248)  # linear 0.8 0.05 0.05
DEEP_RED: Colour = (0.906, 0.152, 0.152)  # linear 0.8 0.02 0.02
BALL, COARSE_BALL = 12.388, 11.861  # areas of a ball of radius 1 with 528 and with 120 triangles

TOP, BOTTOM, LEFT, RIGHT, FRONT, BACK = (2, 1), (2, -1), (0, -1), (0, 1), (1, -1), (1, 1)
"""(axis, sign) of the side of the world's bounding box where a colour is looked at."""


@dataclass(frozen=True)
class Expected:
    """area and extents (world, x y z) of the mesh; what is seen at its sides; share of the surface with colours that somebody chose;
    whether the layout for a texture is the file's ("kept"), is to be made ("new") or there is none (""); words that the notes must hold;
    or the code of the error and a word of its text."""

    area: float = BALL
    extents: tuple[float, float, float] = (2, 2, 2)
    seen: tuple[tuple[tuple[int, int], Colour], ...] = ()
    known: float = 0.0
    layout: str = ""
    notes: tuple[str, ...] = ()
    error: tuple[str, str] | None = None


def ball(*seen: tuple[tuple[int, int], Colour], layout: str = "kept", notes: tuple[str, ...] = (), **more: object) -> Expected:
    return Expected(seen=seen, known=1.0 if seen else 0.0, layout=layout, notes=notes, **more)  # type: ignore[arg-type]


def plain(colour: Colour, layout: str = "kept", **more: object) -> Expected:
    return ball((TOP, colour), (BOTTOM, colour), layout=layout, **more)


def refused(code: str, word: str) -> Expected:
    return Expected(error=(code, word))


RED_ON_BLUE = ball((TOP, RED), (BOTTOM, BLUE))

EXPECTED: dict[str, Expected] = {
    # materials and textures of glTF
    "alpha_card.glb": Expected(4.0, (2, 0, 2), ((TOP, (60 / 255, 170 / 255, 40 / 255)),), 1.0, "kept"),
    "bl_factor_times_texture.glb": plain((RED[0], 0.074, 0.074)),
    "color_u8_not_normalized.glb": plain((0.898, 0.378, 0.378), layout=""),
    "color_u16_norm.glb": plain(RED, layout=""),
    "color_vec3_float.glb": plain(RED, layout=""),
    "emissive_only.glb": plain(DEEP_RED),
    "image_without_source.glb": ball(notes=("could not be read",)),
    "ktx2_required.glb": ball(notes=("KTX2",)),
    "lowpoly_textured_box.glb": Expected(6.0, (1, 1, 1), ((TOP, RED), (BOTTOM, RED)), 1.0, "kept"),
    "material_ext_required.glb": plain(KD_RED),
    "no_material.glb": ball(),
    "specgloss_required.glb": plain(DEEP_RED),
    "tex_truncated.glb": ball(notes=("truncated",)),
    "tex_cmyk.glb": RED_ON_BLUE,
    "tex_palette.glb": ball((TOP, (0.8, 0.115, 0.115)), (BOTTOM, (0.116, 0.213, 0.8))),
    "texture_index_beyond.glb": ball(notes=("missing from the file",)),
    "texture_on_texcoord1.glb": RED_ON_BLUE,
    "texture_transform_flip.glb": ball((TOP, BLUE), (BOTTOM, RED)),
    "uri_backslash.gltf": RED_ON_BLUE,
    "uri_percent20.gltf": RED_ON_BLUE,
    "uri_plain_space.gltf": RED_ON_BLUE,
    "uri_url.gltf": ball(notes=("on a network",)),
    "webp_required.glb": RED_ON_BLUE,
    # layouts
    "mirrored_uv.glb": Expected(known=1.0, layout="kept"),
    "texcoord_vec3_and_vec2.glb": Expected(
        15.485, (3.1, 2, 2), ((LEFT, (0.898, 0.378, 0.378)), (RIGHT, (0.378, 0.378, 0.898))), 1.0, "kept"
    ),
    "texcoord_vec3_textured.glb": RED_ON_BLUE,
    "three_full_uv_parts.glb": Expected(11.242, (3.7, 1.1, 1.1), ((LEFT, DEEP_RED), (RIGHT, (0.152, 0.152, 0.906))), 1.0, "kept"),
    "tiled_uv_12.glb": ball(),
    "uv_all_zero.glb": ball(),  # kept by the reader; the export sees that it has no area and makes one
    "uv_one_nan.glb": ball(),
    # structure of glTF
    "bin_not_multiple_of_4.glb": plain((0.898, 0.378, 0.378), layout=""),
    "draco_required.glb": Expected(),
    "draco_with_fallback.glb": Expected(),
    "mesh_and_lines.glb": Expected(notes=("lines or points",)),
    "morph_weight1.glb": Expected(30.469, (2, 2, 6), layout="kept"),
    "negative_scale.glb": Expected(7.0, (1, 0.5, 2)),
    "quantized.glb": Expected(4 * BALL, (4, 4, 4), layout="kept"),
    "skinned_node_transform.glb": Expected(30.469, (2, 2, 6), layout="kept"),
    "sparse.glb": Expected(12.388, (2, 2, 3)),
    "two_scenes.glb": Expected(24.0, (2, 2, 2)),
    # OBJ and its libraries
    "mtl_backslash.obj": RED_ON_BLUE,
    "mtl_bom.obj": plain(KD_RED),
    "mtl_decimal_comma.obj": plain(KD_RED),
    "mtl_map_options.obj": RED_ON_BLUE,
    "mtl_missing.obj": ball(notes=("nowhere.mtl",)),
    "mtl_texture_with_space.obj": RED_ON_BLUE,
    "mtl_windows_absolute.obj": RED_ON_BLUE,
    "mtllib_two_files.obj": plain(KD_RED),
    "mtllib_with_space.obj": plain(KD_RED),
    "ngon_L.obj": Expected(17.2, (3, 3, 0.6)),
    "ngon_star.obj": Expected(4.499, (1.902, 0.3, 1.809)),
    "obj_bom.obj": Expected(),
    "obj_crlf.obj": ball(),
    "obj_groups.obj": Expected(),
    "obj_mrgb.obj": plain(RED, layout=""),
    "obj_negative.obj": Expected(),
    "obj_vcol01.obj": plain((0.8, 0.1, 0.1), layout=""),
    "obj_vcol255.obj": plain(RED, layout=""),
    "obj_vcol_some.obj": Expected(2 * BALL, (4.5, 2, 2), ((LEFT, (0.8, 0.1, 0.1)),), 0.5),
    "utm_far.obj": Expected(281_735.0, (300, 300, 300)),
    # PLY and STL
    "ply_ascii.ply": plain(RED, layout=""),
    "ply_big_endian.ply": plain(RED, layout=""),
    "ply_diffuse_colour.ply": plain(RED, layout=""),
    "ply_extra_props.ply": plain(RED, layout=""),
    "ply_float_colour.ply": plain((0.8, 0.1, 0.1), layout=""),
    "ply_point_cloud.ply": refused("sketch_empty", "no triangles"),
    "ply_st_uv.ply": ball(),
    "ply_st_uv_colour.ply": plain(RED),
    "ply_texturefile.ply": ball((BACK, RED), (FRONT, BLUE)),
    "ply_ushort_colour.ply": plain(RED, layout=""),
    "STL_UPPER_CRLF.STL": Expected(COARSE_BALL),
    "stl_ascii.stl": Expected(),
    "stl_binary_solid.stl": Expected(),
    "stl_not.stl": refused("corrupt_file", "no STL"),
    "stl_two_solids.stl": Expected(2 * COARSE_BALL),
    "stl_wrong_count.stl": Expected(notes=("528",)),
    # what cannot be read
    "gltf1_binary.glb": refused("corrupt_file", "glTF 1.0"),
    "gltf1_text.gltf": refused("corrupt_file", "glTF 1.0"),
    "html.glb": refused("corrupt_file", "binary glTF"),
    "lfs_pointer.glb": refused("corrupt_file", "binary glTF"),
    "lines_only.glb": refused("sketch_empty", "no triangles"),
    "meshopt_required.glb": refused("unsupported_format", "without compression"),
    "points_only.glb": refused("sketch_empty", "no triangles"),
}


def files() -> list[Path]:
    """The mesh files, by name."""
    return sorted(path for path in MESHES.iterdir() if path.suffix.lower() in SUFFIXES)
