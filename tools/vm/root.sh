#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# root.sh DIR SUITE LIST: builds the Debian root in DIR. Run by env.sh with
# root's rights. AZIHSM_DEBIAN_MIRROR replaces the mirror that mmdebstrap
# chooses.

set -euo pipefail
dir=$1 suite=$2 list=$3

packages=$(grep -v -e '^#' -e '^$' -e '/backports$' "$list" | paste -sd,)
newer=$(sed -n 's|^\([^#].*\)/backports$|\1|p' "$list" | paste -sd' ')

# The backports are on the same mirror: derive their line from the one that
# mmdebstrap wrote.
# shellcheck disable=SC2016 # expanded by the hook's shell
backports='
l=$1/etc/apt/sources.list
b=$(sed -n "s/ $AZIHSM_SUITE main\$/ $AZIHSM_SUITE-backports main/p" "$l" | head -n 1)
test -n "$b"
echo "$b" >>"$l"'

# shellcheck disable=SC2016
install_newer='chroot "$1" apt-get install --yes --target-release "$AZIHSM_SUITE-backports" $AZIHSM_NEWER'

AZIHSM_SUITE=$suite AZIHSM_NEWER=$newer mmdebstrap --mode=root --variant=minbase --format=directory \
	--components=main --include="$packages" \
	--setup-hook="$backports" --customize-hook="$install_newer" \
	--aptopt='APT::Install-Recommends "false"' \
	--aptopt='Acquire::Languages "none"' \
	--aptopt='Acquire::Retries "3"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$suite" "$dir" ${AZIHSM_DEBIAN_MIRROR:+"$AZIHSM_DEBIAN_MIRROR"}

# Mount points for enter.sh.
mkdir -p "$dir"/{proc,sys,dev,opt/kernel}
: >"$dir/etc/resolv.conf"
