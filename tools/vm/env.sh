#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# env.sh: builds what the other commands run in, unless the cache has it: the
# Debian root with the tools, and the kernel with a tree to build modules
# for it. `env.sh --debug` builds the debug kernel as well, `env.sh --quiet`
# says nothing when everything is cached, `env.sh --remove` empties the cache.
#
# What is built goes to a temporary name first and is renamed when complete, so
# an interrupted run leaves nothing that a later one would take for finished.

set -euo pipefail
# shellcheck source=tools/vm/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

quiet=
remove=
debug=
for arg; do
	case $arg in
	--quiet) quiet=1 ;;
	--debug) debug=1 ;;
	--remove) remove=1 ;;
	*) die "usage: env.sh [--debug] [--quiet] | --remove" ;;
	esac
done

# Inside the root everything is there.
[ -z "${AZIHSM_IN_ROOT-}" ] || exit 0

# Room for the root, the kernel and the build artifacts, in GiB.
need_gib=10

check_prerequisites() {
	[ "$(uname -m)" = x86_64 ] ||
		die "this needs an x86-64 machine: the reference kernel is Debian's cloud kernel for amd64"
	command -v mmdebstrap >/dev/null ||
		die "mmdebstrap is missing: install it with 'apt-get install mmdebstrap'"
	command -v flock >/dev/null ||
		die "flock is missing: install it with 'apt-get install util-linux'"
	compgen -G '/usr/share/keyrings/debian-archive-*' >/dev/null ||
		die "Debian's archive keys are missing: install them with 'apt-get install debian-archive-keyring'"
	check_root_rights

	if ! mkdir -p "$cache_dir" 2>/dev/null || ! [ -w "$cache_dir" ]; then
		die "cannot write to $cache_dir: make it writable, or choose another folder with XDG_CACHE_HOME=DIR"
	fi
	local free
	free=$(df --output=avail --block-size=1G "$cache_dir" | tail -n 1)
	[ "$free" -ge "$need_gib" ] ||
		die "only $((free)) GiB are free in $cache_dir, $need_gib are needed: make room, or choose another folder with XDG_CACHE_HOME=DIR"
	findmnt -n -o OPTIONS -T "$cache_dir" 2>/dev/null | grep -qE '(^|,)(nodev|noexec)(,|$)' &&
		[ "$(id -u)" = 0 ] &&
		die "$cache_dir is on a file system mounted nodev or noexec: choose another folder with XDG_CACHE_HOME=DIR"
	return 0
}

# The process group of the step that runs.
running=

# Runs a command of the set-up with its output in a log; shows what is done and
# how long it took, and the end of the log if it fails. The command has a
# process group of its own, so that all of it can be ended.
# shellcheck disable=SC2317 # called by name
step() {
	local verb=$1 what=$2 log=$cache_dir/log/$1.log start=$SECONDS ok=1
	shift 2
	printf '  %-7s %s ... ' "$verb" "$what"
	set -m
	"$@" >>"$log" 2>&1 </dev/null &
	set +m
	running=$!
	# On a terminal the time is shown behind the line that is there.
	while [ -t 1 ] && kill -0 "$running" 2>/dev/null; do
		printf '\0337%d s\0338' $((SECONDS - start))
		sleep 1
	done
	wait "$running" || ok=
	running=
	if [ -n "$ok" ]; then
		printf 'done in %d s\n' $((SECONDS - start))
		return
	fi
	printf 'FAILED after %d s\n\n' $((SECONDS - start))
	tail -n 25 "$log" | sed 's/^/    /'
	die "$what failed: the lines above say why, the whole log is $log" \
		"Nothing half-built is left behind; 'make env' starts this step over."
}

# shellcheck disable=SC2317 # called by the trap
stop_step() {
	[ -n "$running" ] || return 0
	kill -KILL -- "-$running" 2>/dev/null
	wait "$running" 2>/dev/null
}

# Left over from a run that was killed. The lock says that nobody works on it.
remove_leftovers() {
	local dir
	for dir in "$cache_dir"/*.tmp; do
		[ ! -e "$dir" ] || "${as_root[@]}" rm -rf --one-file-system "$dir"
	done
}

build_root() {
	local tmp=$root_path.tmp
	: >"$cache_dir/log/ROOT.log"
	step ROOT "Debian $debian_suite with $(grep -c '^[^#]' "$vm_dir/packages.list") packages and what they need (about 2 min)" \
		"${as_root[@]}" bash "$vm_dir/root.sh" "$tmp" "$debian_suite" "$vm_dir/packages.list"
	mv "$tmp" "$root_path"
}

build_kernel() {
	local tmp=$kernel_path.tmp
	: >"$cache_dir/log/KERNEL.log"
	mkdir "$tmp"
	step KERNEL "finding and fetching the newest cloud kernel $kernel_series.*" \
		in_new_kernel fetch
	step KERNEL "unpacking $(cat "$tmp/release") and its source" in_new_kernel unpack
	step KERNEL "preparing the tree for Rust modules with $(nproc) jobs (about 2 min)" \
		in_new_kernel prepare
	mv "$tmp" "$kernel_path"
}

build_debug_kernel() {
	local tmp=$debug_kernel_path.tmp
	: >"$cache_dir/log/DEBUG.log"
	mkdir "$tmp"
	step DEBUG "configuring the debug kernel" in_new_debug_kernel configure
	step DEBUG "building the debug kernel with $(nproc) jobs (about 10 min)" \
		in_new_debug_kernel build
	mv "$tmp" "$debug_kernel_path"
}

in_new_debug_kernel() {
	AZIHSM_DEBUG_KERNEL=$debug_kernel_path.tmp "$vm_dir/enter.sh" \
		bash "$vm_dir/debug-kernel.sh" "$1" "$vm_dir/debug.config"
}

in_new_kernel() {
	AZIHSM_KERNEL=$kernel_path.tmp "$vm_dir/enter.sh" \
		bash "$vm_dir/kernel.sh" "$1" "$kernel_series"
}

describe() {
	say CACHED "root: Debian $debian_suite ($root_path)"
	say CACHED "kernel: $(cat "$kernel_path/release") ($kernel_path)"
	[ -z "$debug" ] ||
		say CACHED "debug kernel: $(cat "$debug_kernel_path/release") ($debug_kernel_path)"
}

remove_cache() {
	[ -d "$cache_dir" ] || return 0
	exec 9>"$cache_dir/build.lock" 8>"$cache_dir/use.lock"
	if ! flock --nonblock 9 || ! flock --nonblock 8; then
		die "the cache $cache_dir is in use: end what runs in it first"
	fi
	local dir
	for dir in "$cache_dir"/{root,kernel,debug,artifacts}-* "$cache_dir"/{cargo,log}; do
		[ -e "$dir" ] || continue
		say REMOVE "$dir"
		"${as_root[@]}" rm -rf --one-file-system "$dir"
	done
}

# Removes the artifacts of checkouts that are gone, but for those that the next new
# checkout starts with. What a command still uses is left for the next time.
drop_orphans() {
	local file dir keep
	keep=$(newest_artifacts "$artifacts_path")
	for file in "$cache_dir"/artifacts-*/*/checkout; do
		dir=${file%/checkout}
		if [ "$dir" != "$keep" ] && [ -s "$file" ] && ! [ -d "$(cat "$file")" ]; then
			"${as_root[@]}" flock --nonblock "$dir/azihsm.lock" \
				rm -rf --one-file-system "$dir" || true
		fi
	done
}

find_root_rights
find_paths
if [ -n "$remove" ]; then
	remove_cache
	exit 0
fi
[ ! -d "$artifacts_path" ] || drop_orphans 2>/dev/null
if [ -d "$root_path" ] && [ -d "$kernel_path" ] && { [ -z "$debug" ] || [ -d "$debug_kernel_path" ]; }; then
	[ -n "$quiet" ] || describe
	exit 0
fi

check_prerequisites
mkdir -p "$cache_dir/log"
exec 9>"$cache_dir/build.lock"
if ! flock --nonblock 9; then
	say WAIT "another 'make env' works on $cache_dir"
	flock 9
fi
trap '{ stop_step || true; remove_leftovers; } 2>/dev/null' EXIT
trap 'printf "interrupted\n"; exit 130' INT
trap 'printf "terminated\n"; exit 143' TERM
remove_leftovers

if [ -d "$root_path" ]; then
	say CACHED "root: Debian $debian_suite ($root_path)"
else
	build_root
fi
if [ -d "$kernel_path" ]; then
	say CACHED "kernel: $(cat "$kernel_path/release") ($kernel_path)"
else
	build_kernel
fi
if [ -n "$debug" ]; then
	if [ -d "$debug_kernel_path" ]; then
		say CACHED "debug kernel: $(cat "$debug_kernel_path/release") ($debug_kernel_path)"
	else
		build_debug_kernel
	fi
fi
