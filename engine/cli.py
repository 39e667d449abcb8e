"""The command line: `python -m tetraview COMMAND`.

torch is loaded only by the command that runs, so that `--help` answers at once. Results go to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Sequence
from types import ModuleType

from .errors import EngineError, explained
from .version import __version__

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130

SUMMARIES = {
    "generate": "a prompt to four views and a textured mesh",
    "reconstruct": "one to four photos to a textured mesh",
    "orbit": "turntable pictures of a result or of any model file",
    "evaluate": "measure the quality of reconstructions against known objects",
    "train": "train the models",
    "doctor": "check this installation and print a report",
}

EXAMPLES = """\
first mesh:
  python -m tetraview doctor
  python -m tetraview generate "a red armchair" -o chair
  python -m tetraview reconstruct front.jpg right.jpg back.jpg left.jpg -o mug
  python -m tetraview orbit chair -o chair.gif

`python -m tetraview COMMAND --help` explains a command. Exit status: 0 success, 1 failure (one sentence on stderr
says why), 2 wrong usage, 130 interrupted.
"""

COMMAND_EXAMPLES = {
    "generate": """\
        examples:
          python -m tetraview generate "a red armchair" -o chair
          python -m tetraview generate "a red armchair" --seed 7 --views-only -o first      (check the four views first ...)
          python -m tetraview generate "a red armchair" --views first/views --repaint left --seed 8 --views-only -o second
          python -m tetraview generate --views second/views --flip back --front own.jpg --views-only -o third
          python -m tetraview generate --views third/views --orbit -o chair                 (... edit them, continue from them)

        With --views, a photo given by --front and its like replaces that view. Nothing in the old folder is changed.
        """,
    "reconstruct": """\
        examples:
          python -m tetraview reconstruct front.jpg right.jpg back.jpg left.jpg -o chair
          python -m tetraview reconstruct photos/chair -o chair          (a folder with front.*, right.*, back.*, left.*)
          python -m tetraview reconstruct --front a.png --right b.png --back c.png --left d.png --poly-budget 3000
          python -m tetraview reconstruct --front a.png --prompt "a mug" -o mug         (the three other views are painted)
          python -m tetraview reconstruct photos/chair -o chair --stop-after photos     (check the cut-outs first ...)
          python -m tetraview reconstruct --views chair/views -o chair                  (... touch them up, go on from them)

        "right" shows the object from its own left-hand side: walk round it anticlockwise, as seen from above,
        from front to right to back to left (Blender's Front, Right, Back and Left views).
        """,
    "orbit": """\
        examples:
          python -m tetraview orbit chair -o chair.gif                   (a folder that generate or reconstruct made)
          python -m tetraview orbit chair/asset.glb -o frames/           (a PNG a frame)
          python -m tetraview orbit chair -o sheet.png --frames 8        (all frames on one sheet)
          python -m tetraview orbit chair -o field.webp --volumetric     (the field before meshing)
        """,
}


def command_module(name: str) -> ModuleType:
    """The module of a sub-command, imported now."""
    match name:
        case "generate":
            from .commands import generate

            return generate
        case "reconstruct":
            from .commands import reconstruct

            return reconstruct
        case "orbit":
            from .commands import orbit

            return orbit
        case "doctor":
            from .commands import doctor

            return doctor
        case "evaluate":
            from .evaluation import command as evaluate

            return evaluate
        case "train":
            from .training import command as train

            return train
    raise ValueError(f"no command {name!r}")


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of the chosen command only; the modules of the others are not imported."""
    parser = argparse.ArgumentParser(
        prog="python -m tetraview",
        description="Tetraview turns a prompt, or photos of an object, into a textured mesh.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tetraview {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log progress to stderr")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in SUMMARIES.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=textwrap.dedent(COMMAND_EXAMPLES.get(name, "")),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            command_module(name).add_arguments(command)
            command.set_defaults(parser=command)
    return parser


def _interrupt(*_: object) -> None:
    """Answer Ctrl-C: the command ends in good order; at a second one it ends at once, and without a traceback."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (`SystemExit` 2 for wrong usage, as argparse does)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # piped in cp1252 or gbk: a name it cannot write is escaped, not an error
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if not word.startswith("-")), None)
    args = build_parser(chosen).parse_args(words)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO if args.verbose else logging.WARNING)  # a job's log.txt gets more than the screen
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    try:
        return int(command_module(args.command).run(args))
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, is gone; say nothing at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    except Exception as error:
        if args.debug:
            raise
        if (known := explained(error)) is not None:
            print(f"error: {known}", file=sys.stderr)
            return EXIT_FAILED
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"error: something unexpected went wrong ({text}): run again with `--debug` before the command.", file=sys.stderr)
        return EXIT_FAILED
