//! The two documents of a grid template: well-formed XML of bounded size that names nothing
//! outside of itself.

use super::{Findings, Invalid};
use crate::crd::template::MAX_DOCUMENT_BYTES;

/// Most bytes that both documents may take as strings of one JSON body, quotes and escapes counted:
/// the group's answer, which is bounded, must be able to hold them.
pub const MAX_BODY_BYTES: usize = 960 * 1024;

/// Most nodes of one document. The parser's memory grows with them.
const MAX_NODES: u32 = 50_000;

/// Deepest nesting of one document. The parser's stack grows with it.
const MAX_DEPTH: usize = 200;

/// The two documents of a grid template, both checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// The ObjectGrid descriptor.
    pub object_grid: String,
    /// The deployment policy.
    pub deployment_policy: String,
}

impl Documents {
    /// BLAKE3 of both, in hexadecimal. See [`document_digest`].
    #[must_use]
    pub fn digest(&self) -> String {
        document_digest(&self.object_grid, &self.deployment_policy)
    }
}

/// BLAKE3 of two documents, in hexadecimal. Line ends and blanks at both ends do not count: they
/// mean nothing in XML, and a group may keep the documents without them.
#[must_use]
pub fn document_digest(object_grid: &str, deployment_policy: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("xsld-operator grid template v1");
    for document in [object_grid, deployment_policy] {
        let text = document.trim_start_matches('\u{feff}').trim().replace("\r\n", "\n");
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Checks the two documents of a template, wherever they were kept.
///
/// # Errors
/// Every rule that one of them breaks, with its field.
pub fn documents(
    object_grid: String,
    deployment_policy: String,
) -> Result<Documents, Vec<Invalid>> {
    let mut findings = Findings::default();
    check(&object_grid, "spec.objectGridXml", &mut findings);
    check(&deployment_policy, "spec.deploymentPolicyXml", &mut findings);
    let escaped = |text: &String| serde_json::to_string(text).map_or(usize::MAX, |json| json.len());
    let together = escaped(&object_grid).saturating_add(escaped(&deployment_policy));
    findings.require(
        together <= MAX_BODY_BYTES,
        "spec",
        &format!("both documents together must have at most {MAX_BODY_BYTES} bytes as JSON"),
    );
    findings.into_result(Documents { object_grid, deployment_policy })
}

fn check(text: &str, field: &str, findings: &mut Findings) {
    if text.len() > MAX_DOCUMENT_BYTES {
        findings.add(field, format!("must have at most {MAX_DOCUMENT_BYTES} bytes"));
        return;
    }
    // Told apart from the parser's own finding, which would not say what to do about it.
    if text.contains("<!DOCTYPE") {
        findings.add(field, "must not have a document type (DTD) nor name external entities");
        return;
    }
    if deepest(text) > MAX_DEPTH {
        findings.add(field, format!("must not nest elements deeper than {MAX_DEPTH}"));
        return;
    }
    let options = roxmltree::ParsingOptions { nodes_limit: MAX_NODES, ..Default::default() };
    if let Err(error) = roxmltree::Document::parse_with_options(text, options) {
        let problem: String = error.to_string().chars().take(200).collect();
        findings.add(field, format!("must be well-formed XML: {problem}"));
    }
}

/// A bound of how deep elements are nested, without parsing: opened less closed ones.
fn deepest(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('<') {
        match bytes.get(at + 1) {
            Some(b'/') => depth = depth.saturating_sub(1),
            Some(b'?' | b'!') | None => {}
            Some(_) => {
                let end = text[at..].find('>').map_or(text.len(), |end| at + end);
                if !text[..end].ends_with('/') {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
            }
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let findings = documents(text.to_owned(), "<b/>".to_owned()).unwrap_err();
        assert_eq!(findings[0].field, "spec.objectGridXml", "{findings:?}");
        findings[0].rule.clone()
    }

    #[test]
    fn well_formed_documents_are_accepted() {
        let text =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a x=\"1\"><!-- c --><b/>&lt;</a>\n";
        assert!(documents(text.to_owned(), "<b/>".to_owned()).is_ok());
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_place() {
        for text in ["", "plain", "<a>", "<a></b>", "<a/><b/>", "<a x=1/>", "<a>&other;</a>"] {
            assert!(problem(text).starts_with("must be well-formed XML"), "{text}");
        }
        assert!(problem("<a>\n</b>").contains("2:"), "{}", problem("<a>\n</b>"));
    }

    #[test]
    fn document_types_and_entities_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY x \"y\"><!ENTITY z \"&x;&x;\">]><a>&z;</a>";
        let outside = "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>";
        for text in [bomb, outside] {
            assert!(problem(text).contains("DTD"), "{}", problem(text));
        }
    }

    #[test]
    fn size_depth_and_number_of_nodes_are_bounded() {
        let long = format!("<a>{}</a>", "x".repeat(MAX_DOCUMENT_BYTES));
        assert!(problem(&long).contains("at most"));
        let deep = "<a>".repeat(80_000);
        assert!(problem(&deep).contains("deeper"));
        let wide = format!("<a>{}</a>", "<b/>".repeat(60_000));
        assert!(problem(&wide).starts_with("must be well-formed XML"));
        let escapes = format!("<a>{}</a>", "\"".repeat(MAX_DOCUMENT_BYTES - 7));
        let findings = documents(escapes.clone(), escapes).unwrap_err();
        assert_eq!(findings[0].field, "spec");
    }

    #[test]
    fn line_ends_do_not_make_another_template() {
        let one = document_digest("<a>\n</a>", "<b/>");
        assert_eq!(one, document_digest("<a>\r\n</a>\r\n", " <b/>\n"));
        assert_ne!(one, document_digest("<a></a>", "<b/>"));
        assert_ne!(document_digest("<a/><b/>", ""), document_digest("<a/>", "<b/>"));
    }
}
