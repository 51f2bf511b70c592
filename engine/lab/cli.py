"""`sketchbridge image` and `sketchbridge illusion`: arguments in, files out. Everything heavy is imported when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EXIT_DONE, InputError, ModelError
from engine.fields import add_options, check_value, table, values_from
from engine.guidance.methods import method_named, methods_for
from engine.job_fields import JobSettings
from engine.lab.control import read_control, sort_controls
from engine.reporting import ConsoleReporter

if TYPE_CHECKING:
    import numpy as np
    import torch

    from engine.diffusion.control_nets import ControlEntry
    from engine.diffusion.prior import Prior
    from engine.lab.optimize import RunMonitor
    from engine.lab.recipes import Recipe

SMALLEST_SIDE = 256
"""Pictures of a small prior are enlarged by a whole factor to at least this side."""

SHARED = [table(JobSettings)[name] for name in ("model", "lora", "reference", "seed", "device")]
"""Settings that mean the same as in a job."""

NETWORK_RATE = 1e-3
"""Learning rate of the weights of an illusion's two networks."""


def add_commands(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    """Adds both commands to the command line."""
    image = subparsers.add_parser("image", help="make or edit an image by score distillation")
    image.add_argument("--prompt", required=True, help="what the image should show")
    image.add_argument("--out", required=True, type=Path, help="the picture to write (.png)")
    image.add_argument("--init", type=Path, help="start from this picture: a painting made real (calibrated), SDEdit or an edit (dds)")
    image.add_argument("--method", default="calibrated", help=f"one of {', '.join(methods_for('image', 'edit'))} (default calibrated)")
    image.add_argument(
        "--source",
        help="what the image looks like before (y_src); default: the prompt and descriptors, with --init the prompt and ', painting'",
    )
    image.add_argument("--strength", type=float, help="with --init: how much may change, 0.05 .. 1 (default 0.6; dds 0.98)")
    image.add_argument(
        "--control",
        action="append",
        default=[],
        help="a picture of the surface (depth: near is bright; or normals) for a model that looks at one, or a ControlNet folder beside "
        "it, [depth=|normal=]FOLDER[:strength[:start:end]]; several may be given, pictures in the order of the folders",
    )
    image.add_argument("--baseline", action="store_true", help="with --init: also write SDEdit's result, to OUT with -sdedit added")
    image.add_argument("--strip", type=Path, help="also write the course of the optimization: a .gif, or frames side by side in a .png")
    image.set_defaults(run=run_image)
    illusion = subparsers.add_parser("illusion", help="two images that show another picture at each quarter turn of one over the other")
    illusion.add_argument("--prompts", required=True, nargs="+", help="four prompts, one for each quarter turn")
    illusion.add_argument("--out", required=True, type=Path, help="folder for base.png, rotator.png and views.png")
    illusion.add_argument(
        "--method", default="calibrated", help=f"one of {', '.join(methods_for('illusion'))} (default calibrated: two stages)"
    )
    illusion.add_argument("--size", type=int, default=256, help="side of the printed images in pixels (default 256)")
    illusion.set_defaults(run=run_illusion)
    for parser in (image, illusion):
        _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset", default="standard", help="draft, standard, paper, code-2d or code-3d: how many steps, how fast (default standard)"
    )
    parser.add_argument("--steps", type=int, help="of the optimization, both stages together; of ddim and sdedit those of sampling")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--scale", type=float, help="strength of the method: its guidance scale s, or the weight w of a difference")
    parser.add_argument("--preview", type=Path, help="a .png that is rewritten while the optimization runs")
    add_options(parser, SHARED)
    parser.set_defaults(**{field.name: field.default for field in SHARED})


class PreviewReporter(ConsoleReporter):
    """Console progress, and previews into a file."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self._path = path

    def preview(self, image: np.ndarray) -> None:
        if self._path is not None:
            import torch

            from engine.pictures import write_image

            write_image(self._path, torch.from_numpy(image).permute(2, 0, 1) / 255, SMALLEST_SIDE)


def run_image(arguments: argparse.Namespace) -> int:
    """`sketchbridge image`: text to image, painting to real, SDEdit, or an edit by delta denoising."""
    from engine.diffusion.prompts import check_prompt
    from engine.lab.optimize import RunMonitor
    from engine.pictures import read_square, write_animation, write_image

    check_image_arguments(arguments)
    check_prompt(arguments.prompt)
    recipe_from(arguments, arguments.method)  # before anything heavy is loaded, so that mistakes show at once
    pictures, folders = sort_controls(arguments.control)
    prior, generator, reporter = _open(arguments, folders)
    control = read_control(prior, pictures)
    recipe = recipe_from(arguments, arguments.method, prior)
    watch = RunMonitor(reporter, prior, max(recipe.steps // 24, 1) if arguments.strip else 0)
    init = read_square(arguments.init, prior.image_size)[None].to(prior.device) if arguments.init else None
    write_image(arguments.out, _make(arguments, prior, init, recipe, generator, watch, control), SMALLEST_SIDE)
    print(arguments.out)
    if arguments.baseline:
        generator.manual_seed(arguments.seed)
        path = arguments.out.with_name(arguments.out.stem + "-sdedit.png")
        baseline = recipe_from(arguments, "sdedit", prior, steps=None)
        write_image(path, _make(arguments, prior, init, baseline, generator, RunMonitor(reporter, prior), control), SMALLEST_SIDE)
        print(path)
    if arguments.strip:
        write_animation(arguments.strip, watch.frames)
        print(arguments.strip)
    return EXIT_DONE


def check_image_arguments(arguments: argparse.Namespace) -> None:
    """InputError for combinations that cannot work, before anything is loaded."""
    from engine.lab.edit import Edit, check_source
    from engine.pictures import GIF_SUFFIX, PNG_SUFFIX, check_target

    method = arguments.method
    entry = method_named(method, "image", "edit")
    if arguments.init is None and (entry.edits_only or arguments.baseline):
        raise InputError(
            "bad_setting",
            f"'{'--baseline' if arguments.baseline else method}' changes a picture and needs one.",
            "Give it with --init PICTURE.",
        )
    if arguments.init is None and arguments.strength is not None:
        raise InputError(
            "bad_setting", "--strength says how much of a picture may change, and there is none.", "Give it with --init, or leave it out."
        )
    if arguments.init is not None:
        if "edit" not in entry.uses:
            raise InputError(
                "bad_setting",
                f"The method '{method}' does not start from a picture.",
                f"Leave --init out, or choose one of {', '.join(methods_for('edit'))}.",
            )
        if not arguments.init.is_file():
            raise InputError("missing_file", f"There is no picture '{arguments.init}'.", "Check the path given with --init.")
    check_source(method, arguments.source)
    Edit(arguments.prompt, arguments.source, arguments.strength)
    check_target(arguments.out, (PNG_SUFFIX,))
    for path, suffixes in ((arguments.preview, (PNG_SUFFIX,)), (arguments.strip, (GIF_SUFFIX, PNG_SUFFIX))):
        if path is not None:
            check_target(path, suffixes)
    refuse_overwriting(arguments)


def refuse_overwriting(arguments: argparse.Namespace) -> None:
    """InputError where a picture would be written over one that is read, or over another that is written."""
    read = [path for path in (arguments.init, *map(Path, arguments.control)) if path is not None]
    sdedit = arguments.out.with_name(arguments.out.stem + "-sdedit.png") if arguments.baseline else None
    taken = {path.resolve() for path in read}
    for path in (arguments.out, sdedit, arguments.preview, arguments.strip):
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(
                "would_overwrite",
                f"'{path}' would be written over a picture that is read or written too.",
                "Give --out, --preview and --strip names of their own.",
            )
        taken.add(path.resolve())


def recipe_from(arguments: argparse.Namespace, method: str, prior: Prior | None = None, **changes: float | None) -> Recipe:
    """The method's numbers with the user's changes, suited to the prior if it is known; InputError for those that cannot work."""
    from engine.lab.recipes import for_prior, recipe

    changes = {"steps": arguments.steps, "rate": arguments.rate, "scale": arguments.scale, **changes}
    numbers = recipe(method, arguments.preset, **changes)
    given = [name for name, value in changes.items() if value is not None]
    return numbers if prior is None else for_prior(numbers, prior.image_size, given)


def _make(
    arguments: argparse.Namespace,
    prior: Prior,
    init: torch.Tensor | None,
    recipe: Recipe,
    generator: torch.Generator,
    watch: RunMonitor,
    control: torch.Tensor | None,
) -> torch.Tensor:
    from engine.lab.edit import Edit, edit_image
    from engine.lab.optimize import text_to_image

    if init is None:
        sources = None if arguments.source is None else [arguments.source]
        return text_to_image(prior, [arguments.prompt], recipe, generator, watch.reporter, sources=sources, control=control, watch=watch)[0]
    edit = Edit(arguments.prompt, arguments.source, arguments.strength)
    return edit_image(prior, init, edit, recipe, generator, watch.reporter, control=control, watch=watch)[0]


def run_illusion(arguments: argparse.Namespace) -> int:
    """`sketchbridge illusion`: base.png and rotator.png to print, views.png to look at."""
    from engine.lab.illusion import VIEWS, make_illusion
    from engine.lab.optimize import RunMonitor
    from engine.pictures import PNG_SUFFIX, check_target, grid, write_image

    if not 16 <= arguments.size <= 4096:
        raise InputError("bad_setting", f"The size is {arguments.size}; expected 16 to 4096 pixels.", "Leave it out for 256.")
    if len(arguments.prompts) != VIEWS:
        raise InputError(
            "bad_setting", f"An illusion has {VIEWS} views; got {len(arguments.prompts)} prompts.", 'Write --prompts "a" "b" "c" "d".'
        )
    targets = {name: check_target(arguments.out / f"{name}.png", (PNG_SUFFIX,)) for name in ("base", "rotator", "views")}
    if arguments.preview is not None:
        check_target(arguments.preview, (PNG_SUFFIX,))
    method_named(arguments.method, "illusion")
    recipe_from(arguments, arguments.method)
    prior, generator, reporter = _open(arguments)
    recipe = recipe_from(arguments, arguments.method, prior)
    if arguments.rate is None:
        recipe = replace(recipe, rate=NETWORK_RATE, rate_end=1.0)
    illusion = make_illusion(prior, arguments.prompts, recipe, generator, reporter, size=arguments.size, watch=RunMonitor(reporter, prior))
    for name, image in (("base", illusion.base), ("rotator", illusion.rotator), ("views", grid(illusion.views, 2))):
        write_image(targets[name], image)
        print(targets[name])
    return EXIT_DONE


def _open(arguments: argparse.Namespace, controls: Sequence[ControlEntry] | None = None) -> tuple[Prior, torch.Generator, PreviewReporter]:
    """The model, chance and who watches. `controls` None: of a command that has no picture to control. ModelError where it needs one."""
    given = values_from(arguments, SHARED)
    for field in SHARED:
        check_value(field, given.get(field.name, field.default))
    import torch

    from engine.device import select_device
    from engine.diffusion.load import ModelChoice
    from engine.diffusion.prior import ControlledPrior, remarks_on

    choice = replace(
        ModelChoice.named(arguments.model, lora=given.get("lora"), reference=given.get("reference")), controls=tuple(controls or ())
    )
    prior = choice.load(select_device(arguments.device))
    if isinstance(prior, ControlledPrior) and (controls is None or not prior.control_pictures):
        raise ModelError(
            "model_control",
            f"The model '{arguments.model}' paints a surface that it is shown; a picture has none.",
            "Use it for refine and texture; for pictures choose the model 'embedded'.",
        )
    reporter = PreviewReporter(arguments.preview)
    for remark in remarks_on(prior):
        reporter.note(remark)
    return prior, torch.Generator().manual_seed(arguments.seed), reporter
