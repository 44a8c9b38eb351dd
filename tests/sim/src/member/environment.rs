//! The container's environment, checked as the image's start script checks it.

use std::collections::BTreeMap;

/// What a password and a secret key must have one of.
const SPECIAL: &str = "~!@#$%^&*()_-+=:;'[]{}|<>,.?/";
const SHORTEST_SECRET: usize = 10;

/// Why the container ends before anything is started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the license must be accepted: set LICENSE=accept")]
    License,
    #[error("{0} must be set")]
    Missing(&'static str),
    #[error(
        "{0} must have at least 10 characters, a digit, an upper-case letter and one of \
         ~!@#$%^&*()_-+=:;'[]{{}}|<>,.?/, and no double quote"
    )]
    Weak(&'static str),
    #[error("MEMBER_NAME \"{0}\" must begin with a letter and consist of letters, digits, -, _, .")]
    MemberName(String),
    #[error("XSLD_CONTAINER_ALIAS \"{0}\" must begin with a letter and be alphanumeric")]
    Alias(String),
    #[error("MEMBER_CAP \"{0}\" must be a whole number of GB, at least 1")]
    Capacity(String),
    #[error("CACHE_GROUP must have between 1 and 64 characters")]
    Group,
}

/// What the image reads from its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Environment {
    pub(super) group: String,
    pub(super) member: String,
    pub(super) capacity: u32,
    pub(super) password: String,
    pub(super) secret_key: String,
}

impl Environment {
    /// Checks every variable; the first problem is the error.
    pub(super) fn read(env: &BTreeMap<String, String>) -> Result<Self, Error> {
        let value = |name: &str| env.get(name).map(String::as_str).filter(|v| !v.is_empty());
        if value("LICENSE") != Some("accept") {
            return Err(Error::License);
        }
        let secret = |name: &'static str| {
            let secret = value(name).ok_or(Error::Missing(name))?;
            if is_strong(secret) { Ok(secret.to_owned()) } else { Err(Error::Weak(name)) }
        };
        let secret_key = secret("SECRET_KEY")?;
        let password = secret("XSADMIN_PWD")?;
        let member = value("MEMBER_NAME").ok_or(Error::Missing("MEMBER_NAME"))?.to_owned();
        if !is_name(&member, "-_.") {
            return Err(Error::MemberName(member));
        }
        if let Some(alias) = value("XSLD_CONTAINER_ALIAS").filter(|alias| !is_name(alias, "")) {
            return Err(Error::Alias(alias.to_owned()));
        }
        let capacity = value("MEMBER_CAP").unwrap_or("1");
        let capacity = match capacity.parse() {
            Ok(gigabytes) if gigabytes >= 1 => gigabytes,
            _ => return Err(Error::Capacity(capacity.to_owned())),
        };
        let group = value("CACHE_GROUP").unwrap_or("cg1").to_owned();
        if group.chars().count() > 64 {
            return Err(Error::Group);
        }
        Ok(Self { group, member, capacity, password, secret_key })
    }
}

/// Whether the image accepts `secret` as a password or secret key.
pub(super) fn is_strong(secret: &str) -> bool {
    secret.chars().count() >= SHORTEST_SECRET
        && secret.contains(|c: char| c.is_ascii_digit())
        && secret.contains(|c: char| c.is_ascii_uppercase())
        && secret.contains(|c| SPECIAL.contains(c))
        && !secret.contains('"')
}

fn is_name(name: &str, also: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> BTreeMap<String, String> {
        [
            ("LICENSE", "accept"),
            ("SECRET_KEY", "s3cretKey!"),
            ("XSADMIN_PWD", "Password123!"),
            ("CACHE_GROUP", "cg1"),
            ("MEMBER_NAME", "example-xsldcache-0"),
            ("MEMBER_CAP", "4"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn with(name: &str, value: &str) -> Result<Environment, Error> {
        let mut env = env();
        env.insert(name.to_owned(), value.to_owned());
        Environment::read(&env)
    }

    #[test]
    fn whole_environment_is_accepted() {
        let read = Environment::read(&env()).unwrap();
        assert_eq!((read.member.as_str(), read.capacity), ("example-xsldcache-0", 4));
    }

    #[test]
    fn each_missing_or_wrong_variable_is_named() {
        assert_eq!(with("LICENSE", "view"), Err(Error::License));
        assert_eq!(with("SECRET_KEY", ""), Err(Error::Missing("SECRET_KEY")));
        assert_eq!(with("XSADMIN_PWD", ""), Err(Error::Missing("XSADMIN_PWD")));
        assert_eq!(with("MEMBER_NAME", ""), Err(Error::Missing("MEMBER_NAME")));
        assert!(matches!(with("MEMBER_NAME", "0-c"), Err(Error::MemberName(_))));
        assert!(matches!(with("MEMBER_CAP", "0"), Err(Error::Capacity(_))));
        assert!(matches!(with("XSLD_CONTAINER_ALIAS", "a-b"), Err(Error::Alias(_))));
        assert_eq!(with("CACHE_GROUP", &"g".repeat(65)), Err(Error::Group));
    }

    #[test]
    fn weak_secrets_are_refused() {
        for weak in ["Short1!", "nodigits-Here", "no-upper-1234", "NoSpecial123", "Quote\"12345!"] {
            assert_eq!(with("XSADMIN_PWD", weak), Err(Error::Weak("XSADMIN_PWD")), "{weak}");
        }
    }
}
