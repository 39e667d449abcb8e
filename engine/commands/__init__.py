"""The sub-commands of `python -m tetraview`; each module has `add_arguments(parser)` and `run(args) -> exit status`."""
