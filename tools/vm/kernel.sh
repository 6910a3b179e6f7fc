#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh STEP SERIES: runs inside the root with the new kernel folder at
# /opt/kernel. Makes there:
#
#   release   the release that was found, as `uname -r` says it in the guest
#   image/    the unmodified distribution kernel and its modules
#   source/   its source
#   build/    an output folder prepared for building modules for it
#   kbuild    `kbuild M=DIR modules` builds a module there as the kernel was built
#
# The header packages have no Rust metadata; it is rebuilt here from the same
# source with the same configuration and the same compilers, which gives the
# same symbols.

set -euo pipefail
step=$1 series=$2
cd /opt/kernel

fetch() {
	apt-get -q update
	local release
	release=$(apt-cache search --names-only "^linux-binary-${series//./\\.}\.[0-9].*-cloud-amd64\$" |
		sed 's/^linux-binary-\([^ ]*\) .*/\1/' | sort -V | tail -n 1)
	if [ -z "$release" ]; then
		echo "error: no cloud kernel $series.* in $(sed -n 's/.* \([a-z-]*backports\) .*/\1/p' /etc/apt/sources.list)"
		exit 1
	fi
	mkdir -p debs
	(cd debs && apt-get -q download "linux-binary-$release" "linux-modules-$release" \
		"linux-headers-$release" "linux-source-$series")
	echo "$release" >release.new
	mv release.new release
}

unpack() {
	local deb
	for deb in debs/*.deb; do dpkg -x "$deb" image; done
	mkdir source
	tar -C source --strip-components=1 -xf "image/usr/src/linux-source-$series.tar.xz"
	rm -r debs "image/usr/src/linux-source-$series.tar.xz"
}

prepare() {
	local release headers cc make
	release=$(cat release)
	headers=image/usr/src/linux-headers-$release
	mkdir build
	cp "$headers/.config" "$headers/Module.symvers" build/
	cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\) .*/\1/p' build/.config)
	make=(make -C source "O=$PWD/build" "CC=$cc" "KERNELRELEASE=$release")
	"${make[@]}" olddefconfig
	# A compiler that does not match silently turns Rust off.
	if ! grep -q '^CONFIG_RUST=y' build/.config; then
		echo "error: CONFIG_RUST was switched off: the compilers do not match the kernel's"
		diff "$headers/.config" build/.config || true
		exit 1
	fi
	"${make[@]}" -j"$(nproc)" modules_prepare
	test -e build/rust/libkernel.rmeta
	cat >kbuild <<-EOF
		#!/bin/sh
		exec make --no-print-directory -C /opt/kernel/build CC=$cc KERNELRELEASE=$release "\$@"
	EOF
	chmod +x kbuild
}

"$step"
