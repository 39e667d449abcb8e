#!/usr/bin/env bash
# usage: take_shot.sh FOLDER PICTURE [PROMPT [LAST]]    Screenshot of the extension in a real Blender window, in the root of make_root.sh.
#
# The newest zip in dist/ is installed as an artist would; then the demo's photos are chosen, or the prompt is written, and the
# buttons are pressed, with the engine of .venv, which the guest sees read-only (and the generator of TETRAVIEW_GENERATOR, if
# that is set). All mounts live in a private mount namespace and go with it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(realpath "${1:?usage: take_shot.sh FOLDER PICTURE [PROMPT [LAST]]}")
picture=$(realpath -m "${2:?usage: take_shot.sh FOLDER PICTURE [PROMPT [LAST]]}")
prompt=${3:-}
last=${4:-}
project=$(cd "$here/../.." && pwd)
engine=${TETRAVIEW_ENGINE_PYTHON:-$project/.venv/bin/python}
venv=$(cd "$(dirname "$engine")/.." && pwd)
base=$("$engine" -c 'import sys; print(sys.base_prefix)')
probe="$root/probe"
rm -rf "$probe"
mkdir -p "$probe/photos"
cp "$(ls -t "$project"/dist/tetraview-*.zip | head -1)" "$probe/tetraview.zip"
cp "$here/shot.py" "$probe/"
cp "$project"/docs/demo/photos/* "$probe/photos/"
generator=
if [ -n "${TETRAVIEW_GENERATOR:-}" ]; then
    cp -r "$TETRAVIEW_GENERATOR" "$probe/generator"
    generator=/probe/generator
fi
export root engine venv base prompt last generator
unshare --mount --propagation private bash -euo pipefail <<'INSIDE'
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for folder in "$venv" "$base"; do
    case "$folder" in /usr | /usr/*) echo "The engine's Python is the system's: the guest cannot use it." >&2; exit 1 ;; esac
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
done
chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 LIBGL_ALWAYS_SOFTWARE=1 \
    BLENDER_USER_RESOURCES=/probe/user TETRAVIEW_HOME=/probe/home TETRAVIEW_ENGINE_PYTHON="$engine" TETRAVIEW_GENERATOR="$generator" \
    timeout --kill-after=10 400 xvfb-run -a -s "-screen 0 1440x1080x24 +extension GLX" \
    blender --factory-startup --window-geometry 0 0 1440 1080 --python /probe/shot.py -- /probe/tetraview.zip /probe/photos /probe/shot.png ${prompt:+"$prompt"} ${last:+"$last"}
INSIDE
[ -s "$probe/shot.png" ] || { echo "No screenshot was taken." >&2; exit 1; }
mkdir -p "$(dirname "$picture")"
cp "$probe/shot.png" "$picture"
[ ! -e "$probe/failed" ] || { echo "The picture shows a failure: $(cat "$probe/failed")" >&2; exit 1; }
echo "$picture"
