"""The engine's side of the engine process: `launch` starts it, `worker` takes its jobs, `protocol` defines its messages.

Blender's side is `engine/client`; both import `protocol`.
"""
