"""A second device that is none: its tensors are told apart from the host's, their numbers are the host's own.

    python -m tests.engine.pretended WHAT FOLDER [SHARE]

runs one of `JOBS` on it, in a process of its own, and prints what was found; with SHARE the device fails after that of its operations.

A tensor of the device is a wrapper around one of the host. While a `Device` is entered, every operation that takes both kinds where a GPU
would not is an error, as is a Warp kernel that is given the host's memory. What a GPU allows is allowed: the host's single numbers, its
indices, copies from one to the other.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "pretended"
COPIES = ("aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::set_.source_Tensor")
INDICES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index", "aten::_unsafe_index_put")
"""Operations that take the host's integer or boolean indices of a GPU's tensor."""
LOST = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported at some other API call."


class Mixed(AssertionError):
    """An operation that no GPU would take."""


class Held(torch.Tensor):
    """A tensor of the pretended device; `raw` has its numbers."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Held:
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=torch.device(NAME, 0)
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answer(func, args, kwargs or {})

    def __getitem__(self, index: Any) -> Any:
        """Lists in an index become tensors in C++, where no mode looks: here they are the host's, as a GPU takes them too."""
        places = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(torch.tensor(place) if isinstance(place, list) else place for place in places))

    def new_tensor(self, data: Any, **kinds: Any) -> torch.Tensor:
        """Made in C++ as well."""
        return torch.tensor(data, **{"dtype": self.dtype, "device": self.device, **kinds})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.raw.detach().__reduce_ex__(protocol)  # what reading it to the host gives


def answer(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation's result on the device where it belongs there. Mixed for what a GPU would refuse."""
    tensors = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    wanted = kwargs.get("device")
    there = any(isinstance(tensor, Held) for tensor in tensors)
    if there:
        refuse_mixed(func, args, tensors)
    generator = kwargs.get("generator")
    if (there or on_device(wanted)) and generator is not None and func._schema.name != "aten::_to_copy":
        raise Mixed(f"{func}: a host's generator on the device")
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func._schema.name == "aten::_pin_memory":
        return args[0]
    raw_args, raw_kwargs = pytree.tree_map_only(Held, lambda held: held.raw, (args, kwargs))
    found = func(*raw_args, **raw_kwargs)
    stays = on_device(wanted) if wanted is not None else there
    if func._schema.name == "aten::copy_" and not isinstance(args[0], Held):
        return args[0]  # to the host
    if not stays:
        return found
    out = pytree.tree_map_only(torch.Tensor, lambda raw: raw if isinstance(raw, Held) else Held(raw), found)
    return return_and_correct_aliasing(func, args, kwargs, out) if there else out


def on_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def refuse_mixed(func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
    name = func._schema.name
    if name in COPIES:
        return
    hosts = [tensor for tensor in tensors if not isinstance(tensor, Held) and tensor.dim() > 0]
    if name in INDICES and isinstance(args[0], Held):
        places = [place for place in args[1] if place is not None]
        hosts = [tensor for tensor in hosts if not any(tensor is place for place in places)]
    if hosts:
        raise Mixed(f"{func}: the device's tensors with the host's {[tuple(tensor.shape) for tensor in hosts]}")


class Device(TorchDispatchMode):
    """While it is entered there is the device; `seen` counts its operations, `lost_at`: the number of the one at which it fails."""

    def __init__(self, lost_at: int | None = None) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.lost_at = lost_at

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if on_device(kwargs.get("device")) or any(isinstance(value, Held) for value in pytree.tree_leaves((args, kwargs))):
            self.seen[func._schema.name] += 1
            if self.lost_at is not None and self.seen.total() > self.lost_at:
                raise torch.AcceleratorError(LOST)
        return answer(func, args, kwargs)


def register() -> torch.device:
    """Makes torch know the device; once in a process, which should then do nothing else."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)
    return torch.device(NAME, 0)


class FromData(TorchFunctionMode):
    """torch.tensor and torch.as_tensor, which pass by every dispatch mode, as a copy to the device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.tensor, torch.as_tensor) or not on_device(kwargs.get("device")):
            return func(*args, **kwargs)
        more = {name: value for name, value in kwargs.items() if name != "device"}
        return (args[0] if isinstance(args[0], torch.Tensor) else func(*args, **more)).to(kwargs["device"])


def pretending(launched: Counter[str]) -> list[Any]:
    """Patches by which the engine takes the device for one that Warp draws on; launches are counted."""
    from engine import device, job
    from engine.render import surface_ops, warp_backend, warp_runtime
    from engine.texture import field_kernels

    true_launch = warp_runtime.launch

    def launch(kernel: Any, dim: Any, arguments: list[Any], where: torch.device) -> None:
        launched[where.type] += 1
        given = [argument[0] if isinstance(argument, tuple) else argument for argument in arguments]
        kinds = {isinstance(one, Held) for one in given if isinstance(one, torch.Tensor)}
        if kinds and kinds != {where.type == NAME}:
            raise Mixed(f"{kernel.key} on {where}: memory of another device")
        raw = [(one[0].raw, one[1]) if isinstance(one, tuple) and isinstance(one[0], Held) else one for one in arguments]
        true_launch(kernel, dim, [one.raw if isinstance(one, Held) else one for one in raw], torch.device("cpu"))

    patches = [mock.patch.object(module, "launch", launch) for module in (warp_runtime, warp_backend, surface_ops, field_kernels)]
    found = torch.device(NAME, 0)
    choose: Callable[..., torch.device] = lambda name: found  # noqa: E731
    patches += [mock.patch.object(module, "select_device", choose) for module in (device, job)]
    return [*patches, mock.patch.object(warp_backend, "why_unavailable", lambda where: None), FromData()]


NUMBERS = {"grid": 12, "colour_grid": 8, "views": 2, "fit_steps": 2, "stage1_steps": 2, "stage2_steps": 2, "geometry_every": 1}
JOBS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "refine": ("refine", "tiny", {}),
    "refine-dual": ("refine", "tiny", {"isosurface": "dual"}),
    "texture": ("texture", "tiny", {}),
    "embedded": ("refine", "embedded", {"isosurface": "dual", "finish_steps": 2, "finish_views": 2, "finish_close_ups": 1}),
    "embedded-texture": ("texture", "embedded", {"shading": "pbr", "view_noise": "surface"}),
    "xl": ("refine", "sdxl", {}),
    "flow": ("texture", "sd3", {}),
    "depth": ("texture", "sd2-depth", {}),
}
"""By name: mode, model ("embedded" or a class of `tiny_model`), numbers."""


def run(what: str, folder: Path, lost_at: int | None = None) -> dict[str, Any]:
    """One of `JOBS` to its exported mesh; what was counted."""
    if not hasattr(torch, NAME):
        register()
        sys.path.insert(0, str(Path(__file__).parent))
    from contextlib import ExitStack

    from tiny_model import make_tiny_class, make_tiny_model

    from engine.job import run_job
    from engine.job_fields import JobSettings
    from engine.reporting import QuietReporter
    from tests.engine.shapes import box

    mode, kind, numbers = JOBS[what]
    model = kind
    if kind != "embedded" and not (folder / kind).exists():
        model = str(make_tiny_model(folder / kind) if kind == "tiny" else make_tiny_class(folder / kind, kind))
    elif kind != "embedded":
        model = str(folder / kind)
    settings = JobSettings("a cup", mode, model=model, maps="albedo", faces=200, overrides={**NUMBERS, "texture_size": 32, **numbers})
    launched: Counter[str] = Counter()
    device = Device(lost_at)
    with ExitStack() as stack:
        for patch in pretending(launched):
            stack.enter_context(patch)
        stack.enter_context(device)
        result = run_job(box((0.5, 0.4, 0.6)), settings, QuietReporter(), folder / "job.checkpoint")
    return {
        "faces": len(result.mesh.faces),
        "operations": device.seen.total(),
        "launches": dict(launched),
        "device": result.report["device"],
    }


def lost(what: str, folder: Path, share: float) -> dict[str, Any]:
    """One of `JOBS` whose device fails after this share of its operations: what the user is told, and whether the checkpoint is there."""
    from engine.checkpoint import Checkpoint
    from engine.memory import fault_of_the_machine

    (folder / "whole").mkdir(exist_ok=True)
    operations = run(what, folder / "whole")["operations"]
    with mock.patch.object(Checkpoint, "offer", Checkpoint.save):
        try:
            run(what, folder, int(share * operations))
        except RuntimeError as error:
            told = fault_of_the_machine(error)
    return {"code": told and told.code, "checkpoint": (folder / "job.checkpoint").exists()}


def catches() -> dict[str, bool]:
    """Whether what no GPU would take is an error here, and what one takes is none."""
    register()
    device, found = torch.device(NAME, 0), {}
    with Device(), FromData():
        there, here = torch.ones(4, device=device), torch.ones(4)
        wrong: dict[str, Callable[[], Any]] = {
            "a sum with the host's": lambda: there + here,
            "the host's in a device's": lambda: torch.cat([there, here]),
            "the host's chance": lambda: torch.rand(4, device=device, generator=torch.Generator()),
            "numpy of a device's": there.numpy,
            "a device's as an index of the host's": lambda: here[there.long()],
        }
        for name, work in wrong.items():
            try:
                work()
                found[name] = False
            except (Mixed, TypeError, RuntimeError):
                found[name] = True
        right = (there * 2 + torch.tensor(1.0))[torch.tensor([0, 2])].cpu() + here[:2]
        found["what a GPU takes"] = right.tolist() == [4.0, 4.0] and torch.tensor([1.0], device=device).device == device
    return found


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "catches":
        print(json.dumps(catches()))
    elif len(words) > 2:
        print(json.dumps(lost(words[0], Path(words[1]), float(words[2]))))
    else:
        print(json.dumps(run(words[0], Path(words[1]))))
