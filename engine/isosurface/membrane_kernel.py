"""The energy of a membrane over the edges of a graph, with its gradient, as one Warp kernel.

Read by `engine.surface` on first use only. Gathers of both ends in torch and their backward pass cost five times as much.
"""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from engine.render import warp_runtime

wp.set_module_options({"enable_backward": False})


@wp.kernel
def pull(values: wp.array(dtype=wp.vec4), edges: wp.array(dtype=wp.vec2i), gradient: wp.array(dtype=wp.vec4)):
    """Add the gradient of each edge's squared difference to both of its ends."""
    edge = edges[wp.tid()]
    difference = 2.0 * (values[edge[0]] - values[edge[1]])
    wp.atomic_add(gradient, edge[0], difference)
    wp.atomic_add(gradient, edge[1], -difference)


class _Membrane(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, edges: Tensor) -> Tensor:
        gradient = torch.zeros_like(values)
        arguments = [(values, wp.vec4), (edges, wp.vec2i), (gradient, wp.vec4)]
        warp_runtime.launch(pull, len(edges), arguments, values.device)
        ctx.save_for_backward(gradient)
        return 0.5 * (values * gradient).sum()  # the energy is a quadratic form

    @staticmethod
    def backward(ctx: FunctionCtx, grad_energy: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        return grad_energy * gradient, None


def membrane_energy(values: Tensor, edges: Tensor) -> Tensor:
    """Sum over edges int32 [E, 2] of the squared differences of their ends' values float32 [M, up to 4], a scalar; once differentiable."""
    return _Membrane.apply(functional.pad(values, (0, 4 - values.shape[1])), edges)
