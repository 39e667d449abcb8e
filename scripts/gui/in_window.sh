#!/usr/bin/env bash
# usage: in_window.sh FOLDER SCRIPT [ARGUMENT ...]    Run a script in a real Blender window, in the root of make_root.sh.
#
# The newest zip in dist/ lies in the guest as /probe/tetraview.zip, the demo's photos in /probe/photos; the engine is that of
# .venv, which the guest sees read-only (and the generator of TETRAVIEW_GENERATOR, if that is set). What the script writes into
# /probe stays in FOLDER/probe. All mounts live in a private mount namespace and go with it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(realpath "${1:?usage: in_window.sh FOLDER SCRIPT [ARGUMENT ...]}")
script=$(realpath "${2:?usage: in_window.sh FOLDER SCRIPT [ARGUMENT ...]}")
shift 2
project=$(cd "$here/../.." && pwd)
engine=${TETRAVIEW_ENGINE_PYTHON:-$project/.venv/bin/python}
venv=$(cd "$(dirname "$engine")/.." && pwd)
base=$("$engine" -c 'import sys; print(sys.base_prefix)')
probe="$root/probe"
rm -rf "$probe"
mkdir -p "$probe/photos"
cp "$(ls -t "$project"/dist/tetraview-*.zip | head -1)" "$probe/tetraview.zip"
cp "$script" "$probe/script.py"
cp "$project"/docs/demo/photos/* "$probe/photos/"
generator=
if [ -n "${TETRAVIEW_GENERATOR:-}" ]; then
    cp -r "$TETRAVIEW_GENERATOR" "$probe/generator"
    generator=/probe/generator
fi
export root engine venv base generator
export limit=${LIMIT_S:-400} size=${WINDOW:-1440x1080}
unshare --mount --propagation private bash -euo pipefail -s -- "$@" <<'INSIDE'
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
    timeout --kill-after=10 "$limit" xvfb-run -a -s "-screen 0 ${size}x24 +extension GLX" \
    blender --factory-startup --enable-event-simulate --window-geometry 0 0 ${size/x/ } --python /probe/script.py -- "$@"
INSIDE
