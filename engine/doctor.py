"""`sketchbridge doctor`: each part that a job needs, whether it works here, and the fix where it does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SketchbridgeError

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing examined: state is 'works', 'optional' (absent, not needed) or 'fails'; `fix` says what to do about it."""

    name: str
    state: str
    detail: str
    fix: str = ""


def examine(model: str = "embedded", control: str | None = None, lora: str | None = None, reference: str | None = None) -> list[Finding]:
    """Examine everything that a job needs, with `model` and what settings put beside it as its prior. Takes some seconds: it really
    loads and tries the parts."""
    parts: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "torch": _torch,
        "device": _device,
        "rasterizer": _rasterizer,
        "nvdiffrast": _nvdiffrast,
        "kaolin": _kaolin,
        "memory": _memory,
        "disk": _disk,
        "model": lambda: _model(model, control, lora, reference),
    }
    return [_guarded(name, part) for name, part in parts.items()]


def print_findings(findings: list[Finding]) -> None:
    """A line a finding, its fix below."""
    for finding in findings:
        print(f"[{finding.state:>8}] {finding.name}: {finding.detail}")
        if finding.fix:
            print(f"           fix: {finding.fix}")


def _guarded(name: str, part: Callable[[], Finding]) -> Finding:
    try:
        return part()
    except SketchbridgeError as error:
        return Finding(name, "fails", error.message, error.fix)
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(name, "fails", f"{type(error).__name__}: {error}", "Reinstall the engine into a fresh environment.")


def _python() -> Finding:
    return Finding("python", "works", f"{platform.python_version()} at {sys.executable}")


def _torch() -> Finding:
    import torch

    from engine.compiling import compiler_for

    compiler = compiler_for(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    told = f"with {compiler} for --set compiled=yes" if compiler else "no compiler that --set compiled=yes could use"
    return Finding("torch", "works", f"{torch.__version__}, {torch.get_num_threads()} threads, {told}")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        from engine.device import TOO_SMALL

        free, total = torch.cuda.mem_get_info()
        if total < TOO_SMALL:
            told = f"{torch.cuda.get_device_name()} has {total / GIB:.1f} GiB: enough for the embedded model, too little for large ones"
            return Finding("device", "optional", told, "Use --device cpu where a job runs out of memory.")
        return Finding("device", "works", f"{torch.cuda.get_device_name()}, {free / GIB:.1f} of {total / GIB:.1f} GiB free")
    from engine.device import why_no_cuda

    why, fix = why_no_cuda()
    return Finding("device", "optional", f"jobs run on the CPU, at the draft preset in minutes: {why}", fix)


def _rasterizer() -> Finding:
    import torch

    from engine.camera import orbit
    from engine.render.base import select_rasterizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rasterizer = select_rasterizer(device)
    corners = torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.0, -0.5], [0.0, 0.0, 0.5]], device=device)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    cameras = orbit(torch.zeros(1), torch.zeros(1), 3.0, 40.0).to(device)
    covered = int((rasterizer.rasterize(cameras.clip(corners), faces, (32, 32))[0][..., 3] > 0).sum())
    if covered == 0:
        return Finding("rasterizer", "fails", "a test triangle covered no pixel", "Reinstall warp-lang.")
    return Finding("rasterizer", "works", f"{type(rasterizer).__name__} on {device}")


def _nvdiffrast() -> Finding:
    """Really drawn with, where it is installed and there is a GPU."""
    import torch

    purpose = "another rasterizer on CUDA, by request (--rasterizer nvdiffrast); its licence allows research and evaluation only"
    found = _optional("nvdiffrast", purpose)
    if found.state == "works" and torch.cuda.is_available():
        from engine.render.base import select_rasterizer

        try:
            select_rasterizer("cuda", "nvdiffrast")
        except SketchbridgeError as error:
            return Finding("nvdiffrast", "optional", f"{error.message} The engine's own rasterizer is used.", error.fix)
    return found


def _kaolin() -> Finding:
    """Really drawn with, where it is installed."""
    from engine.isosurface.dmtet import TetGrid
    from engine.isosurface.kaolin import NAMES, extractor

    found = _optional("kaolin", "FlexiCubes and marching tetrahedra (--set isosurface=flexicubes or kaolin); its licence is Apache-2.0")
    if found.state == "works":
        grid = TetGrid.make(8)
        for name in NAMES:
            try:
                draw = extractor(name, grid)
            except SketchbridgeError as error:
                return Finding("kaolin", "optional", f"{error.message} The engine's own surfaces are used.", error.fix)
            assert draw is not None  # all of NAMES are Kaolin's
            vertices, faces = draw(grid.points, grid.points.norm(dim=1) - 0.6, grid.tets)
            if not len(faces) or not bool(vertices.isfinite().all()):
                return Finding("kaolin", "fails", f"its {NAMES[name]} drew nothing of a sphere", "Reinstall it, or leave isosurface alone.")
    return found


def _optional(package: str, purpose: str) -> Finding:
    if importlib.util.find_spec(package) is None:
        return Finding(package, "optional", f"not installed; {purpose}; our own back end is used")
    return Finding(package, "works", f"{importlib.metadata.version(package)}; {purpose}")


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available
    if free < 3 * GIB:
        return Finding("memory", "fails", f"{free / GIB:.1f} GiB free, a draft job needs up to 3 GiB", "Close other programs.")
    return Finding("memory", "works", f"{free / GIB:.1f} GiB free; a draft job needs up to 3 GiB")


def _disk() -> Finding:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < GIB:
        return Finding("disk", "fails", f"{free / GIB:.1f} GiB free in {folder}", "Free at least 1 GiB.")
    return Finding("disk", "works", f"{free / GIB:.1f} GiB free in {folder}")


def _model(name: str, control: str | None, lora: str | None, reference: str | None) -> Finding:
    """One picture encoded, one noise estimate asked, on the device that a job would take."""
    import torch

    from engine.device import select_device
    from engine.diffusion.load import ModelChoice
    from engine.diffusion.prior import ControlledPrior, remarks_on
    from engine.room import presets_that_fit

    device = select_device("auto")
    prior = ModelChoice.named(name, control, lora, reference).load(device, surface=True)
    size = prior.image_size
    started = time.perf_counter()
    with torch.no_grad():
        latents = prior.encode(torch.linspace(0, 1, 3 * size * size, device=device).view(1, 3, size, size))
        t = torch.tensor([len(prior.schedule) // 2], device=device)
        shown = torch.zeros(1, prior.control_channels, size, size, device=device) if isinstance(prior, ControlledPrior) else None
        estimate = prior.predict_noise(latents, t, prior.embed([""]).under(shown))
        finite = bool(torch.isfinite(latents).all()) and bool(torch.isfinite(estimate).all())
    seconds = time.perf_counter() - started
    if not finite:
        return Finding(
            "model",
            "fails",
            f"'{name}' loads, but answers with numbers that are not finite on {device}",
            "Its weights are damaged or do not fit this precision: download it again, or use the model 'embedded'.",
        )
    knows = f"; it knows {', '.join(prior.kinds)}" if prior.kinds else ""
    found = f"'{name}' on {device}: {size} x {size} pixels, first noise estimate after {seconds:.2f} s{knows}"
    told = [presets_that_fit(name, device), *remarks_on(prior)]
    return Finding("model", "works", " ".join([found, *(f"({remark})" for remark in told if remark)]))
