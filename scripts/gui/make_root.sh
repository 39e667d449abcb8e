#!/usr/bin/env bash
# usage: make_root.sh FOLDER    Debian sid with its Blender (5.2) and a virtual X server, in a folder of its own; 1.4 GB, about 3 minutes.
#
# Every mount is made in a private mount namespace: nothing of the host is reachable through FOLDER afterwards, so it may
# simply be deleted.
set -euo pipefail
root=$(realpath -m "${1:?usage: make_root.sh FOLDER}")
[ -x "$root/usr/bin/blender" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "make gui needs root (debootstrap, chroot)." >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
command -v debootstrap >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends debootstrap; }
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | head -1)}  # the one this machine already uses
mkdir -p "$root"
export root mirror
unshare --mount --propagation private bash -euo pipefail <<'INSIDE'
[ -e "$root/.bootstrapped" ] || debootstrap --variant=minbase --include=ca-certificates sid "$root" "$mirror"
touch "$root/.bootstrapped"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
cp /etc/apt/apt.conf.d/99* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
# A frozen mirror's Release files run out; where the host's apt accepts that, so does the guest's. Signatures stay checked.
if apt-config dump | grep -q '^Acquire::Check-Valid-Until "false"'; then
    echo 'Acquire::Check-Valid-Until "false";' > "$root/etc/apt/apt.conf.d/99valid-until"
fi
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"  # start no services
chmod +x "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
chroot "$root" apt-get update -q
# The python3-* packages are only recommended by Debian's Blender, but its extension system does not start without them.
chroot "$root" apt-get install -y -q --no-install-recommends blender xvfb xauth libgl1-mesa-dri libegl1 libegl-mesa0 \
    libglx-mesa0 x11-utils imagemagick python3-numpy python3-requests python3-zstandard python3-cattr python3-attr
chroot "$root" apt-get clean
INSIDE
chroot "$root" blender --version | head -1
