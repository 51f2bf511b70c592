"""Differentiable rendering: rasterizer back ends behind nvdiffrast's four primitives, and the shading built on them."""
