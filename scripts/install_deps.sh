#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages that a task needs and that are missing, saying which.
#   scripts/install_deps.sh [build|run|check|ci]     each includes those before it
#   scripts/install_deps.sh slow|bench               check, run, what loads disks; slow: clang, tools of disks
#   scripts/install_deps.sh --list [TASK]            only prints the names
set -eu

build="gcc libc6-dev make meson ninja-build pkg-config python3
       libcurl4-gnutls-dev libglib2.0-dev libgnutls28-dev libjson-c-dev liburcu-dev libpixman-1-dev
       libpng-dev libsdl2-dev libzstd-dev nettle-dev zlib1g-dev"
run="seabios ipxe-qemu grub-common grub-pc-bin xorriso mtools busybox-static cpio"
check="acpica-tools grub-rescue-pc memtest86+ git xvfb xdotool
       libzydis-dev nbdkit libnbd-bin python3-libnbd gnutls-bin nginx-light qemu-utils"
fio="fio"
disk_tools="hdparm nvme-cli sg3-utils smartmontools"
ci="clang libclang-rt-14-dev ccache"

list_only=no
if [ "${1:-}" = --list ]; then
    list_only=yes
    shift
fi
task=${1:-build}
case $task in
build) wanted=$build ;;
run) wanted="$build $run" ;;
check) wanted="$build $run $check" ;;
slow) wanted="$build $run $check $fio $disk_tools $ci" ;;
bench) wanted="$build $run $check $fio" ;;
ci) wanted="$build $run $check $ci" ;;
*) echo "install_deps.sh: '$task' is none of build, run, check, ci, slow, bench" >&2; exit 1 ;;
esac

if [ $list_only = yes ]; then
    printf '%s\n' $wanted
    exit 0
fi
if ! command -v dpkg-query >/dev/null; then
    echo "install_deps.sh: this is no Debian; please see to the likes of:" $wanted >&2
    exit 0
fi

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" != installed ]; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

echo "Installing Debian packages:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_deps.sh: sudo is missing; as root, run: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
# Names are split on purpose.
# shellcheck disable=SC2086
if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
then
    $sudo apt-get update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi
