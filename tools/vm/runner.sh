#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# runner.sh [ARG]...: builds the test runner (this folder's Rust program) and
# runs it; `runner.sh --build` only builds it. Run inside the root by the
# Makefile.

set -euo pipefail
# shellcheck source=tools/vm/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
log=$repo_dir/build/log/runner.log
bin=$repo_dir/build/bin/azihsm-vm
mkdir -p "$repo_dir"/build/{bin,log}

# A new checkout starts with what another one has built, except the project's own
# crates: cargo tells those of two checkouts apart by the time of day only.
seed() {
	local from
	[ ! -d "$CARGO_TARGET_DIR/debug" ] || return 0
	from=$(newest_artifacts "$(dirname "$CARGO_TARGET_DIR")")
	[ -n "$from" ] || return 0
	rm -rf "$CARGO_TARGET_DIR/seed"
	mkdir -p "$CARGO_TARGET_DIR/seed"
	flock --shared "$from/azihsm.lock" tar -C "$from/debug" --exclude='*azihsm*' \
		--exclude=./incremental --exclude=./examples -cf - . |
		tar -C "$CARGO_TARGET_DIR/seed" -xf -
	mv "$CARGO_TARGET_DIR/seed" "$CARGO_TARGET_DIR/debug"
}

# The lock is that of the programs' build, too: what is built is taken under it.
# shellcheck disable=SC2317 # called below
build() {
	flock 7 && seed &&
		cargo build --manifest-path "$repo_dir/tools/Cargo.toml" --package azihsm-vm &&
		{ cmp -s "$CARGO_TARGET_DIR/debug/azihsm-vm" "$bin" ||
			install "$CARGO_TARGET_DIR/debug/azihsm-vm" "$bin"; }
} 7>"$CARGO_TARGET_DIR/azihsm.lock"

start=$SECONDS
new=
[ -e "$bin" ] || new=1
[ -z "$new" ] || printf '  %-7s %s ... ' RUNNER "building the test runner (about 1 min the first time)"
if [ "${V-}" = 1 ]; then
	build || die "the test runner does not build: see above"
elif ! build >"$log" 2>&1 </dev/null; then
	printf '\n'
	cat "$log"
	die "the test runner does not build: see above"
else
	[ -z "$new" ] || printf 'done in %d s\n' $((SECONDS - start))
fi
[ "${1-}" = --build ] || exec "$bin" "$@"
