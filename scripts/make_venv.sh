#!/usr/bin/env bash
# usage: make_venv.sh PYTHON FOLDER REQUIREMENTS    Makes a virtual environment with Python 3.11 and installs pinned packages.
set -euo pipefail
python=$1 folder=$2 requirements=$3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "$("$python" --version) found, but Blender 4.2 to 5.0 use Python 3.11: run make PYTHON=python3.11 ..." >&2
    exit 1
}
started=$SECONDS
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
echo "Installing $(grep -c '==' "$requirements") packages into $folder (the first time this downloads several hundred MB) ..."
"$folder/bin/python" -m pip install -qq --disable-pip-version-check -r "$requirements"
echo "$folder is ready ($((SECONDS - started)) s)."
