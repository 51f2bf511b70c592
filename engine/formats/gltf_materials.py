"""The base colours of glTF materials: metallic-roughness, specular-glossiness, unlit and emissive. numpy and Pillow only.

Nothing here stops the geometry: what cannot be read or is not known is left out with a note.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import InputError
from engine.formats.gltf_document import Document
from engine.formats.parts import Appearance, is_default
from engine.formats.textures import UnreadableImage, read_image

OF_TABLES = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
"""What tables that contradict themselves raise."""
_SPECULAR = "KHR_materials_pbrSpecularGlossiness"
_SOURCES = ("EXT_texture_webp", "KHR_texture_basisu", "MSFT_texture_dds", "EXT_texture_avif")
_WRAPS = {33071: "clamp", 33648: "mirror"}
BLEND_CUTOFF = 1 / 255
"""Alpha below which nothing of a blended surface is to be seen."""


class Materials:
    """The appearances of a document's primitives; every material and picture is read once."""

    def __init__(self, document: Document, notes: list[str]) -> None:
        self._document = document
        self._notes = notes
        self._images: dict[int, np.ndarray | None] = {}
        self.defaults: set[str] = set()  # names of the materials whose colour is their application's default

    def of(self, index: int | None, arrays: dict[str, np.ndarray]) -> Appearance | None:
        """The appearance of a primitive with these vertex arrays; None where nobody chose a colour."""
        vertex = _vertex_colours(arrays)
        try:
            table = {} if index is None else self._document.json["materials"][index]
            appearance, chosen = self._appearance(table, index, arrays)
        except OF_TABLES as error:
            self._note(f"Material {index} contradicts itself ({type(error).__name__}: {error}); its colours are left out.")
            appearance, chosen = Appearance(), False
        appearance.vertex = vertex
        if vertex is not None and np.ptp(vertex[:, :3], axis=0).max(initial=0) < 1e-3 and vertex[:, :3].min(initial=1) > 1 - 1e-3:
            vertex = None  # all white, which changes nothing
        return appearance if chosen or vertex is not None else None

    def name(self, index: int) -> str:
        """A material's name, or its number where it has none."""
        try:
            return str(self._document.json["materials"][index].get("name") or f"Material {index}")
        except OF_TABLES:
            return f"Material {index}"

    def _appearance(self, table: dict[str, Any], index: int | None, arrays: dict[str, np.ndarray]) -> tuple[Appearance, bool]:
        """What a material says without vertex colours, and whether somebody chose it."""
        pbr, specular = table.get("pbrMetallicRoughness", {}), table.get("extensions", {}).get(_SPECULAR)
        factor, texture = ("baseColorFactor", "baseColorTexture") if specular is None else ("diffuseFactor", "diffuseTexture")
        says = pbr if specular is None else specular
        base = np.asarray(says.get(factor, (1.0, 1.0, 1.0, 1.0)), dtype=np.float64)[:4].clip(0, 1)
        emitted = np.asarray(table.get("emissiveFactor", (0.0, 0.0, 0.0)), dtype=np.float64)[:3].clip(0, 1)
        if base[:3].max() < 1e-3 and emitted.max() > 1e-3:
            base, says, texture = np.array([*emitted, base[3]]), table, "emissiveTexture"
        mode = table.get("alphaMode", "OPAQUE")
        cutoff = float(table.get("alphaCutoff", 0.5)) if mode == "MASK" else BLEND_CUTOFF if mode == "BLEND" else 0.0
        appearance = Appearance(base, cutoff=cutoff)
        if texture in says:
            self._paint(appearance, says[texture], arrays)
        if appearance.image is None and is_default(base[:3]):
            if index is not None and texture not in says:
                self.defaults.add(f"'{table['name']}'" if table.get("name") else f"number {index}")
            return appearance, False
        return appearance, True

    def _paint(self, appearance: Appearance, reference: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Give the appearance the texture that is referred to; a note where it cannot be had."""
        transform = reference.get("extensions", {}).get("KHR_texture_transform", {})
        channel = f"TEXCOORD_{transform.get('texCoord', reference.get('texCoord', 0))}"
        try:
            texture = self._document.json["textures"][reference["index"]]
            sampler = self._document.json["samplers"][texture["sampler"]] if "sampler" in texture else {}
            sources = [texture["extensions"][name]["source"] for name in _SOURCES if name in texture.get("extensions", {})]
            sources += [texture["source"]] if "source" in texture else []
            image = next((found for found in map(self._image, sources) if found is not None), None)
        except OF_TABLES as error:
            self._note(f"Texture {reference.get('index')} is missing from the file ({type(error).__name__}); its colours are left out.")
            return
        if image is None or channel not in arrays:
            if image is not None or not sources:
                self._note(f"Texture {reference['index']} has no {'UV layout' if sources else 'picture'}; its colours are left out.")
            return
        uvs = _transformed(arrays[channel][:, :2].astype(np.float64), transform)
        appearance.image, appearance.uvs = image, np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=-1)
        appearance.wrap = _WRAPS.get(sampler.get("wrapS", 0), "repeat"), _WRAPS.get(sampler.get("wrapT", 0), "repeat")

    def _image(self, index: int) -> np.ndarray | None:
        """uint8 [H, W, 4], or None with a note where it cannot be read."""
        if index not in self._images:
            entry: dict[str, Any] = {}
            try:
                entry = self._document.json["images"][index]
                data = self._document.view(entry["bufferView"])[0] if "bufferView" in entry else self._document.uri(entry["uri"])
                self._images[index] = read_image(data)
            except (UnreadableImage, InputError, *OF_TABLES) as error:
                uri = str(entry.get("uri", ""))
                name = entry.get("name") or ("" if uri.startswith("data:") else uri[:80]) or index
                why = error.message if isinstance(error, InputError) else str(error)
                why = why if isinstance(error, InputError | UnreadableImage) else "it is missing"
                self._note(f"The texture '{name}' could not be read ({why}); its colours are left out.")
                self._images[index] = None
        return self._images[index]

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def _vertex_colours(arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    """float64 [V, 4] in 0..1 of COLOR_0, or None."""
    if "COLOR_0" not in arrays:
        return None
    colours = arrays["COLOR_0"].astype(np.float64).clip(0, 1)
    return colours if colours.shape[1] == 4 else np.concatenate([colours[:, :3], np.ones((len(colours), 1))], axis=1)


def _transformed(uvs: np.ndarray, transform: dict[str, Any]) -> np.ndarray:
    """KHR_texture_transform of uvs [V, 2], v down."""
    scale, turn = np.asarray(transform.get("scale", (1, 1))), transform.get("rotation", 0.0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (uvs * scale) @ rotation.T + np.asarray(transform.get("offset", (0, 0)))
