#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Whether load(1) finds what it is to find: with a device whose keys are others
# than the tests take them for, every result is wrong.

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$here/common.sh"

request=/tmp/request

# arm FAULT: has the load arm one fault.
arm() {
	echo "{\"cmd\":\"arm\",\"faults\":[$1]}" >"$request"
}

# judged WANTED COMPLAINT TITLE OPTION...: what the load says of its results, "ok"
# or "not ok", and what it complains about.
judged() {
	wanted=$1 complaint=$2 title=$3
	shift 3
	output=$("$here/load" -t 4 -c 60 -s 60 "$@" 2>&1)
	if echo "$output" | grep -q "^$wanted 1 load" &&
	   echo "$output" | grep -q "$complaint"; then
		ktap_test_pass "$title"
	else
		echo "$output" | sed 's/^/# /'
		ktap_test_fail "$title"
	fi
}

ktap_print_header

if [ -z "$AZIHSM_EMULATOR" ]; then
	ktap_skip_all "no channel to the emulator"
	exit "$KSFT_SKIP"
fi
if [ "${AZIHSM_WRONG_KEY:-0}" = 0 ]; then
	ktap_skip_all "needs a device with another test key: set AZIHSM_WRONG_KEY=1"
	exit "$KSFT_SKIP"
fi

ktap_set_plan 5
judged "not ok" "wrong: GCM ciphertext" "wrong results"
judged "not ok" "wrong: XTS ciphertext" "wrong results through io_uring" -u 4
judged "not ok" "wrong: GCM ciphertext" "wrong results of a device that lies" -l
arm '{"class":"fp","count":1,"what":{"late-write":{"ms":0}}}'
judged "ok" "1 faults that nobody can see through" \
	"wrong results that nobody can know to be" -f "$request"
arm '{"class":"fp","count":1,"what":{"delay":{"ms":1500}}}'
judged "not ok" "late: 1[0-9][0-9][0-9] ms" "late results" -f "$request" -b 1000 -t 1 -u 0
rm -f "$request"

ktap_finished
