//! Helm, which installs the charts of `deploy/helm` as a user does.

use std::path::PathBuf;

use crate::control_plane::Progress;
use crate::go_module::{GoModule, GoModuleError};

/// The version that `go.mod` names, and that Helm tells.
const HELM_VERSION: &str = "4.3.1";

/// Finds the program `helm`, building it when it is not there yet.
///
/// A build takes some minutes, and some of what it compiles the control plane needs as well.
///
/// # Errors
/// When there is no Go, or the build fails.
pub async fn find_or_build(progress: &Progress) -> Result<PathBuf, GoModuleError> {
    Ok(module().find_or_build(progress).await?.join("helm"))
}

fn module() -> GoModule {
    GoModule {
        folder: "helm",
        what: format!("Helm {HELM_VERSION}"),
        lasts: "about 3 minutes",
        programs: &["helm"],
        link: format!("-X helm.sh/helm/v4/internal/version.version=v{HELM_VERSION}"),
        instead: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_tells_the_version_that_its_module_names() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../kubernetes/helm/go.mod");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("helm.sh/helm/v4 v{HELM_VERSION}")), "{text}");
        assert!(module().link.ends_with(&format!("=v{HELM_VERSION}")));
    }
}
