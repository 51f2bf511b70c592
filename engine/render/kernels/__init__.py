"""Warp kernels of the permissive rasteriser. Importing a module here imports Warp; nothing compiles before the first launch."""
