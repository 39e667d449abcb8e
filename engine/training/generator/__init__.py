"""Training of the four-view generator: grids and captions once, then autoencoder, denoiser and its few-step distillation.

    grid_cache -> autoencoder -> latents -> batches -> denoiser (selection) -> consistency

Each stage is one command (`python -m tetraview train autoencoder|generator|distill`), has a time budget over all resumptions
(`training/loop.py`), and goes on at the step where it stopped.
"""
