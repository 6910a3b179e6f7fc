#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# enter.sh [--bind DIR]... COMMAND [ARG]...: runs COMMAND inside the root, in
# the current folder. The checkout and the cache are there at their own paths,
# the prepared kernel at /opt/kernel, the debug kernel, if it is built, at
# /opt/kernel-debug, and every DIR at its own path.
#
# All mounts are in a namespace that ends with the command.

set -euo pipefail
# shellcheck source=tools/vm/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

binds=()
while [ "${1-}" = --bind ]; do
	binds+=("$(realpath -e -- "$2")")
	shift 2
done
[ $# -gt 0 ] || die "usage: enter.sh [--bind DIR]... COMMAND [ARG]..."

# Inside already: the Makefile's verbs work there too.
[ -z "${AZIHSM_IN_ROOT-}" ] || exec "$@"

find_root_rights
find_paths
kernel_path=${AZIHSM_KERNEL:-$kernel_path}
debug_kernel_path=${AZIHSM_DEBUG_KERNEL:-$debug_kernel_path}
if ! [ -d "$root_path" ] || ! [ -d "$kernel_path" ]; then
	die "the environment is not set up: type 'make env'"
fi
check_root_rights
mkdir -p "$cache_dir/cargo" "$target_path"
# Whose artifacts they are: when the checkout is gone env.sh removes them.
[ -e "$target_path/checkout" ] || printf '%s\n' "$repo_dir" >"$target_path/checkout"

# Held by the command: `make distclean` does not pull the root away under it.
exec 8>"$cache_dir/use.lock"
flock --shared 8

# Resolver and certificates are the machine's of today, not of the day when the
# root was built.
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

keep=()
for name in TERM V T MAKEFLAGS CI COLUMNS LINES NO_COLOR RUST_LOG RUST_BACKTRACE \
	http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
	[ -z "${!name+set}" ] || keep+=("$name=${!name}")
done
for name in $(compgen -v | grep -E '^(CARGO_(HTTP|NET|REGISTR|SOURCE|BUILD)|AZIHSM_)'); do
	keep+=("$name=${!name}")
done

# shellcheck disable=SC2016 # expanded inside
exec "${as_root[@]}" bash -euc '
	root=$1 kernel=$2 debug=$3 here=$4 certificates=$5 binds=$6 keeps=$7
	shift 7
	for dir in /proc /sys /dev; do
		mount --rbind "$dir" "$root$dir"
	done
	mount --bind "$kernel" "$root/opt/kernel"
	if [ -d "$debug" ]; then
		mkdir -p "$root/opt/kernel-debug"
		mount --bind "$debug" "$root/opt/kernel-debug"
	fi
	while [ "$binds" -gt 0 ]; do
		mkdir -p "$root$1"
		mount --bind "$1" "$root$1"
		shift
		binds=$((binds - 1))
	done
	! [ -e /etc/resolv.conf ] ||
		mount --bind "$(realpath /etc/resolv.conf)" "$root/etc/resolv.conf"
	! [ -e "$certificates" ] ||
		mount --bind "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
	env=()
	while [ "$keeps" -gt 0 ]; do
		env+=("$1")
		shift
		keeps=$((keeps - 1))
	done
	exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "${env[@]}" \
		/bin/sh -c '\''cd "$0" && exec "$@"'\'' "$here" "$@"
	' enter "$root_path" "$kernel_path" "$debug_kernel_path" "$PWD" "$certificates" \
	"$((${#binds[@]} + 2))" "$((${#keep[@]} + 5))" \
	"$repo_dir" "$cache_dir" ${binds[@]+"${binds[@]}"} \
	${keep[@]+"${keep[@]}"} AZIHSM_IN_ROOT=1 AZIHSM_REPO="$repo_dir" \
	CARGO_HOME="$cache_dir/cargo" CARGO_TARGET_DIR="$target_path" \
	DEBIAN_FRONTEND=noninteractive "$@"
