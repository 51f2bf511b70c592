"""The ten degradations whose descriptors the paper's source prompt lists, and two domain looks, as image operations.

Every operation takes and returns an RGB `PIL.Image` of the same size; `rng` is a
`numpy.random.Generator`, so that the same seed gives the same picture. Strengths that are
lengths are written for a picture of 64 pixels and scale with its width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.ndimage import gaussian_filter, map_coordinates

Degradation = Callable[[Image.Image, np.random.Generator], Image.Image]

REFERENCE_WIDTH = 64


def _to_array(image: Image.Image) -> np.ndarray:
    """RGB picture -> float32 [H, W, 3] in 0..255."""
    return np.asarray(image.convert("RGB"), np.float32)


def _to_image(array: np.ndarray) -> Image.Image:
    """float [H, W, 3] in about 0..255 -> RGB picture, clipped."""
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def _warp(image: Image.Image, amplitude: float, smoothness: float, rng: np.random.Generator) -> Image.Image:
    """Move pixels along a smooth random field, at most `amplitude` pixels (of 64)."""
    pixels = _to_array(image)
    height, width = pixels.shape[:2]
    scale = width / REFERENCE_WIDTH
    fields = [gaussian_filter(rng.standard_normal((height, width)), smoothness * scale) for _ in range(2)]
    dy, dx = (field / (np.abs(field).max() + 1e-9) * amplitude * scale for field in fields)
    rows, columns = np.mgrid[:height, :width]
    warped = [map_coordinates(pixels[..., channel], [rows + dy, columns + dx], order=1, mode="reflect") for channel in range(3)]
    return _to_image(np.stack(warped, -1))


def oversaturated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colours 2.2 to 3.8 times as strong, contrast a little up."""
    vivid = ImageEnhance.Color(image).enhance(rng.uniform(2.2, 3.8))
    return ImageEnhance.Contrast(vivid).enhance(rng.uniform(1.1, 1.5))


def smooth(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Fine detail removed, edges kept (median filters)."""
    for _ in range(2):
        image = image.filter(ImageFilter.MedianFilter(int(rng.choice([3, 5]))))
    return image.filter(ImageFilter.GaussianBlur(0.6))


def pixelated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A mosaic of 10 to 20 blocks a side."""
    blocks = int(rng.choice([10, 12, 16, 20]))
    return image.resize((blocks, blocks), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def cartoon(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Few flat colours, with dark outlines."""
    flat = image.filter(ImageFilter.MedianFilter(3))
    vivid = ImageEnhance.Color(flat).enhance(rng.uniform(1.4, 1.8))
    posterized = _to_array(ImageOps.posterize(vivid, 2)) + 24
    gradient_y, gradient_x = np.gradient(np.asarray(flat.convert("L"), np.float32))
    edges = np.clip(np.hypot(gradient_x, gradient_y) / 18 - 0.6, 0, 1)[..., None]
    return _to_image(posterized * (1 - 0.9 * edges))


def foggy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Thick white fog, thicker in some places."""
    pixels = _to_array(image)
    height, width = pixels.shape[:2]
    cloud = gaussian_filter(rng.standard_normal((height, width)), width / 8)
    cloud = (cloud - cloud.min()) / (np.ptp(cloud) + 1e-6)
    density = (rng.uniform(0.4, 0.65) + 0.25 * cloud)[..., None]
    colour = np.array([215, 220, 225]) * rng.uniform(0.85, 1.05)
    return _to_image(pixels * (1 - density) + colour * density)


def hazy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """An even, thin, yellowish veil."""
    density = rng.uniform(0.3, 0.6)
    return _to_image(_to_array(image) * (1 - density) + np.array([200, 195, 180]) * density)


def blurry(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Out of focus: a Gaussian of 1.4 to 3 pixels (of 64)."""
    radius = rng.uniform(1.4, 3.0) * image.width / REFERENCE_WIDTH
    return image.filter(ImageFilter.GaussianBlur(radius))


def noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """White noise with a deviation of 18 to 60 of 255."""
    pixels = _to_array(image)
    return _to_image(pixels + rng.standard_normal(pixels.shape) * rng.uniform(18, 60))


def malformed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The shape bent out of form."""
    return _warp(image, rng.uniform(5, 10), REFERENCE_WIDTH / 12, rng)


def bad_structure(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Square parts copied to wrong places, then bent a little."""
    source = np.asarray(image.convert("RGB"))
    mixed = source.copy()
    width = image.width
    for _ in range(int(rng.integers(3, 7))):
        side = int(rng.integers(width // 6, width // 3 + 1))
        to_y, to_x, from_y, from_x = rng.integers(0, width - side + 1, 4)
        mixed[to_y : to_y + side, to_x : to_x + side] = source[from_y : from_y + side, from_x : from_x + side]
    return _warp(Image.fromarray(mixed), 3, REFERENCE_WIDTH / 16, rng)


def painting(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Broad strokes: the most frequent colour near by, over a canvas grain."""
    strokes = image.filter(ImageFilter.ModeFilter(int(rng.choice([5, 7]))))
    strokes = ImageEnhance.Color(strokes).enhance(rng.uniform(1.2, 1.6))
    pixels = _warp_array(strokes, rng)
    grain = gaussian_filter(rng.standard_normal(pixels.shape[:2]), (0.4, 1.6))
    return _to_image(pixels + 22 * grain[..., None])


def _warp_array(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """A slight waviness, as of a brush; float32 [H, W, 3]."""
    return _to_array(_warp(image, 1.5, 2.0, rng))


def sketch(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Pencil on paper: dark where the brightness changes, a trace of the shading."""
    grey = np.asarray(image.convert("L"), np.float32)
    gradient_y, gradient_x = np.gradient(gaussian_filter(grey, 0.5))
    lines = np.clip(np.hypot(gradient_x, gradient_y) / rng.uniform(14, 24), 0, 1)
    paper = rng.uniform(232, 250) - 0.12 * (255 - grey)
    pencil = paper * (1 - 0.85 * lines) + 4 * rng.standard_normal(grey.shape)
    return _to_image(np.repeat(pencil[..., None], 3, -1))


DEGRADATIONS: dict[str, Degradation] = {
    "oversaturated": oversaturated,
    "smooth": smooth,
    "pixelated": pixelated,
    "cartoon": cartoon,
    "foggy": foggy,
    "hazy": hazy,
    "blurry": blurry,
    "bad structure": bad_structure,
    "noisy": noisy,
    "malformed": malformed,
}
"""By descriptor, in the order in which the paper's source prompt lists them."""

DOMAINS: dict[str, Degradation] = {"painting": painting, "sketch": sketch}
"""Looks of another domain, for editing prompts such as ", painting"."""

APPLICATION_ORDER = (
    "malformed",
    "bad structure",
    "cartoon",
    "smooth",
    "blurry",
    "pixelated",
    "oversaturated",
    "hazy",
    "foggy",
    "noisy",
)
"""Structure first, then detail, then colour, then air and sensor, as in a real picture."""

ALL_DESCRIPTORS = tuple(DEGRADATIONS)


def apply_degradations(image: Image.Image, names: set[str], rng: np.random.Generator) -> Image.Image:
    """Apply the named degradations, each once, in APPLICATION_ORDER."""
    unknown = names - set(DEGRADATIONS)
    if unknown:
        raise ValueError(f"unknown degradations {sorted(unknown)}; known: {list(DEGRADATIONS)}")
    for name in APPLICATION_ORDER:
        if name in names:
            image = DEGRADATIONS[name](image, rng)
    return image


def draw_degradation(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, tuple[str, ...]]:
    """One degraded copy and the descriptors that its caption carries.

    A third: three to five under the whole descriptor list. A tenth: a domain look.
    The rest: one or two, named.
    """
    choice = rng.random()
    if choice < 0.10:
        name = str(rng.choice(list(DOMAINS)))
        return DOMAINS[name](image, rng), (name,)
    if choice < 0.43:
        count = int(rng.integers(3, 6))
        chosen = set(rng.choice(list(DEGRADATIONS), count, replace=False).tolist())
        return apply_degradations(image, chosen, rng), ALL_DESCRIPTORS
    count = 1 if rng.random() < 0.65 else 2
    names = rng.choice(list(DEGRADATIONS), count, replace=False).tolist()
    return apply_degradations(image, set(names), rng), tuple(names)
