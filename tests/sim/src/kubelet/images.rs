//! The images that this world can run. Pure.

/// What an image stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// The cache: a simulated member.
    Member,
    /// A cache whose process runs and never serves anything.
    Silent,
    /// The operator's own binary.
    Operator,
}

/// The table: `ibmcom/xsld*` is the cache (but for tags that begin with
/// `missing`, which stand for an image that cannot be pulled, and with `silent`,
/// which stand for one whose member never starts) and a last part that begins
/// with `xsld-operator` the operator. Anything else is unknown.
pub(super) fn find(name: &str) -> Option<Image> {
    let (repository, tag) = split(name);
    let last = repository.rsplit('/').next().unwrap_or_default();
    let path = repository.strip_prefix("docker.io/").unwrap_or(repository);
    if last.starts_with("xsld-operator") {
        Some(Image::Operator)
    } else if path.starts_with("ibmcom/xsld") && !tag.starts_with("missing") {
        Some(if tag.starts_with("silent") { Image::Silent } else { Image::Member })
    } else {
        None
    }
}

/// Repository and tag; a digest counts for neither.
fn split(name: &str) -> (&str, &str) {
    let name = name.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        // A colon before the last slash belongs to the registry's port.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_the_cache_and_the_operator_and_nothing_else() {
        for name in ["ibmcom/xsld", "ibmcom/xsld:8613", "docker.io/ibmcom/xsld:8614@sha256:ab"] {
            assert_eq!(find(name), Some(Image::Member), "{name}");
        }
        assert_eq!(find("ibmcom/xsld:silent-1"), Some(Image::Silent));
        for name in ["xsld-operator:0.1.0", "localhost:5000/team/xsld-operator@sha256:ab"] {
            assert_eq!(find(name), Some(Image::Operator), "{name}");
        }
        for name in ["ibmcom/xsld:missing", "ibmcom/xsld:missing-2", "nginx", "other/xsld:1"] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
