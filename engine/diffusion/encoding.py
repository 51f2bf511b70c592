"""Pictures into an autoencoder's latents, one view at a time: the gradient is that of all views at once, the memory that of one.

Stable Diffusion's encoder keeps 3 GiB of float32 a view at 512 x 512 until its backward pass. Here the first phase keeps nothing but
the pictures; the backward pass encodes each view anew and goes back through it before the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

OneView = Callable[[Tensor, Tensor | None], Tensor]
"""A picture [1, 3, S, S] in the encoder's range, and noise [1, C, h, w] or None -> its latents [1, C, h, w]."""


def encode_views(encode: OneView, pixels: Tensor, noise: Tensor | None) -> Tensor:
    """Latents [B, C, h, w] of pixels [B, 3, S, S], differentiable in them; `encode` must give the same answer when it is asked again.

    noise  of the posterior, [B, C, h, w]; None for its mode
    """
    if len(pixels) == 1 or not (torch.is_grad_enabled() and pixels.requires_grad):
        return torch.cat([encode(pixels[[k]], _of(noise, k)) for k in range(len(pixels))])
    return _ViewByView.apply(pixels, noise, encode)


class _ViewByView(Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, noise: Tensor | None, encode: OneView) -> Tensor:
        ctx.encode, ctx.noise = encode, noise
        ctx.save_for_backward(pixels)
        return torch.cat([encode(pixels[[k]], _of(noise, k)) for k in range(len(pixels))])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (pixels,) = ctx.saved_tensors
        found = []
        for k in range(len(pixels)):
            with torch.enable_grad():
                view = pixels[[k]].detach().requires_grad_()
                latents = ctx.encode(view, _of(ctx.noise, k))
            found.append(torch.autograd.grad(latents, view, grad[[k]])[0])
        return torch.cat(found), None, None


def half_safe(network: Callable[[Tensor], Tensor], pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """`network` of pixels in a half type, answered and differentiated in the pixels' own.

    Gradients on the way back through it are brought near 1 by a power of two, so that none is lost below float16's least number, and
    out again.
    """
    if dtype == pixels.dtype:
        return network(pixels)
    scale: list[Tensor] = []
    given = pixels.to(dtype)
    if given.requires_grad:
        given = _Rescaled.apply(pixels, dtype, scale)
    answer = network(given)
    return _Scaled.apply(answer, pixels.dtype, scale) if given.requires_grad else answer.to(pixels.dtype)


class _Scaled(Function):
    """Out of the network: as it is; back into it: times a power of two that is noted."""

    @staticmethod
    def forward(ctx: Any, answer: Tensor, dtype: torch.dtype, scale: list[Tensor]) -> Tensor:
        ctx.scale, ctx.dtype = scale, answer.dtype
        return answer.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        largest = grad.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        power = torch.exp2(-torch.floor(torch.log2(largest)))
        ctx.scale[:] = [power]
        return (grad * power).to(ctx.dtype), None, None


class _Rescaled(Function):
    """Into the network: in its type; back out of it: without the power of two."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, dtype: torch.dtype, scale: list[Tensor]) -> Tensor:
        ctx.scale, ctx.dtype = scale, pixels.dtype
        return pixels.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.to(ctx.dtype) / ctx.scale[0], None, None


def _of(noise: Tensor | None, k: int) -> Tensor | None:
    return None if noise is None else noise[[k]]
