// SPDX-License-Identifier: GPL-2.0-or-later

//! The rules of the user-space interface and the tests that prove them.
//!
//! The documentation names its rules in tables: a row that begins with a name such as `CP-9`
//! defines it. Tests name the rules that they prove, in comments or in their tables: a name
//! belongs to the test that it is in or in front of. From this the table at the end of the
//! document is made; a rule without a test, a test of a rule that does not exist, and a table
//! that is not up to date are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::layout::Layout;
use crate::lints::files;

/// The documentation of the interface.
const DOCUMENT: &str = "Documentation/userspace-api/azihsm.rst";
/// The table lies between these lines.
const BEGIN: &str =
    ".. The table is made by `tools/vm/runner.sh coverage` from the tests' sources.";
const END: &str = ".. End of the table.";
/// Longest line of the table.
const WIDTH: usize = 79;

/// A rule: the family's prefix, and the number in it.
type Rule = (String, u32);
/// For each rule the tests that name it.
type Tests = BTreeMap<Rule, BTreeSet<String>>;

/// Complains about everything that is wrong with rules, tests and table.
pub fn check(layout: &Layout) -> Result<Vec<String>> {
    let document = read(&layout.repo.join(DOCUMENT))?;
    let rules = defined(&document);
    let tests = tests(layout, &families(&rules))?;
    let mut complaints = disagreements(&rules, &tests);
    if complaints.is_empty() && with_table(&document, &rules, &tests)? != document {
        complaints.push(format!(
            "the table of tests in {DOCUMENT} is not up to date: run \
             `tools/vm/enter.sh tools/vm/runner.sh coverage`"
        ));
    }
    Ok(complaints)
}

/// Writes the table anew.
pub fn renew(layout: &Layout) -> Result<()> {
    let path = layout.repo.join(DOCUMENT);
    let document = read(&path)?;
    let rules = defined(&document);
    let tests = tests(layout, &families(&rules))?;
    let complaints = disagreements(&rules, &tests);
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    let renewed = with_table(&document, &rules, &tests)?;
    fs::write(&path, renewed).with_context(|| format!("writing {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// The document without the table.
fn rules_part(document: &str) -> &str {
    document.split(BEGIN).next().unwrap_or(document)
}

/// The rules in the order of their definition.
fn defined(document: &str) -> Vec<Rule> {
    rules_part(document)
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            // A cell, not the beginning of a sentence.
            rule(name).filter(|_| rest.starts_with(' '))
        })
        .collect()
}

fn families(rules: &[Rule]) -> BTreeSet<&str> {
    rules.iter().map(|(family, _)| family.as_str()).collect()
}

/// Reads `FAMILY-NUMBER`.
fn rule(word: &str) -> Option<Rule> {
    let (family, number) = word.split_once('-')?;
    let plain = !family.is_empty()
        && family.bytes().all(|b| b.is_ascii_uppercase())
        && !number.starts_with('0')
        && number.bytes().all(|b| b.is_ascii_digit());
    Some((family.to_owned(), number.parse().ok()?)).filter(|_| plain)
}

/// The rules of known families that a line names.
fn named<'a>(line: &'a str, families: &'a BTreeSet<&str>) -> impl Iterator<Item = Rule> + 'a {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .filter_map(rule)
        .filter(|(family, _)| families.contains(family.as_str()))
}

/// Everything that names a rule.
fn tests(layout: &Layout, families: &BTreeSet<&str>) -> Result<Tests> {
    let folder = layout.repo.join("selftests");
    let listed = listed_tests(&read(&folder.join("Makefile"))?);
    let mut tests = Tests::new();
    for program in listed {
        let script = program.ends_with(".sh");
        let file = if script {
            program.clone()
        } else {
            format!("{program}.c")
        };
        let text = read(&folder.join(file))?;
        if script {
            for rule in text.lines().flat_map(|line| named(line, families)) {
                tests.entry(rule).or_default().insert(program.clone());
            }
        } else {
            in_program(&program, &text, families, &mut tests);
        }
    }
    for path in files(&layout.repo.join("drivers"), &["rs"])? {
        in_module(&read(&path)?, families, &mut tests);
    }
    Ok(tests)
}

/// The value of `TESTS` in the makefile.
fn listed_tests(makefile: &str) -> Vec<String> {
    let joined = makefile.replace("\\\n", " ");
    joined
        .lines()
        .find_map(|line| line.strip_prefix("TESTS := "))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Where in a source file the search is: in a test, or in front of the next.
#[derive(Default)]
struct Place {
    test: Option<String>,
    /// Rules named in front of the next test.
    pending: BTreeSet<Rule>,
}

impl Place {
    /// A test begins.
    fn enter(&mut self, test: String, tests: &mut Tests) {
        for rule in std::mem::take(&mut self.pending) {
            tests.entry(rule).or_default().insert(test.clone());
        }
        self.test = Some(test);
    }

    /// Rules are named here.
    fn name(&mut self, rules: impl IntoIterator<Item = Rule>, tests: &mut Tests) {
        for rule in rules {
            match &self.test {
                Some(test) => {
                    tests.entry(rule).or_default().insert(test.clone());
                }
                None => {
                    self.pending.insert(rule);
                }
            }
        }
    }

    /// The test ends.
    fn leave(&mut self) {
        self.test = None;
    }
}

/// Finds what the tests of a C program name.
fn in_program(program: &str, text: &str, families: &BTreeSet<&str>, tests: &mut Tests) {
    let mut place = Place::default();
    for line in text.lines() {
        if let Some(name) = c_test(line) {
            let test = format!("{program}: {name}");
            place.enter(test, tests);
        }
        place.name(named(line, families), tests);
        if line == "}" {
            place.leave();
        }
    }
    for rule in place.pending {
        tests.entry(rule).or_default().insert(program.to_owned());
    }
}

/// The name in `TEST(name)`, `TEST_F(fixture, name)` or `TEST_F_TIMEOUT(fixture, name, seconds)`.
fn c_test(line: &str) -> Option<&str> {
    let (macro_name, rest) = line.split_once('(')?;
    let mut arguments = rest.split(')').next()?.split(", ");
    match macro_name {
        "TEST" => arguments.next(),
        "TEST_F" | "TEST_F_TIMEOUT" => arguments.nth(1),
        _ => None,
    }
}

/// Finds what the KUnit tests of a Rust file name.
fn in_module(text: &str, families: &BTreeSet<&str>, tests: &mut Tests) {
    let mut place = Place::default();
    let mut suite = None;
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(name) = code.strip_prefix("#[kunit_tests(") {
            suite = name.split(')').next();
            continue;
        }
        let Some(suite) = suite else {
            continue;
        };
        if let Some(name) = code.strip_prefix("fn ").and_then(|f| f.split('(').next()) {
            let test = format!("KUnit {suite}: {name}");
            place.enter(test, tests);
        }
        place.name(named(line, families), tests);
        if line == "    }" {
            place.leave();
        }
    }
}

fn disagreements(rules: &[Rule], tests: &Tests) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut known = BTreeSet::new();
    for rule @ (family, number) in rules {
        if !known.insert(rule) {
            complaints.push(format!("{DOCUMENT} defines {family}-{number} twice"));
        }
        if !tests.contains_key(rule) {
            complaints.push(format!("no test names the rule {family}-{number}"));
        }
    }
    for (rule @ (family, number), where_) in tests {
        if !known.contains(rule) {
            let tests: Vec<&str> = where_.iter().map(String::as_str).collect();
            complaints.push(format!(
                "{} names the rule {family}-{number}, which {DOCUMENT} does not define",
                tests.join(", ")
            ));
        }
    }
    complaints
}

/// The document with a new table.
fn with_table(document: &str, rules: &[Rule], tests: &Tests) -> Result<String> {
    let (before, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("{DOCUMENT} has no line \"{BEGIN}\""))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{DOCUMENT} has no line \"{END}\""))?;
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n{END}{after}",
        table(rules, tests)
    ))
}

fn table(rules: &[Rule], tests: &Tests) -> String {
    const NAME: usize = 8;
    let bar = format!("{}  {}\n", "=".repeat(NAME), "=".repeat(WIDTH - NAME - 2));
    let mut table = format!("{bar}{:NAME$}  tests\n{bar}", "rule");
    for rule @ (family, number) in rules {
        let name = format!("{family}-{number}");
        let cells = tests.get(rule).into_iter().flatten();
        for (i, cell) in cells.enumerate() {
            let name = if i == 0 { name.as_str() } else { "" };
            // "|" keeps the lines of a cell apart.
            table.push_str(&format!("{name:NAME$}  | {cell}\n"));
        }
    }
    table + &bar
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
Text of AES-256 and CP-9 in a sentence.

=====  =====
rule   what
=====  =====
CP-1   one
CP-10  ten
       and more
=====  =====

.. The table is made by `tools/vm/runner.sh coverage` from the tests' sources.

CP-7   old
.. End of the table.
";

    fn rules(names: &[&str]) -> Vec<Rule> {
        names.iter().filter_map(|name| rule(name)).collect()
    }

    #[test]
    fn rows_define_rules() {
        assert_eq!(defined(DOCUMENT), rules(&["CP-1", "CP-10"]));
        assert_eq!(rule("CP-"), None);
        assert_eq!(rule("CP-01"), None);
        assert_eq!(rule("cp-1"), None);
        assert_eq!(rule("CP-1a"), None);
    }

    #[test]
    fn names_belong_to_the_test_they_are_in_or_before() {
        let text = "\
/* CP-1, and AES-256 */
static const struct rule rules[] = {
	{ \"CP-2\", 1 },
};

TEST_F(cp, first)
{
	/* CP-3 */
}

static void helper(void)
{
}

/* CP-1 */
TEST(second)
{
}

/* CP-4: of nobody */
";
        let mut tests = Tests::new();
        in_program("prog", text, &BTreeSet::from(["CP"]), &mut tests);
        let of = |name: &str| -> Vec<String> {
            let rule = rule(name).expect("a rule");
            tests[&rule].iter().cloned().collect()
        };
        assert_eq!(of("CP-1"), ["prog: first", "prog: second"]);
        assert_eq!(of("CP-2"), ["prog: first"]);
        assert_eq!(of("CP-3"), ["prog: first"]);
        assert_eq!(of("CP-4"), ["prog"]);
        assert_eq!(tests.len(), 4);
    }

    #[test]
    fn tests_have_names() {
        assert_eq!(c_test("TEST(a)"), Some("a"));
        assert_eq!(c_test("TEST_F(fixture, b)"), Some("b"));
        assert_eq!(c_test("TEST_F_TIMEOUT(fixture, c, 60)"), Some("c"));
        assert_eq!(c_test("TEST_HARNESS_MAIN"), None);
        assert_eq!(c_test("EXPECT(a, b)"), None);
    }

    #[test]
    fn kunit_tests_count() {
        let text = "\
// CP-1 outside of tests
fn code() {}

#[kunit_tests(azihsm_x)]
mod tests {
    // CP-2: so it is.
    #[test]
    fn case() {
        // CP-3
    }
}
";
        let mut tests = Tests::new();
        in_module(text, &BTreeSet::from(["CP"]), &mut tests);
        let found: Vec<&Rule> = tests.keys().collect();
        assert_eq!(found, rules(&["CP-2", "CP-3"]).iter().collect::<Vec<_>>());
        assert!(tests.values().all(|t| t.contains("KUnit azihsm_x: case")));
    }

    #[test]
    fn the_makefile_lists_tests() {
        let makefile = "A := b\nTESTS := one two.sh \\\n\tthree\nTEST_X := y\n";
        assert_eq!(listed_tests(makefile), ["one", "two.sh", "three"]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut tests = Tests::new();
        for name in ["CP-1", "CP-3"] {
            let rule = rule(name).expect("a rule");
            tests.entry(rule).or_default().insert("t: x".to_owned());
        }
        let complaints = disagreements(&rules(&["CP-1", "CP-1", "CP-2"]), &tests);
        assert_eq!(complaints.len(), 3);
        assert!(complaints[0].contains("CP-1 twice"));
        assert!(complaints[1].contains("no test names the rule CP-2"));
        assert!(complaints[2].starts_with("t: x names the rule CP-3"));
    }

    #[test]
    fn the_table_is_replaced() -> Result<()> {
        let rules = rules(&["CP-1", "CP-10"]);
        let mut tests = Tests::new();
        for rule in &rules {
            let of_rule = tests.entry(rule.clone()).or_default();
            of_rule.insert("a: b".to_owned());
            of_rule.insert("c: d".to_owned());
        }
        let renewed = with_table(DOCUMENT, &rules, &tests)?;
        assert!(renewed.starts_with(rules_part(DOCUMENT)));
        assert!(renewed.ends_with(".. End of the table.\n"));
        assert!(renewed.contains("\nCP-10     | a: b\n          | c: d\n"));
        assert!(!renewed.contains("CP-7"));
        // It is stable, and does not define rules.
        assert_eq!(with_table(&renewed, &rules, &tests)?, renewed);
        assert_eq!(defined(&renewed), rules);
        assert!(with_table("nothing", &rules, &tests).is_err());
        Ok(())
    }
}
