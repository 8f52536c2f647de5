"""The field's networks in PyTorch, written from their papers with the parameter names of the published checkpoints.

A public checkpoint loads with strict=True (`checkpoint.py`). What surrounds a network - alignment, windows, blending -
belongs to the engine that uses it; how it is run belongs to `services.runtime.backends`.
"""
