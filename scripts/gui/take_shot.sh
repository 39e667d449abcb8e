#!/usr/bin/env bash
# usage: take_shot.sh FOLDER PICTURE [PROMPT [LAST]]    Screenshot of the extension in a real Blender window, in the root of make_root.sh.
#
# The newest zip in dist/ is installed as an artist would; then the demo's photos are chosen, or the prompt is written, and the
# buttons are pressed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(realpath "${1:?usage: take_shot.sh FOLDER PICTURE [PROMPT [LAST]]}")
picture=$(realpath -m "${2:?usage: take_shot.sh FOLDER PICTURE [PROMPT [LAST]]}")
shift 2
"$here/in_window.sh" "$root" "$here/shot.py" /probe/tetraview.zip /probe/photos /probe/shot.png "$@"
[ -s "$root/probe/shot.png" ] || { echo "No screenshot was taken." >&2; exit 1; }
mkdir -p "$(dirname "$picture")"
cp "$root/probe/shot.png" "$picture"
[ ! -e "$root/probe/failed" ] || { echo "The picture shows a failure: $(cat "$root/probe/failed")" >&2; exit 1; }
echo "$picture"
