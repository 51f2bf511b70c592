"""Warp kernels of the permissive rasterizer. Importing a module here imports Warp; nothing compiles before the first launch."""
