#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# runner.sh [ARG]...: builds the test runner (this folder's Rust program) and
# runs it. Run inside the root by the Makefile.

set -euo pipefail
# shellcheck source=tools/vm/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
log=$repo_dir/build/log/runner.log
bin=$repo_dir/build/bin/azihsm-vm
mkdir -p "$repo_dir"/build/{bin,log}

# Checkouts share the artifacts of what they depend on, and the name of the
# program: build and take it under one lock.
# shellcheck disable=SC2317 # called below
build() {
	flock 7 &&
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
exec "$bin" "$@"
