//! What the documents promise is there.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::collections::BTreeSet;
use std::path::Path;

use xsld_operator::crd::ConditionReason;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

#[test]
fn every_reason_of_a_condition_is_explained() {
    let text = document("failures.md");
    let table = text.split("## Every reason").nth(1).unwrap();
    let explained: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(reason, _)| reason))
        .collect();
    let known: Vec<&str> = ConditionReason::ALL.iter().map(|reason| reason.as_str()).collect();
    for reason in &known {
        assert!(explained.contains(reason), "docs/failures.md does not explain {reason}");
    }
    for reason in &explained {
        assert!(known.contains(reason), "docs/failures.md explains {reason}, which is never told");
    }
}

/// Every source file of the workspace that may hold tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of the functions that are tests.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let plain = line.strip_prefix("async ").unwrap_or(line);
        if let Some(rest) = plain.strip_prefix("fn ") {
            if is_test {
                found.extend(rest.split('(').next());
            }
            is_test = false;
        }
    }
    found
}

/// The names that follow the word "test" or "tests", up to the end of the sentence or the cell.
fn named_tests(text: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for start in ["test `", "tests `"] {
        for part in text.split(start).skip(1) {
            let list = part.split([';', '|', '.']).next().unwrap_or_default();
            named.extend(list.split('`').step_by(2).filter(|name| !name.is_empty()));
        }
    }
    named
}

#[test]
fn every_test_that_the_promises_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "journal/src", "tests"] {
        sources(&root.join(folder), &mut text);
    }
    let known = tests_of(&text);
    let promises = document("promises.md");
    let named = named_tests(&promises);
    assert!(named.len() >= 25, "{}", named.len());
    for name in named {
        assert!(known.contains(name), "docs/promises.md names the test {name}, which is not there");
    }
}

#[test]
fn every_one_of_the_41_complaints_has_its_line() {
    let text = document("promises.md");
    let table = text.split("## What users of other operators").nth(1).unwrap();
    let mut told = BTreeSet::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("| ")) {
        let mut last = None;
        let mut is_range = false;
        for word in line.split_whitespace().map(|word| word.trim_end_matches(',')) {
            match (word, word.parse::<u32>()) {
                (_, Ok(number)) => {
                    let first = last.filter(|_| is_range).unwrap_or(number);
                    told.extend(first..=number);
                    last = Some(number);
                    is_range = false;
                }
                ("to", Err(_)) if last.is_some() => is_range = true,
                (_, Err(_)) => break,
            }
        }
    }
    let missing: Vec<u32> = (1..=41).filter(|number| !told.contains(number)).collect();
    assert!(missing.is_empty(), "docs/promises.md has no line for the complaints {missing:?}");
}
