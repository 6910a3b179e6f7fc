# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # the sourcing scripts use what is set here
#
# What env.sh and enter.sh share: where things are, how messages look, how to
# become root. Sourced, never run.

vm_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
repo_dir=$(cd -- "$vm_dir/../.." && pwd -P)
cache_dir=${AZIHSM_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/azihsm}

# The Debian release of the root and the kernel series that is looked for in
# its backports. Patch levels are found, not given.
debian_suite=trixie
kernel_series=7.3

die() {
	printf 'azihsm: error: %s\n' "$1" >&2
	shift
	local line
	for line; do printf '  %s\n' "$line" >&2; done
	exit 1
}

# say VERB TEXT: one line in the style of a kernel build.
say() {
	printf '  %-7s %s\n' "$1" "$2"
}

# Hash of what the given files say, without comments and empty lines.
recipe_hash() {
	sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' "$@" | sha256sum | cut -c1-12
}

root_key() {
	printf '%s\n' "$debian_suite" "$(recipe_hash "$vm_dir/packages.list" "$vm_dir/root.sh")" |
		sha256sum | cut -c1-12
}

kernel_key() {
	printf '%s\n' "$1" "$kernel_series" "$(recipe_hash "$vm_dir/kernel.sh")" |
		sha256sum | cut -c1-12
}

debug_kernel_key() {
	printf '%s\n' "$1" "$(recipe_hash "$vm_dir/debug-kernel.sh" "$vm_dir/debug.config")" |
		sha256sum | cut -c1-12
}

# Sets root_path, kernel_path and debug_kernel_path for the recipes of this checkout.
find_paths() {
	local key
	key=$(root_key)
	root_path=$cache_dir/root-$key
	kernel_path=$cache_dir/kernel-$(kernel_key "$key")
	debug_kernel_path=$cache_dir/debug-$(debug_kernel_key "${kernel_path##*-}")
	# Cargo's artifacts belong to the compiler, hence to the root, and to one
	# checkout: cargo takes equal crates at different places for the same.
	artifacts_path=$cache_dir/artifacts-$key
	target_path=$artifacts_path/$(printf %s "$repo_dir" | sha256sum | cut -c1-12)
}

# newest_artifacts DIR: of the artifacts of checkouts there, those that a new checkout starts
# with: of one that has built its programs, not one that has just begun.
newest_artifacts() {
	find "$1" -mindepth 3 -maxdepth 3 -path '*/debug/azihsm-emulator' -printf '%T@ %h\n' |
		sort -n | sed -n '$s|^[^ ]* \(.*\)/debug$|\1|p'
}

# Sets as_root to the command prefix that gives root's rights over the cache and
# a mount namespace of its own: nothing that is mounted below it is seen
# outside, and nothing stays mounted.
find_root_rights() {
	as_root=(unshare --mount --propagation private)
	if [ "$(id -u)" != 0 ]; then
		as_root=(unshare --user --map-root-user --map-auto --mount
			--propagation private)
	fi
}

# Checks that as_root works here, or says what is missing.
check_root_rights() {
	local why
	command -v unshare >/dev/null ||
		die "unshare is missing: install it with 'apt-get install util-linux'"
	if why=$("${as_root[@]}" true 2>&1); then
		return
	fi
	if [ "$(id -u)" = 0 ]; then
		die "root may not create mount namespaces here ($why)" \
			"Run this on a machine or in a container with CAP_SYS_ADMIN" \
			"(docker run --privileged, podman run --privileged)."
	fi
	command -v newuidmap >/dev/null ||
		die "newuidmap is missing: run as root, or install it with 'apt-get install uidmap'"
	grep -q "^$(id -un):" /etc/subuid 2>/dev/null ||
		die "user $(id -un) has no subordinate ids: run as root, or type 'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)' as root"
	die "user namespaces do not work here: run as root, or allow them with 'sysctl kernel.unprivileged_userns_clone=1' ($why)"
}
