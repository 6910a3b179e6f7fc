#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The module parameter log_mask: what it lets through when the driver is bound
# to its function again. Needs a POSIX shell and the tools of busybox.

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$here/common.sh"

driver=/sys/bus/pci/drivers/azihsm
parameter=/sys/module/azihsm/parameters/log_mask

ktap_print_header

address=
for path in "$driver"/*:*; do
	[ -e "$path" ] && address=$(basename "$path") && break
done
if [ -z "$address" ]; then
	ktap_skip_all "no azihsm device"
	exit "$KSFT_SKIP"
fi

default=$(cat "$parameter")

# Lines that the driver wrote about the function when it came up.
lines_of_bind()
{
	echo "$1" >"$parameter"
	before=$(dmesg | grep -c "azihsm $address: controller .* firmware")
	echo "$address" >"$driver/unbind"
	echo "$address" >"$driver/bind"
	after=$(dmesg | grep -c "azihsm $address: controller .* firmware")
	echo "$default" >"$parameter"
	echo $((after - before))
}

ktap_set_plan 6

check "default_is_all_but_debug" [ "$default" = 7 ]
check "administrator_may_change_it" [ "$(stat -c %a "$parameter")" = 644 ]
check "information_is_printed" [ "$(lines_of_bind 4)" = 1 ]
check "not_without_its_bit" [ "$(lines_of_bind 11)" = 0 ]
check "nothing_is_printed" [ "$(lines_of_bind 0)" = 0 ]
check "function_bound_after_all" [ -e "$driver/$address" ]

ktap_finished
