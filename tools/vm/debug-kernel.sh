#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# debug-kernel.sh STEP FRAGMENT: runs inside the root with the new folder at
# /opt/kernel-debug and the prepared stock kernel at /opt/kernel. Makes there,
# from the stock kernel's source and the configuration FRAGMENT:
#
#   release   the release, as `uname -r` says it in the guest
#   build/    the output folder: image, configuration, what modules need
#   kbuild    `kbuild M=DIR modules` builds a module there as the kernel was built

set -euo pipefail
step=$1 fragment=$2
cd /opt/kernel-debug
make=(make -C /opt/kernel/source "O=$PWD/build" LLVM=1)

configure() {
	mkdir build
	KCONFIG_ALLCONFIG=$fragment "${make[@]}" allnoconfig
	# What an option depends on is not switched on for it: it is left out silently.
	local line missing=0
	while read -r line; do
		if ! grep -qxF "$line" build/.config; then
			echo "error: the configuration has no $line"
			missing=1
		fi
	done < <(grep ^CONFIG_ "$fragment")
	! grep -q '^CONFIG_EXPERT=y' build/.config || {
		echo "error: EXPERT is on: it switches warnings and native error reporting off"
		missing=1
	}
	return $missing
}

build() {
	nice "${make[@]}" -j"$(nproc)" bzImage modules
	"${make[@]}" -s kernelrelease >release
	cat >kbuild <<-'EOF'
		#!/bin/sh
		exec make --no-print-directory -C /opt/kernel-debug/build LLVM=1 "$@"
	EOF
	chmod +x kbuild
	# Modules need the tools, the headers and the Rust metadata, not the objects.
	find build \( -name '*.o' -o -name '*.a' -o -name '.*.cmd' \) \
		-not -path 'build/scripts/*' -not -path 'build/tools/*' -delete
	rm -f build/vmlinux.unstripped
	test -e build/arch/x86/boot/bzImage
	test -e build/rust/libkernel.rmeta
	test -e build/Module.symvers
}

"$step"
