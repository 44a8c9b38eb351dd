//! The rules of the API server's admission, in its expression language (CEL).
//!
//! Each is repeated by [`crate::validate`]. A rule about a secret stands on the
//! `spec` and names the field in its message: the API server prints the value
//! that a rule, `pattern` or `minLength` on the field itself refuses.

use kube::core::{Reason, Rule, validate};
use schemars::Schema;

/// Special characters of which a password has at least one.
pub const SPECIAL: &str = "~!@#$%^&*()_-+=:;'[]{}|<>,.?/";

/// What the name of an object looks like: a DNS subdomain.
pub const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// What a key of a Secret or ConfigMap looks like.
pub const DATA_KEY: &str = r"^[-._a-zA-Z0-9]+$";

/// Fewest characters of a password.
pub const MIN_SECRET_CHARS: usize = 10;

/// Environment variables that the operator sets.
pub const RESERVED_ENV: [&str; 6] =
    ["LICENSE", "SECRET_KEY", "XSADMIN_PWD", "CACHE_GROUP", "MEMBER_NAME", "MEMBER_CAP"];

/// Labels that the operator sets on pods.
pub const RESERVED_LABELS: [&str; 6] = [
    "app",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
];

/// Primes whose multiples a partition count may not be. Their highest square is
/// above 997, so a number that passes is a prime.
const SMALL_PRIMES: &str = "[2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31]";

/// A cache's name must do as the first part of a Service's name.
#[must_use]
pub fn cache_name() -> Rule {
    Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must begin with a letter, end with a letter or digit \
         and have only lower-case letters, digits and '-' between",
    )
}

/// A cache's name must leave room for what is added to it.
#[must_use]
pub fn cache_name_length() -> Rule {
    Rule::new("size(self.metadata.name) <= 52")
        .message("metadata.name must have at most 52 characters")
}

/// Adds the rules of `XsldCache.spec`.
pub fn cache_spec(schema: &mut Schema) {
    require(schema, &["license"]);
    for (plain, reference) in
        [("adminPwd", "adminPasswordSecretRef"), ("secretKey", "secretKeySecretRef")]
    {
        for rule in secret(plain, reference) {
            add(schema, rule);
        }
    }
    add(schema, immutable("group"));
    add(schema, immutable("capacity"));
    for rule in storage() {
        add(schema, rule);
    }
    add(
        schema,
        forbidden(
            "(self.tls.mode == 'CA') == has(self.tls.caSecretRef)",
            ".tls",
            "tls.caSecretRef must be set with tls.mode CA and with no other mode",
        ),
    );
    for rule in pod() {
        add(schema, rule);
    }
}

/// Adds the rules of `DataGrid.spec`.
pub fn grid_spec(schema: &mut Schema) {
    let prime = format!(
        "self.numPartition == 1 || (self.numPartition > 1 && {SMALL_PRIMES}\
         .all(p, self.numPartition == p || self.numPartition % p != 0))"
    );
    add(
        schema,
        invalid(&prime, ".numPartition", "numPartition must be 1 or a prime number up to 997"),
    );
    add(
        schema,
        forbidden(
            "!has(self.templateName) || !has(self.templateRef)",
            ".templateRef",
            "at most one of templateName and templateRef may be set",
        ),
    );
    add(
        schema,
        invalid(
            "self.gridType != 'Custom' || has(self.templateName) || has(self.templateRef)",
            ".gridType",
            "gridType Custom needs templateName or templateRef",
        ),
    );
    add(
        schema,
        forbidden(
            "!has(oldSelf.cacheRef) || \
             (has(self.cacheRef) && self.cacheRef.name == oldSelf.cacheRef.name)",
            ".cacheRef",
            "cacheRef cannot be changed or removed once it is set",
        ),
    );
}

/// Adds the rules of `GridTemplate.spec`.
pub fn template_spec(schema: &mut Schema) {
    require(schema, &["objectGridXml", "deploymentPolicyXml"]);
    add(
        schema,
        forbidden(
            "!has(self.cacheRef) || !has(self.cacheSelector)",
            ".cacheSelector",
            "at most one of cacheRef and cacheSelector may be set",
        ),
    );
}

/// Adds the rule of one document of a template.
pub fn document(schema: &mut Schema) {
    add(
        schema,
        Rule::new("has(self.inline) != has(self.configMapRef)")
            .message("exactly one of inline and configMapRef must be set"),
    );
}

/// The rules of one secret: which of the two fields, what it is made of, and the
/// one change that is allowed.
fn secret(plain: &str, reference: &str) -> Vec<Rule> {
    let special = SPECIAL.replace('-', r"\\-").replace('[', r"\\[").replace(']', r"\\]");
    let unset = format!("!has(self.{plain})");
    let whole = |condition: String, message: String| {
        Rule::new(format!("{unset} || {condition}")).message(&*message)
    };
    vec![
        Rule::new(format!("has(self.{plain}) != has(self.{reference})"))
            .message(&*format!("exactly one of {plain} and {reference} must be set")),
        whole(
            format!("size(self.{plain}) >= {MIN_SECRET_CHARS}"),
            format!("{plain} must have at least {MIN_SECRET_CHARS} characters"),
        ),
        whole(format!("self.{plain}.matches('[0-9]')"), format!("{plain} must have a digit")),
        whole(
            format!("self.{plain}.matches('[A-Z]')"),
            format!("{plain} must have an upper-case letter"),
        ),
        whole(
            format!("self.{plain}.matches(\"[{special}]\")"),
            format!("{plain} must have one of the special characters {SPECIAL}"),
        ),
        whole(
            format!("!self.{plain}.contains('\"')"),
            format!("{plain} must not have a double quote"),
        ),
        whole(
            format!("(has(oldSelf.{plain}) && self.{plain} == oldSelf.{plain})"),
            format!("{plain} cannot be changed; it can only be replaced by {reference}"),
        ),
    ]
}

fn storage() -> Vec<Rule> {
    vec![
        invalid(
            "quantity(self.storage.size).isGreaterThan(quantity('0'))",
            ".storage.size",
            "storage.size must be more than nothing",
        ),
        invalid(
            "!('ReadWriteOncePod' in self.storage.accessModes) \
             || size(self.storage.accessModes) == 1",
            ".storage.accessModes",
            "storage.accessModes cannot join ReadWriteOncePod with another mode",
        ),
        immutable("storage.storageClassName"),
        immutable("storage.accessModes"),
    ]
}

fn pod() -> Vec<Rule> {
    let env = RESERVED_ENV.map(|name| format!("'{name}'")).join(", ");
    let labels =
        RESERVED_LABELS.map(|label| format!("!('{label}' in self.pod.labels)")).join(" && ");
    vec![
        quantities("limits"),
        quantities("requests"),
        forbidden(
            &format!("!has(self.pod.env) || self.pod.env.all(e, !(e.name in [{env}]))"),
            ".pod.env",
            "pod.env must not name a variable that the operator sets",
        ),
        forbidden(
            &format!("!has(self.pod.labels) || ({labels})"),
            ".pod.labels",
            "pod.labels must not name a label that the operator sets",
        ),
    ]
}

fn quantities(list: &str) -> Rule {
    let field = format!("pod.resources.{list}");
    invalid(
        &format!(
            "!has(self.pod.resources) || !has(self.{field}) || self.{field}\
             .all(k, isQuantity(string(self.{field}[k])))"
        ),
        &format!(".{field}"),
        &format!("{field} must be quantities such as 500m or 2Gi"),
    )
}

/// A field that is as it was: not changed, added or removed.
fn immutable(field: &str) -> Rule {
    forbidden(
        &format!(
            "has(self.{field}) == has(oldSelf.{field}) && \
             (!has(self.{field}) || self.{field} == oldSelf.{field})"
        ),
        &format!(".{field}"),
        &format!("{field} cannot be changed"),
    )
}

fn forbidden(rule: &str, field: &str, message: &str) -> Rule {
    invalid(rule, field, message).reason(Reason::FieldValueForbidden)
}

fn invalid(rule: &str, field: &str, message: &str) -> Rule {
    Rule::new(rule).message(message).field_path(field)
}

/// Makes fields required that the types can do without.
fn require(schema: &mut Schema, fields: &[&str]) {
    schema.insert("required".to_owned(), fields.iter().copied().collect());
}

/// Adds one rule to a schema.
///
/// # Panics
/// Never: a rule is made of text and words, which JSON can hold.
fn add(schema: &mut Schema, rule: Rule) {
    validate(schema, rule).expect("a rule can be written as JSON");
}
