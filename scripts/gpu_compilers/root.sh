#!/usr/bin/env bash
# root.sh [FOLDER]       makes a root filesystem with Mesa's Vulkan drivers and its no-op DRM shims, from Debian packages alone
# root.sh -d FOLDER      unmounts /proc and /dev there and deletes it (never delete it by hand while they are mounted)
#
# FOLDER is ~/.cache/gpu-compilers/root unless it is given, here and to run.sh by WGEN_GPU_COMPILERS_ROOT. Run it again at any time: what is
# there stays. Needs root (debootstrap, chroot, mounts), about 800 MB and two minutes. The mirror is the one in this machine's apt sources; MIRROR
# names another, which is needed where the machine is no Debian.
#
# The suite is sid: trixie (Mesa 25.0.7) has neither shim nor driver for Apple and Adreno on amd64, and no gfx1201. sid moves: the table says
# which Mesa it is of, and results of another one are not taken for today's.
set -euo pipefail

delete=
if [ "${1:-}" = -d ]; then
    delete=1
    shift
fi
root=${1:-${WGEN_GPU_COMPILERS_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/gpu-compilers/root}}
packages="mesa-vulkan-drivers mesa-drm-shim libvulkan1 spirv-tools glslang-tools"

if [ "$(id -u)" != 0 ]; then
    echo "root.sh: debootstrap and chroot need root: run it with sudo" >&2
    exit 2
fi

if [ -n "$delete" ]; then
    [ -e "$root/.made" ] || { echo "root.sh: $root is none of ours" >&2; exit 2; }
    for name in dev proc; do
        ! mountpoint -q "$root/$name" || umount "$root/$name"
    done
    exec rm -rf --one-file-system "$root"
fi

mirror_of_sources() {
    # `deb [options] URI suite ...` and `URIs: URI ...`; the archive's path ends in /debian.
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -v '^ *#' | grep -Eo '(https?|file)://[^ ]+' | grep -E '/debian/?$' | head -n 1
}

if [ ! -e "$root/.made" ]; then
    mirror=${MIRROR:-$(mirror_of_sources || true)}
    if [ -z "$mirror" ]; then
        echo "root.sh: apt's sources name no Debian mirror; give one: MIRROR=https://... root.sh" >&2
        exit 2
    fi
    if ! command -v debootstrap >/dev/null; then
        apt-get update -q
        apt-get install -yq --no-install-recommends debootstrap
    fi
    mkdir -p "$root"
    debootstrap --variant=minbase sid "$root" "$mirror"
    touch "$root/.made"
fi
for name in proc dev; do
    mkdir -p "$root/$name"
    mountpoint -q "$root/$name" || mount --bind "/$name" "$root/$name"
done

in_root() {
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}
# A snapshot's Release file may be past its date.
apt=(apt-get -yq -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3)
# shellcheck disable=SC2086
if ! in_root dpkg -s $packages >/dev/null 2>&1; then
    in_root "${apt[@]}" update
    in_root "${apt[@]}" install --no-install-recommends $packages
fi
# shellcheck disable=SC2086
in_root dpkg-query -W -f '${Package} ${Version}\n' $packages
