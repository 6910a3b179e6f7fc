// SPDX-License-Identifier: GPL-2.0-or-later

//! The TAP reader against output in the formats of the kernel's test tools.

use super::*;

fn read(output: &str) -> Summary {
    let mut parser = Parser::default();
    for line in output.lines() {
        parser.line(line);
    }
    parser.finish()
}

fn results(output: &str) -> Vec<(String, Result)> {
    read(output)
        .cases
        .into_iter()
        .map(|case| (case.name, case.result))
        .collect()
}

fn expect(output: &str, expected: &[(&str, Result)]) {
    let found = results(output);
    let found: Vec<_> = found
        .iter()
        .map(|(name, result)| (name.as_str(), *result))
        .collect();
    assert_eq!(found, expected);
}

const HARNESS: &str = "\
TAP version 13
1..3
# Starting 3 tests from 1 test cases.
#  RUN           gcm.round_trip ...
#            OK  gcm.round_trip
ok 1 gcm.round_trip
#  RUN           gcm.wrong_tag ...
# gcm.c:87:wrong_tag:Expected 0 (0) == ret (-5)
# wrong_tag: Test terminated by assertion
#          FAIL  gcm.wrong_tag
not ok 2 gcm.wrong_tag
#  RUN           gcm.large ...
#      SKIP      no device
ok 3 gcm.large # SKIP no device
# FAILED: 2 / 3 tests passed.
# 1 skipped test(s) detected.  Consider enabling relevant config options to improve coverage.
# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0";

#[test]
fn the_kselftest_harness_is_understood() {
    expect(
        HARNESS,
        &[
            ("gcm.round_trip", Result::Passed),
            ("gcm.wrong_tag", Result::Failed),
            ("gcm.large", Result::Skipped),
        ],
    );
    let summary = read(HARNESS);
    assert_eq!(summary.complaints, Vec::<String>::new());
    assert!(
        summary.cases[1]
            .notes
            .iter()
            .any(|note| note.contains("gcm.c:87"))
    );
    assert_eq!(summary.cases[2].notes, ["no device"]);
}

#[test]
fn fewer_results_than_announced_is_a_complaint() {
    let summary = read("TAP version 13\n1..2\nok 1 a\n");
    assert_eq!(summary.complaints[0], "2 results announced, 1 seen");
}

#[test]
fn more_results_than_announced_is_a_complaint() {
    assert_eq!(
        read("1..1\nok 1 a\nok 2 b\n").complaints[0],
        "1 results announced, 2 seen"
    );
}

#[test]
fn no_output_is_a_complaint() {
    assert_eq!(read("").complaints[0], "the program printed no results");
    let summary = read("sh: gcm: not found\n");
    assert_eq!(
        summary.complaints,
        ["the program printed no results", "sh: gcm: not found"]
    );
}

#[test]
fn a_whole_program_can_skip() {
    let summary = read("TAP version 13\n1..0 # SKIP no /dev/azihsm0\n");
    assert_eq!(summary.skipped.as_deref(), Some("no /dev/azihsm0"));
    assert_eq!(summary.complaints, Vec::<String>::new());
}

#[test]
fn bailing_out_is_a_complaint() {
    let summary = read("1..3\nok 1 a\nBail out! cannot open node\n");
    assert_eq!(
        summary.complaints[0],
        "the program bailed out: cannot open node"
    );
}

#[test]
fn nested_results_are_counted_once() {
    let output = "\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: azihsm_ring
    1..2
    ok 1 wraps
    not ok 2 phase
not ok 1 azihsm_ring
    KTAP version 1
    # Subtest: azihsm_wire
    1..1
    ok 1 layout
ok 2 azihsm_wire";
    expect(
        output,
        &[
            ("wraps", Result::Passed),
            ("phase", Result::Failed),
            ("layout", Result::Passed),
        ],
    );
    assert_eq!(read(output).complaints, Vec::<String>::new());
}

#[test]
fn a_failed_sum_of_good_parts_is_counted() {
    let output = "1..1\n    1..1\n    ok 1 a\nnot ok 1 suite";
    expect(output, &[("a", Result::Passed), ("suite", Result::Failed)]);
}

#[test]
fn a_nested_block_that_is_cut_off_fails() {
    let output = "1..1\n    1..3\n    ok 1 a\nok 1 suite";
    expect(output, &[("a", Result::Passed), ("plan", Result::Failed)]);
}

#[test]
fn names_and_directives_are_split() {
    expect(
        "1..4\nok 1 - a b # SKIP\nnot ok 2 c # XFAIL known\nok 3\nok 4 d # TIMEOUT",
        &[
            ("a b", Result::Skipped),
            ("c", Result::Passed),
            ("", Result::Passed),
            ("d", Result::Failed),
        ],
    );
}

#[test]
fn words_that_only_begin_like_results_are_output() {
    assert_eq!(results("okay then\nnot okay\n"), []);
}
