#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A device that the driver refused because it claims queues that it does not
# have: nothing is left of the attempt, and the next one ends in the same way.
# Needs nothing but a POSIX shell and the tools of busybox.

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$here/common.sh"

driver=/sys/bus/pci/drivers/azihsm
failed='probe with driver azihsm failed with error'
# What the emulator tells of a device that is disabled and knows no I/O queues.
idle='*"cqs":\[\]*"ready":false*"sqs":\[\]*'

# The first function that looks like an HSM and has no driver.
unbound()
{
	for pci in /sys/bus/pci/devices/*; do
		[ "$(cat "$pci/vendor")" = 0x1414 ] || continue
		[ "$(cat "$pci/device")" = 0xc003 ] || continue
		[ ! -e "$pci/driver" ] && echo "$pci" && return
	done
}

# Times that the driver said this of the function.
said()
{
	dmesg | grep "azihsm $address: " | grep -c "$1"
}

# Word of the configuration space at this offset, as four hexadecimal digits.
config_word()
{
	dd if="$pci/config" bs=1 skip="$1" count=2 2>/dev/null |
		hexdump -e '1/2 "%04x"'
}

nothing_is_left()
{
	[ ! -e "$pci/driver" ] && [ ! -e "$pci/msi_irqs" ] &&
		! ls /dev/azihsm* >/dev/null 2>&1 &&
		! grep -q azihsm /proc/interrupts &&
		! grep -q "azihsm" /proc/iomem
}

may_not_write_memory()
{
	# Bit 2 of the command register is Bus Master Enable.
	[ $((0x$(config_word 4) & 4)) = 0 ]
}

# The device forgot its queues and was disabled.
device_is_idle()
{
	exec 3<>"$AZIHSM_EMULATOR"
	echo '{"cmd":"state"}' >&3
	answer=$(timeout 10 head -n 1 <&3)
	exec 3<&-
	ktap_print_msg "$answer"
	matches "$answer" "$idle"
}

bind_fails()
{
	! echo "$address" 2>/dev/null >$driver/bind
}

ktap_print_header

pci=$(unbound)
address=$(basename "$pci")
if [ -z "$pci" ] || [ ! -d "$driver" ] || [ "$(said "$failed")" = 0 ]; then
	ktap_skip_all "no function that the driver refused"
	exit "$KSFT_SKIP"
fi
before=$(said "$failed")

ktap_set_plan 9

check "claim_is_cut_down" \
	[ "$(said 'Control: using 65 of 65536 queues')" -ge 1 ]
check "reason_is_told" [ "$(said 'queue [0-9]* was not created')" -ge 1 ]
check "nothing_is_left" nothing_is_left
check "may_not_write_memory" may_not_write_memory
check "device_is_idle" device_is_idle
check "bind_fails" bind_fails
check "bind_fails_for_the_same_reason" \
	[ "$(said "$failed")" -eq $((before + 1)) ]
check "nothing_is_left_again" nothing_is_left
check "device_is_idle_again" device_is_idle

ktap_finished
