"""What a job can be told: every setting once, with its type, default, range, unit and words, and the presets' numbers.

Checks, both command lines, Blender's panel, the report and the provenance on the result loop over these classes (engine.fields).
A new setting is an entry here and the code that uses it. Standard library only; addon/job_fields.py is a link to this file.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from .dream_fields import DreamNumbers
from .errors import InputError
from .fields import Choice, Door, Spec, Unit, check, refuse_unknown, table
from .vocabulary import refuse_silent, refuse_unreadable

LONGEST_SIDE = 1.6
"""Length in engine space of the longest side of the sketch's bounding box, the measure of every Unit.LENGTH."""

STAGES, GUIDANCE, OUTPUT, ADVANCED, MAIN, PAINTING = "stages", "guidance", "output", "advanced", "main", "painting"
"""The panel's sections."""

MODES = (
    Choice("refine", "Refine", "Geometry and texture from a sketch"),
    Choice("texture", "Texture", "A texture alone; vertices, faces and UVs stay as they are"),
)
"""What is made of a sketch."""
DREAM = "dream"
TEXT_TO_3D = Choice(DREAM, "Text to 3D", "A model from words alone")
"""What is made of no sketch."""
PRESET_CHOICES = (
    Choice("draft", "Draft", "Minutes; coarse detail"),
    Choice("standard", "Standard", "Finer detail, several times longer"),
    Choice("high", "High", "Finest detail; wants a GPU"),
)
COLOURS_OF_ALL, COLOURS_OF_NONE, COLOURS_OF_MATERIALS, COLOURS_OF_ATTRIBUTES = "yes", "no", "materials", "attributes"
KEEP_COLOURS = (
    Choice(COLOURS_OF_ALL, "Yes", "Those that somebody chose: of materials and textures, else of colour attributes"),
    Choice(COLOURS_OF_NONE, "No", "None: it starts in grey, and the prompt decides"),
    Choice(COLOURS_OF_MATERIALS, "From Materials", "Those of materials and textures alone"),
    Choice(COLOURS_OF_ATTRIBUTES, "From Attributes", "Those of colour attributes (vertex colours) alone"),
)
DEVICES = (
    Choice("auto", "Automatic", "A GPU where the engine finds one"),
    Choice("cpu", "CPU", "Compute on the processor"),
    Choice("cuda", "GPU", "Compute on the NVIDIA GPU"),
)
RASTERIZERS = (
    Choice("auto", "Automatic", "The engine's own, on Warp"),
    Choice("warp", "Warp", "The engine's own kernels"),
    Choice("nvdiffrast", "nvdiffrast", "NVIDIA's, where it is installed; its licence allows research and evaluation only"),
)
STAGE2_METHODS = (
    Choice("calibrated", "Calibrated", "From the source prompt's images to the prompt's (the paper's second stage)"),
    Choice("anchored", "Anchored", "As calibrated, but tied to the noise that was added"),
    Choice("sds", "SDS", "Goes on with the direction of stage 1"),
    Choice("nfsd", "NFSD", "Noise-free score distillation"),
    Choice("csd", "CSD", "Classifier score distillation"),
)
"""What the panel lists; the methods that there are stand in engine.guidance.methods."""

ISOSURFACES = (
    Choice(
        "auto",
        "By the Sketch",
        "Crisp where it is made of closed solids, rounded where open strokes, ribbons or thin boards are part of it",
    ),
    Choice("tetrahedra", "Rounded", "Marching tetrahedra, for what is drawn in strokes: smooth, creases cut off"),
    Choice("dual", "Crisp", "For boards and blockouts: a vertex in each tetrahedron, on the sketch's own edges; rough on strokes"),
    Choice("kaolin", "Kaolin", "Marching tetrahedra of NVIDIA Kaolin, where it is installed: the rounded surface by other code"),
    Choice("flexicubes", "FlexiCubes", "Of NVIDIA Kaolin, where it is installed: through the grid's cubes, half as many along each axis"),
)
TRIANGLES = (
    Choice("few", "Few", "Large where the surface is flat, small where it bends: the most detail for its faces"),
    Choice("even", "Even", "All about equally large, for sculpting and subdividing; needs PyMeshLab in the engine's environment"),
)
VIEW_SAMPLINGS = (
    Choice("stratified", "Stratified", "Each in a sector of its own"),
    Choice("antipodal", "Antipodal", "In pairs that face each other, high and low, near and far"),
)

FINISH_STARTS = (
    Choice("noised", "Noised", "Noise is added, other noise in each view"),
    Choice("inverted", "Inverted", "Inverted under the source prompt; for models that predict noise or velocity"),
)
UV_LAYOUTS = (
    Choice("keep", "Keep", "The object's own; texels that several faces share get the mean of their colours"),
    Choice("apart", "New Where Shared", "Parts whose faces lie upon each other get a new layer, the others keep theirs"),
    Choice("new", "New", "Every part gets a new layer"),
)
TEXTURE_SETS = (
    Choice("auto", "As the UVs Fit", "One a material; apart where objects lie upon each other, together where an object's fit"),
    Choice("material", "By Material", "One image for each material"),
    Choice("object", "By Object", "One image for each object"),
)
SHADINGS = (
    Choice("lambert", "Matt", "One white light and an ambient share, nothing mirrored"),
    Choice("pbr", "Physical", "Skies of our own, reflected by roughness and metallic"),
)
COMPILED = (
    Choice("no", "No", "It computes as it is"),
    Choice("yes", "Yes", "torch.compile, for long jobs: the first step takes a minute or more, the others less"),
)
VIEW_NOISES = (
    Choice("fresh", "Fresh", "Drawn anew for each view"),
    Choice("surface", "Of the Surface", "All views of a place share its noise"),
)
MAP_FORMATS = (
    Choice("png8", "PNG, 8 Bit", "Small, and what every program reads"),
    Choice("png16", "PNG, 16 Bit", "Without steps in height and roughness"),
    Choice("exr", "EXR", "Half floats, linear"),
)
PACKINGS = (
    Choice("separate", "Separate", "An image a map"),
    Choice("orm", "ORM", "Occlusion, roughness and metallic as red, green and blue of one image"),
)
IMAGE_FILES = (
    Choice("packed", "Packed", "Inside the .blend or .glb"),
    Choice("beside", "Beside", "As files beside it"),
)
MAPS = (
    Choice("albedo", "Albedo", "The colours alone"),
    Choice("pbr", "PBR", "Albedo, roughness, metallic, ambient occlusion and, of a refined surface, normals"),
    Choice("all", "All", "Those of PBR, height, and what the views saw"),
)

PAINTS = (
    Choice("all", "Everything", "The whole of what is selected"),
    Choice("faces", "Selected Faces", "The faces that are selected in Edit Mode (in Blender)"),
    Choice("slots", "Slots", "Material slots or objects, by name"),
    Choice("group", "Vertex Group", "By its weights (in Blender)"),
    Choice("colour", "Vertex Colour", "Where a colour attribute is bright; in a file its vertex colours"),
    Choice("image", "Image", "Where an image is bright, by the UVs"),
)

FACES = Spec("Faces", "Largest number of triangles of the result", 50, 5_000_000, Unit.TRIANGLES, section=OUTPUT)
TEXTURE_SIZE = Spec("Texture Size", "Width and height of the texture", 16, 8192, Unit.TEXELS, offered=(256, 512, 1024, 2048, 4096, 8192),
                    section=OUTPUT)  # fmt: skip
THICKNESS = Spec("Thickness", "Half thickness that ribbons and open strokes get", 0.001, 0.3, Unit.LENGTH, section=ADVANCED)
CLOSING = Spec("Closing", "Strokes nearer to each other than twice this grow together", 0, 0.5, Unit.LENGTH, section=ADVANCED)


def _number(label: str, description: str, low: float, high: float, unit: Unit = Unit.NONE, section: str = "", **more: Any) -> Spec:
    """A preset's number: it travels under `overrides` and is given by `--set`; the panel shows those that have a section."""
    return Spec(label, description, low, high, unit, doors=Door.WIRE | Door.PANEL if section else Door.WIRE, section=section, **more)


@dataclass(frozen=True)
class Hyperparameters:
    """Every number of the optimization. A preset is one of these; a job may override single fields by name.

    Lengths are in engine space (conventions.SceneNormalization), rates are Adam's, times are shares of the noise schedule 0..1.
    An instance is checked when it is made; InputError names the first field that cannot be used.
    """

    grid: Annotated[
        int, _number("Grid", "Tetrahedral grid cells along each axis, of the finest grid", 8, 512, Unit.CELLS, ADVANCED, multiple=2)
    ]
    colour_grid: Annotated[int, _number("Colour Grid", "Finest level of the colour field along each axis", 8, 256, Unit.CELLS)]
    views: Annotated[int, _number("Views", "Views rendered at each step", 1, 64, section=ADVANCED)]
    supersample: Annotated[int, _number("Supersampling", "Render at this multiple of the model's image size, then average", 1, 4)]
    fit_steps: Annotated[int, _number("Fit Steps", "Steps that fit the surface to renders of the sketch", 0, 100_000, Unit.STEPS)]
    stage1_steps: Annotated[int, _number("Stage 1 Steps", "Length of stage 1: shape and colour by SDS", 0, 1_000_000, Unit.STEPS, STAGES)]
    stage2_steps: Annotated[int, _number("Stage 2 Steps", "Length of stage 2: detail by its method", 0, 1_000_000, Unit.STEPS, STAGES)]
    guidance_scale: Annotated[float, _number("Guidance", "Classifier-free guidance s of stage 1 (SDS)", 0, 1000, section=GUIDANCE)] = 12.0
    stage2_method: Annotated[
        str,
        Spec(
            "Stage 2 Method", "Direction of stage 2", choices=STAGE2_METHODS, closed=False, doors=Door.WIRE | Door.PANEL, section=GUIDANCE
        ),
    ] = "calibrated"
    stage2_weight: Annotated[float, _number("Stage 2 Weight", "Strength of the method of stage 2", 0, 1000, section=GUIDANCE)] = 4.0
    finish_steps: Annotated[
        int,
        _number(
            "Finishing Steps",
            "Steps each way of the finishing bridge, which all views cross together; 0 leaves it out",
            0,
            1000,
            Unit.STEPS,
            STAGES,
        ),
    ] = 0
    finish_start: Annotated[
        str, Spec("Finishing Start", "How views set out on the finishing bridge", choices=FINISH_STARTS, doors=Door.WIRE)
    ] = "noised"
    finish_views: Annotated[int, _number("Finishing Views", "Whole views that cross the finishing bridge together", 1, 256)] = 12
    finish_close_ups: Annotated[
        int, _number("Finishing Close-ups", "For each whole view, after those, from less noise; 0 for none", 0, 16)
    ] = 2
    finish_noise: Annotated[
        float, _number("Finishing Noise", "How far towards noise the finishing bridge goes: more changes more", 0.02, 1, Unit.SHARE)
    ] = 0.5
    finish_scale: Annotated[
        float, _number("Finishing Guidance", "Classifier-free guidance on the way back of the finishing bridge", 0, 1000)
    ] = 3.0
    t_low: Annotated[float, _number("Least Noise", "Lowest noise level of the guidance", 0, 1, Unit.SHARE)] = 0.02
    t_high: Annotated[float, _number("Most Noise", "Highest noise level at the start; falls over the job", 0, 1, Unit.SHARE)] = 0.75
    t_high_end: Annotated[float, _number("Most Noise at the End", "Highest noise level at the end", 0, 1, Unit.SHARE)] = 0.5
    control_rise: Annotated[
        float,
        _number("Control Rise", "Share of stage 1 over which a ControlNet's strength rises while the surface may move", 0, 1, Unit.SHARE),
    ] = 0.25
    geometry_every: Annotated[int, _number("Geometry Every", "The surface moves at every so many steps, the colours at each", 1, 100)] = 1
    sdf_lr: Annotated[float, _number("Distance Rate", "Learning rate of the signed distances", 0, 1)] = 3e-4
    deform_lr: Annotated[float, _number("Deformation Rate", "Learning rate of the grid's deformation", 0, 1)] = 3e-4
    colour_lr: Annotated[float, _number("Colour Rate", "Learning rate of the colours", 0, 1)] = 2e-2
    stage2_geometry: Annotated[
        float, _number("Geometry Rate", "Share of the geometry's rates that stage 2 uses", 0, 1, Unit.SHARE, STAGES)
    ] = 1.0
    normals_first: Annotated[
        float,
        _number("Normals First", "Share of stage 1 in which the model sees the surface's normals instead of colours", 0, 1, Unit.SHARE),
    ] = 0.0
    smoothness: Annotated[float, _number("Smoothness", "Weight of the displacement's membrane energy", 0, 1000, section=ADVANCED)] = 1.0
    elevation_low: Annotated[float, _number("Lowest Elevation", "Of the views", -89, 89, Unit.DEGREES)] = 0.0
    elevation_high: Annotated[float, _number("Highest Elevation", "Of the views", -89, 89, Unit.DEGREES)] = 45.0
    distance_low: Annotated[float, _number("Least Distance", "Of the cameras", 1, 20, Unit.LENGTH)] = 2.9
    distance_high: Annotated[float, _number("Largest Distance", "Of the cameras", 1, 20, Unit.LENGTH)] = 3.5
    fov: Annotated[float, _number("Field of View", "Of the cameras", 5, 120, Unit.DEGREES)] = 40.0
    view_sampling: Annotated[str, Spec("View Sampling", "How the views of a step lie", choices=VIEW_SAMPLINGS, doors=Door.WIRE)] = (
        "stratified"
    )
    isosurface: Annotated[
        str, Spec("Surface", "How the mesh is drawn through the grid", choices=ISOSURFACES, doors=Door.WIRE | Door.PANEL, section=ADVANCED)
    ] = "auto"
    triangles: Annotated[
        str, Spec("Triangles", "How the result's triangles lie", choices=TRIANGLES, doors=Door.WIRE | Door.PANEL, section=OUTPUT)
    ] = "few"
    coverage_views: Annotated[
        int, _number("Covering Views", "Of a texture step's views, those that look where the others cannot", 0, 16)
    ] = 1
    shading: Annotated[str, Spec("Shading", "How the views of a step are lit", choices=SHADINGS, doors=Door.WIRE)] = "lambert"
    view_noise: Annotated[str, Spec("View Noise", "The noise that a step's views get", choices=VIEW_NOISES, doors=Door.WIRE)] = "fresh"
    compiled: Annotated[str, Spec("Compiled", "Whether torch compiles the model", choices=COMPILED, doors=Door.WIRE)] = "no"
    grid_faces: Annotated[
        int,
        _number("Grid Triangles", "The grid is coarser where the surface would have more; 0 for no bound", 0, 5_000_000, Unit.TRIANGLES),
    ] = 0
    faces: Annotated[int, FACES] = 20_000
    texture_size: Annotated[int, TEXTURE_SIZE] = 1024
    thickness: Annotated[float, THICKNESS] = 0.02
    closing: Annotated[float, CLOSING] = 0.03

    def __post_init__(self) -> None:
        check(self)
        if not self.t_low < min(self.t_high, self.t_high_end):
            raise InputError(
                "bad_setting",
                f"t_low must be below t_high and t_high_end, got {self.t_low:g}, {self.t_high:g} and {self.t_high_end:g}.",
                "Leave them out to use the preset's.",
            )

    def from_there(self, strength: float) -> Hyperparameters:
        """For a texture that starts from a finished one: no stage 1, and noise that leaves all the more of it the less the strength is."""
        reach = {name: self.t_low + max(strength, LEAST_STRENGTH) * (getattr(self, name) - self.t_low) for name in ("t_high", "t_high_end")}
        return dataclasses.replace(self, stage1_steps=0, **reach)


LEAST_STRENGTH = 0.02
"""Of `JobSettings.strength`: noise levels need some room."""

PRESETS: dict[str, Hyperparameters] = {
    "draft": Hyperparameters(grid=192, grid_faces=100_000, colour_grid=64, views=4, supersample=1, fit_steps=40, stage1_steps=240,
                     stage2_steps=80, geometry_every=4, sdf_lr=6e-4, deform_lr=6e-4),
    "standard": Hyperparameters(grid=256, grid_faces=250_000, colour_grid=128, views=4, supersample=2, fit_steps=80, stage1_steps=330,
                        stage2_steps=110, geometry_every=2, texture_size=2048, faces=50_000),
    "high": Hyperparameters(grid=384, grid_faces=600_000, colour_grid=256, views=8, supersample=2, fit_steps=400, stage1_steps=6000,
                    stage2_steps=2000, texture_size=2048, faces=200_000),
}  # fmt: skip


MODEL_NUMBERS: dict[str, dict[str, float | str]] = {
    "embedded": {"guidance_scale": 2.0, "stage2_method": "anchored", "stage2_weight": 2.0, "finish_scale": 1.5},
}
"""Numbers of a preset that a model has otherwise. The embedded prior sees the surface: its estimates already say which part is which,
and strong guidance would paint all of them in the prompt's first colour."""


@dataclass(frozen=True)
class JobSettings:
    """One job as the user describes it; the same from the panel, the command line and a batch file.

    Fields that may be None take the preset's number, the source prompt the paper's (engine.diffusion.prompts.source_prompt).
    An instance is checked when it is made; InputError says what cannot be used and the fix.
    """

    prompt: Annotated[str, Spec("Prompt", "A few words that say what the sketch should become", example="a red tulip flower", section=MAIN)]
    mode: Annotated[str, Spec("Mode", "What is made", choices=(*MODES, TEXT_TO_3D), doors=Door.WIRE)] = "refine"
    source: Annotated[
        str | None,
        Spec("Source Prompt", "What it looks like now; left out, the prompt with the descriptors of a poor render", section=STAGES),
    ] = None
    descriptors: Annotated[
        str | None, Spec("Descriptors", "What a poor render looks like, for the source prompt; left out, the paper's ten", section=STAGES)
    ] = None
    preset: Annotated[str, Spec("Preset", "Quality and time", choices=PRESET_CHOICES, section=MAIN)] = "draft"
    seed: Annotated[int, Spec("Seed", "Another seed gives another result; the same seed gives the same", 0, 2**63 - 1, section=MAIN)] = 0
    adherence: Annotated[
        float, Spec("Adherence", "How closely the result follows the sketch: 0 free, 1 close", 0, 1, Unit.SHARE, section=MAIN)
    ] = 0.5
    keep_colours: Annotated[
        str, Spec("Keep Colours", "Which of the sketch's colours count as the artist's", choices=KEEP_COLOURS, section=MAIN)
    ] = COLOURS_OF_ALL
    model: Annotated[
        str,
        Spec("Model", "'embedded', a hub id, a folder with a diffusers model, or a folder of images", example="embedded", section=MAIN),
    ] = "embedded"
    control: Annotated[
        str | None,
        Spec(
            "Control",
            "ControlNet folders beside a diffusers model: [depth=|normal=]FOLDER[:strength[:start:end]]; several with ';' between",
            example="control_depth:0.8",
            separator=";",
            section=ADVANCED,
        ),
    ] = None
    lora: Annotated[
        str | None,
        Spec(
            "LoRA",
            "LoRA files merged into a diffusers model: FILE[:strength]; several with ';' between",
            example="style.safetensors:0.8",
            separator=";",
            section=ADVANCED,
        ),
    ] = None
    reference: Annotated[
        str | None,
        Spec(
            "Reference",
            "Pictures that the result should look like, through an IP-Adapter: ADAPTER=PICTURE[:strength]; several with ';' between",
            example="ip-adapter_sd15.safetensors=chair.jpg:0.6",
            separator=";",
            section=ADVANCED,
        ),
    ] = None
    closing: Annotated[float | None, CLOSING] = None
    thickness: Annotated[float | None, THICKNESS] = None
    faces: Annotated[int | None, FACES] = None
    texture_size: Annotated[int | None, TEXTURE_SIZE] = None
    uv_layout: Annotated[
        str, Spec("UV Layout", "Which UVs a texture is painted for; without any, a part always gets a new layer", choices=UV_LAYOUTS,
                  section=OUTPUT)
    ] = "keep"  # fmt: skip
    texture_sets: Annotated[
        str, Spec("Texture Sets", "Which parts of a textured model share an image", choices=TEXTURE_SETS, section=OUTPUT)
    ] = "auto"
    paint: Annotated[str, Spec("Paint", "What a texture job paints; the rest keeps its look", choices=PAINTS, section=PAINTING)] = "all"
    paint_name: Annotated[
        str | None,
        Spec(
            "Name", "Names of slots with commas between, of the group, the attribute or the image", example="seat, legs", section=PAINTING
        ),
    ] = None
    feather: Annotated[
        float, Spec("Feather", "Width over which the painting fades in from its edge", 0, 1, Unit.LENGTH, section=PAINTING)
    ] = 0.0
    part_prompts: Annotated[
        str | None,
        Spec("Part Prompts", "Prompts for slots or objects: NAME: PROMPT; NAME: PROMPT", example="legs: oak; seat: green velvet",
             section=PAINTING),
    ] = None  # fmt: skip
    init_texture: Annotated[
        str | None,
        Spec("Start From", "'own' for its own look, or an image for its UVs; stage 1 is left out, the source prompt says what it is",
             example="own", section=PAINTING),
    ] = None  # fmt: skip
    strength: Annotated[
        float, Spec("Strength", "How far a texture may leave the one that it starts from", 0, 1, Unit.SHARE, section=PAINTING)
    ] = 0.5
    variations: Annotated[
        int,
        Spec("Variations", "So many results, each from the next seed; those of a texture are one job with one layout", 1, 64),
    ] = 1
    delight: Annotated[
        float, Spec("Delight", "How much of the light painted into its colours is taken out before a texture job", 0, 1, Unit.SHARE,
                    section=PAINTING)
    ] = 0.0  # fmt: skip
    maps: Annotated[str, Spec("Maps", "Which maps are made", choices=MAPS, section=OUTPUT)] = "pbr"
    map_format: Annotated[str, Spec("Map Format", "Of images in Blender and beside a .glb", choices=MAP_FORMATS, section=OUTPUT)] = "png8"
    packing: Annotated[str, Spec("Packing", "Whether maps share an image", choices=PACKINGS, section=OUTPUT)] = "separate"
    image_files: Annotated[str, Spec("Images", "Where the maps are kept", choices=IMAGE_FILES, section=OUTPUT)] = "packed"
    device: Annotated[str, Spec("Device", "Where the engine computes", choices=DEVICES, section=ADVANCED)] = "auto"
    rasterizer: Annotated[str, Spec("Rasterizer", "What draws the views on a GPU", choices=RASTERIZERS, section=ADVANCED)] = "auto"
    overrides: Annotated[
        Mapping[str, Any],
        Spec("Overrides", "Other numbers by their names", example='{"fov": 30, "views": 2}', members=Hyperparameters, section=ADVANCED),
    ] = field(default_factory=dict)
    dream: Annotated[Mapping[str, Any], Spec("Dream", "Numbers of a dream that differ", members=DreamNumbers, doors=Door.WIRE)] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        check(self)
        refuse_silent(self.prompt)
        for name in ("prompt", "source", "descriptors", "part_prompts"):
            refuse_unreadable(table(JobSettings)[name].spec.label.lower(), getattr(self, name) or "")
        self.resolve()
        self.resolve_dream()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobSettings:
        """Settings from plain data (a wire message, TOML); an unknown name is an InputError."""
        if not isinstance(values, Mapping):
            raise InputError("bad_setting", f"Settings must be a table of names and values, got {values!r}.", 'Write {"prompt": "..."}.')
        refuse_unknown(values, cls, "setting", "Correct or remove it; numbers of the preset go under 'overrides'.")
        return cls(**{"prompt": "", **values})

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` takes back and JSON can hold."""
        tables = {"overrides": dict(self.overrides), "dream": dict(self.dream)}
        return {**{name: getattr(self, name) for name in table(type(self))}, **tables}

    def resolve(self) -> Hyperparameters:
        """The preset's numbers with this job's own in their place; worked out and checked once, when the settings are made. A grid of the
        job's own is taken as it is, whatever the surface."""
        return self._numbers

    def resolve_dream(self) -> DreamNumbers:
        """The usual numbers of a dream with this job's own in their place."""
        refuse_unknown(self.dream, DreamNumbers, "number of a dream", "Correct or remove it.")
        return DreamNumbers(**self.dream)

    @functools.cached_property
    def _numbers(self) -> Hyperparameters:
        numbers = table(Hyperparameters)
        of_dreams = [field for field in table(DreamNumbers).values() if field.name in self.overrides]
        if of_dreams:
            fix = f"Give `sketchbridge dream` the option {of_dreams[0].option}; in a job's settings it stands under 'dream'."
            raise InputError("unknown_setting", f"'{of_dreams[0].name}' is a number of a dream and no override.", fix)
        refuse_unknown(self.overrides, Hyperparameters, "override", "Correct or remove it.")
        named = {name: value for name, value in self.to_dict().items() if name in numbers and value is not None}
        changes = {**self.overrides, **named}
        exact = {"grid_faces": 0} if "grid" in changes else {}
        found = dataclasses.replace(PRESETS[self.preset], **{**MODEL_NUMBERS.get(self.model, {}), **exact, **changes})
        return found if self.init_texture is None or self.mode != "texture" else found.from_there(self.strength)
