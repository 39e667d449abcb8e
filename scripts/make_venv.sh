#!/usr/bin/env bash
# usage: make_venv.sh VERSION FOLDER REQUIREMENTS [PYTHON]
# Makes a virtual environment with Python VERSION (such as 3.13) and installs pinned packages. Takes PYTHON if it is given, else the
# first of these that is that version: pythonVERSION and python3 on the PATH, and what pyenv and uv have.
set -euo pipefail
version=$1 folder=$2 requirements=$3 wanted=${4:-}

is_version() {
    "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null
}

candidates() {
    if [ -n "$wanted" ]; then
        echo "$wanted"
        return
    fi
    type -aP "python$version" python3 || true
    printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python
    uv python find "$version" 2>/dev/null || true
}

python=
while read -r candidate; do
    if is_version "$candidate"; then
        python=$candidate
        break
    fi
done < <(candidates)
if [ -z "$python" ]; then
    echo "Python $version is needed for $folder and was not found${wanted:+: $wanted is another version, or cannot be run}." >&2
    echo "Install it, or name one: make PYTHON${version/./}=/path/to/python$version ..." >&2
    exit 1
fi

started=$SECONDS
if ! [ -x "$folder/bin/python" ] || ! is_version "$folder/bin/python"; then
    "$python" -m venv --clear "$folder"
fi
echo "Installing $(grep -c '==' "$requirements") packages into $folder (the first time this downloads several hundred MB) ..."
"$folder/bin/python" -m pip install -qq --disable-pip-version-check -r "$requirements"
echo "$folder is ready ($((SECONDS - started)) s)."
