//! From a spec as it was read to a spec that cannot be wrong. Pure.
//!
//! Admission refuses a bad object with the rules of [`crate::crd::rules`]; this
//! module repeats them for objects that were stored before the rules or past
//! them. After it nothing can fail for a bad field: every number has its range
//! in its type, every choice is one that the operator knows, and plain secrets
//! have a type that cannot be printed.
//!
//! No message of this module holds a secret's value.

mod cache;
mod document;
mod grid;
mod labels;
pub mod quantity;
mod secret;
mod template;

pub use cache::{
    Credentials, EntrypointSource, GroupName, SecretSource, TlsTrust, ValidCache, ValidPod,
    ValidReplication, ValidRetention, ValidRollout, ValidStorage, cache, cache_change,
};
pub use document::{Documents, MAX_BODY_BYTES, document_digest, documents};
pub use grid::{GridTemplateSource, PartitionCount, ValidGrid, grid, grid_change};
pub use template::{DocumentSource, TemplateTarget, ValidTemplate, template};

use crate::crd::Choice;
use std::fmt;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// The field, from the root of the object, such as `spec.size`.
    pub field: String,
    /// The rule that it breaks, without the value.
    pub rule: String,
}

/// The rules of the product that a password or secret key breaks; never its value.
#[must_use]
pub fn secret_rules(text: &str) -> Vec<String> {
    let mut findings = Findings::default();
    secret::check(text, "", &mut findings);
    findings.0.into_iter().map(|finding| finding.rule).collect()
}

/// All broken rules of one object, in one line.
#[must_use]
pub fn summary(findings: &[Invalid]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Collects broken rules, so that a user sees all of them at once.
#[derive(Default)]
struct Findings(Vec<Invalid>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Invalid { field: field.into(), rule: rule.into() });
    }

    /// Notes the rule unless it holds.
    fn require(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.add(field, rule);
        }
    }

    /// A number in its range. Outside, the lowest one stands in: the finding
    /// that is noted keeps the result from being used.
    fn number<T>(&mut self, value: T, lowest: T, highest: T, field: &str) -> T
    where
        T: PartialOrd + Copy + fmt::Display,
    {
        if value < lowest || value > highest {
            self.add(field, format!("must be from {lowest} to {highest}"));
            return lowest;
        }
        value
    }

    /// Text of bounded length.
    fn text(&mut self, value: &str, longest: usize, field: &str) {
        if value.is_empty() {
            self.add(field, "must not be empty");
        } else if value.chars().count() > longest {
            self.add(field, format!("must have at most {longest} characters"));
        }
    }

    fn optional_text(&mut self, value: Option<&String>, longest: usize, field: &str) {
        if let Some(value) = value {
            self.text(value, longest, field);
        }
    }

    /// The word of a choice, or the default in its place with a finding.
    fn choice<T: Copy + Default>(&mut self, choice: &Choice<T>, field: &str) -> T {
        match choice {
            Choice::Known(word) => *word,
            Choice::Unknown(word) => {
                self.add(field, format!("{word:?} is not a word that this release knows"));
                T::default()
            }
        }
    }

    fn into_result<T>(self, value: T) -> Result<T, Vec<Invalid>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// A number that was checked to be at least 0, as an unsigned one.
fn unsigned(value: i32) -> u32 {
    value.unsigned_abs()
}

/// A name in Kubernetes: of an object, a Secret or the like.
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_every_field_with_its_rule() {
        let mut findings = Findings::default();
        findings.add("spec.size", "must be from 1 to 100");
        findings.require(true, "spec.image", "never noted");
        findings.text("", 5, "spec.group");
        assert_eq!(
            summary(&findings.0),
            "spec.size: must be from 1 to 100; spec.group: must not be empty"
        );
    }
}
