"""The energy of a membrane over the edges of a graph, with its gradient, as one Warp kernel.

Read by `engine.surface` on first use only. Gathers of both ends in torch and their backward pass cost five times as much.
"""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from engine.render import warp_runtime

wp.set_module_options({"enable_backward": False})


@wp.kernel
def pull(values: wp.array2d(dtype=float), edges: wp.array2d(dtype=wp.int32), gradient: wp.array2d(dtype=float)):
    """Add the gradient of each edge's squared difference to both of its ends."""
    edge = wp.tid()
    start = edges[edge, 0]
    end = edges[edge, 1]
    for channel in range(values.shape[1]):
        difference = 2.0 * (values[start, channel] - values[end, channel])
        wp.atomic_add(gradient, start, channel, difference)
        wp.atomic_add(gradient, end, channel, -difference)


class _Membrane(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, edges: Tensor) -> Tensor:
        gradient = torch.zeros_like(values)
        warp_runtime.launch(pull, len(edges), [values, edges, gradient], values.device)
        ctx.save_for_backward(gradient)
        return 0.5 * (values * gradient).sum()  # the energy is a quadratic form

    @staticmethod
    def backward(ctx: FunctionCtx, grad_energy: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        return grad_energy * gradient, None


def membrane_energy(values: Tensor, edges: Tensor) -> Tensor:
    """Sum over edges int32 [E, 2] of the squared differences of their ends' values float32 [M, C], a scalar; once differentiable."""
    return _Membrane.apply(values, edges)
