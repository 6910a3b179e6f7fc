#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Loads against a device that fails and lies at random, with a few seeds that
# are the same each time. `make chaos` has as many as wanted.

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$here/common.sh"

seeds="1 2 3"
seconds=15

ktap_print_header

if [ -z "$AZIHSM_EMULATOR" ]; then
	ktap_skip_all "no channel to the emulator"
	exit "$KSFT_SKIP"
fi
if [ "${AZIHSM_SLOW:-0}" = 0 ]; then
	ktap_skip_all "takes minutes: set AZIHSM_SLOW=1"
	exit "$KSFT_SKIP"
fi

# shellcheck disable=SC2086 # a list
set -- $seeds
ktap_set_plan $#
for seed; do
	output=$("$here/load" -x "$seed,0.005" -s "$seconds" 2>&1)
	status=$?
	echo "$output" | sed 's/^/# /'
	if [ "$status" = 0 ]; then
		ktap_test_pass "seed $seed"
	else
		ktap_test_fail "seed $seed"
	fi
done

ktap_finished
