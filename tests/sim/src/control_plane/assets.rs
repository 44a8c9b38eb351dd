//! Finds the programs of the control plane, or builds them once.

use std::path::{Path, PathBuf};

use super::progress::Progress;
use crate::go_module::{GoModule, GoModuleError};

/// The version that the programs tell their clients.
const KUBERNETES_VERSION: &str = "1.36.3";

/// The environment variable that names a folder with ready programs.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// etcd's package is named `server`, and so is the program that Go builds.
const BUILT_ETCD: &str = "server";

/// Why the programs of the control plane are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetsError {
    /// The folder that the user named lacks a program.
    #[error(
        "KUBEBUILDER_ASSETS is {folder}, which has no {program}; put it there or unset the \
         variable to have the control plane built"
    )]
    Incomplete {
        /// The folder that the variable names.
        folder: PathBuf,
        /// The file that is missing.
        program: &'static str,
    },
    /// They could not be built.
    #[error(transparent)]
    Build(#[from] GoModuleError),
}

/// Where the three programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub api_server: PathBuf,
    /// kube-controller-manager.
    pub controller_manager: PathBuf,
}

impl Programs {
    fn in_folder(folder: &Path, etcd: &'static str) -> Result<Self, &'static str> {
        let find = |name: &'static str| {
            let file = folder.join(name);
            if file.is_file() { Ok(file) } else { Err(name) }
        };
        Ok(Self {
            etcd: find(etcd)?,
            api_server: find("kube-apiserver")?,
            controller_manager: find("kube-controller-manager")?,
        })
    }
}

/// Finds the programs, building them when they are not there yet.
///
/// `KUBEBUILDER_ASSETS` is honoured. A build takes several minutes and 5 GB of
/// Go's build cache.
pub(super) async fn find_or_build(progress: &Progress) -> Result<Programs, AssetsError> {
    let (folder, etcd) = match std::env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()) {
        Some(folder) => (PathBuf::from(folder), "etcd"),
        None => (module().find_or_build(progress).await?, BUILT_ETCD),
    };
    Programs::in_folder(&folder, etcd)
        .map_err(|program| AssetsError::Incomplete { folder, program })
}

fn module() -> GoModule {
    let mut minor = KUBERNETES_VERSION.split('.');
    let (major, minor) = (minor.next().unwrap_or_default(), minor.next().unwrap_or_default());
    // Without the version the server calls itself v0.0.0 and clients cannot parse that.
    let version = "-X k8s.io/component-base/version.git";
    GoModule {
        folder: "control-plane",
        what: format!("Kubernetes {KUBERNETES_VERSION}"),
        lasts: "5 to 10 minutes",
        programs: &[BUILT_ETCD, "kube-apiserver", "kube-controller-manager"],
        link: format!(
            "{version}Version=v{KUBERNETES_VERSION} {version}Major={major} {version}Minor={minor}"
        ),
        instead: ", or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and \
                  kube-controller-manager",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_tells_the_server_its_version() {
        let flags = module().link;
        assert!(flags.contains("gitVersion=v1.36.3") && flags.contains("gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
    }

    #[test]
    fn a_folder_without_a_program_names_the_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("etcd"), "").unwrap();
        std::fs::write(dir.path().join("kube-apiserver"), "").unwrap();
        assert_eq!(Programs::in_folder(dir.path(), "etcd"), Err("kube-controller-manager"));
    }
}
