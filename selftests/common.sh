# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the tests that are scripts share. Sourced by them, with their folder in
# $here. Needs nothing but a POSIX shell and the tools of busybox.

# shellcheck disable=SC2154 # set by who sources this
helpers=$here/ktap_helpers.sh
[ -f "$helpers" ] || helpers=$here/../../kselftest/ktap_helpers.sh
[ -f "$helpers" ] || helpers=$KSRC/tools/testing/selftests/kselftest/ktap_helpers.sh
if [ ! -f "$helpers" ]; then
	echo "ktap_helpers.sh not found: run \"make install\", or set KSRC" >&2
	exit 1
fi
# shellcheck source=/dev/null
. "$helpers"

# check <description> <command>...: runs the command, reports its result.
check()
{
	description=$1
	shift
	if "$@"; then
		ktap_test_pass "$description"
	else
		ktap_print_msg "failed: $*"
		ktap_test_fail "$description"
	fi
}

# matches <text> <pattern>
matches()
{
	# shellcheck disable=SC2254
	case $1 in
	$2) return 0 ;;
	esac
	return 1
}
