"""The engine's side of the engine process: `launch` starts it, `worker` takes its jobs, `protocol` is what it says and hears.

Blender's side is `engine/client`; both import `protocol`.
"""
