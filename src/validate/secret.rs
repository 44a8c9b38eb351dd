//! What a password or secret key is made of. Findings never hold the value.

use super::Findings;
use crate::crd::rules::{MIN_SECRET_CHARS, SPECIAL};
use crate::crd::secret::MAX_SECRET_CHARS;

/// Notes every rule that a secret breaks.
pub(super) fn check(text: &str, field: &str, findings: &mut Findings) {
    let count = text.chars().count();
    findings.require(
        count >= MIN_SECRET_CHARS,
        field,
        &format!("must have at least {MIN_SECRET_CHARS} characters"),
    );
    findings.require(
        count <= MAX_SECRET_CHARS,
        field,
        &format!("must have at most {MAX_SECRET_CHARS} characters"),
    );
    let has = |wanted: fn(char) -> bool| text.chars().any(wanted);
    findings.require(has(|c| c.is_ascii_digit()), field, "must have a digit");
    findings.require(has(|c| c.is_ascii_uppercase()), field, "must have an upper-case letter");
    findings.require(
        has(|c| SPECIAL.contains(c)),
        field,
        &format!("must have one of the special characters {SPECIAL}"),
    );
    findings.require(!text.contains('"'), field, "must not have a double quote");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        check(text, "spec.adminPwd", &mut findings);
        findings.0.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn the_samples_of_the_product_pass() {
        for text in ["xsadmin4Me!", "s3cretKey!", "vgwAdmin4xs!", "Password123!"] {
            assert_eq!(broken(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn every_special_character_counts() {
        for special in SPECIAL.chars() {
            assert!(broken(&format!("Password123{special}")).is_empty(), "{special}");
        }
        assert_eq!(broken("Password123\\").len(), 1);
    }

    #[test]
    fn each_rule_is_named_and_the_value_is_not() {
        for (text, rule) in [
            ("Pass123!", "at least 10"),
            ("Passwordxyz!", "a digit"),
            ("password123!", "upper-case"),
            ("Password1234", "special"),
            ("Password123!\"", "double quote"),
        ] {
            let broken = broken(text);
            assert_eq!(broken.len(), 1, "{broken:?}");
            assert!(broken[0].contains(rule), "{broken:?}");
            assert!(!broken[0].contains(text), "{broken:?}");
        }
        assert!(broken(&"Aa1!".repeat(65))[0].contains("at most 256"));
    }
}
