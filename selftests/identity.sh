#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What the driver shows of itself: the bound function, its class device, its
# node. Needs nothing but a POSIX shell and the tools of busybox.
#
# What is listed is in sysfs, where names are plain words.
# shellcheck disable=SC2010,SC2012

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$here/common.sh"

driver=/sys/bus/pci/drivers/azihsm
class=/sys/class/azihsm-hsm

ktap_print_header

if [ -n "$AZIHSM_DEV" ]; then
	name=$AZIHSM_DEV
else
	name=$(ls "$class" 2>/dev/null | grep '^azihsm[0-9]*$' | sort | head -n 1)
fi
if [ -z "$name" ] || [ ! -e "$class/$name" ]; then
	ktap_skip_all "no azihsm device"
	exit "$KSFT_SKIP"
fi

node=/dev/$name
pci=$(readlink -f "$class/$name/device")
address=$(basename "$pci")

# Number of msi-x vectors of the function.
vectors()
{
	ls "$pci/msi_irqs" 2>/dev/null | wc -l
}

# Major and minor of the node, as sysfs writes them.
node_numbers()
{
	printf '%d:%d' "0x$(stat -c %t "$node")" "0x$(stat -c %T "$node")"
}

# Class devices, and functions that the driver is bound to.
count_nodes()
{
	ls "$class" | grep -c '^azihsm[0-9]*$'
}

count_functions()
{
	ls "$driver" | grep -c '^[0-9a-f]*:[0-9a-f]*:[0-9a-f]*\.[0-7]$'
}

ktap_set_plan 18

check "function_bound" [ "$(readlink -f "$driver/$address")" = "$pci" ]
check "function_names_driver" \
	[ "$(readlink -f "$pci/driver")" = "$(readlink -f $driver)" ]
check "driver_names_module" \
	[ "$(basename "$(readlink -f $driver/module)")" = azihsm ]
check "vendor" [ "$(cat "$pci/vendor")" = 0x1414 ]
check "device" [ "$(cat "$pci/device")" = 0xc003 ]
check "modalias" matches "$(cat "$pci/modalias")" \
	'pci:v00001414d0000C003sv*sd*bc*sc*i*'
check "function_enabled" [ "$(cat "$pci/enable")" = 1 ]
check "vectors_at_least_two" [ "$(vectors)" -ge 2 ]
check "vectors_at_most_32" [ "$(vectors)" -le 32 ]
check "interrupts_requested" grep -q azihsm /proc/interrupts
check "class_device_under_function" \
	[ "$(readlink -f "$class/$name")" = "$pci/azihsm-hsm/$name" ]
check "class_device_subsystem" \
	[ "$(basename "$(readlink -f "$class/$name/subsystem")")" = azihsm-hsm ]
check "uevent_names_node" grep -qx "DEVNAME=$name" "$class/$name/uevent"
check "node_is_character_device" [ -c "$node" ]
check "node_has_class_device_numbers" \
	[ "$(node_numbers)" = "$(cat "$class/$name/dev")" ]
check "major_registered" grep -q "^ *$(cut -d: -f1 "$class/$name/dev") azihsm-hsm\$" \
	/proc/devices
check "node_is_roots_alone" [ "$(stat -c %a:%u:%g "$node")" = 600:0:0 ]
check "one_node_per_function" [ "$(count_nodes)" -eq "$(count_functions)" ]

ktap_finished
