//! Finds the programs of the control plane, or builds them once.
//!
//! They are kept outside `target/`, keyed by `go.sum`, so that a clean checkout
//! and a second run cost nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::progress::{Progress, Step};

/// The version that the programs tell their clients.
const KUBERNETES_VERSION: &str = "1.36.3";

/// The environment variable that names a folder with ready programs.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

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
    /// There is no Go tool chain.
    #[error(
        "the control plane is built with Go {needed} or newer and `go` is not in PATH: install it \
         from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver \
         and kube-controller-manager"
    )]
    GoMissing {
        /// The version that `go.mod` asks for.
        needed: String,
    },
    /// The Go tool chain is too old and cannot fetch a newer one by itself.
    #[error(
        "the control plane is built with Go {needed} or newer; found {found}: install it from \
         https://go.dev/dl/"
    )]
    GoTooOld {
        /// The version that `go.mod` asks for.
        needed: String,
        /// What the installed `go` said about itself.
        found: String,
    },
    /// There is no place for the programs.
    #[error("neither XDG_CACHE_HOME nor HOME is set: no place to keep the control plane")]
    NoCacheFolder,
    /// The build ended with an error.
    #[error("building the control plane failed:\n{tail}")]
    Build {
        /// The last lines that the build printed.
        tail: String,
    },
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
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
/// Go's build cache; it happens once for each `go.sum`, and a second builder
/// waits for the first.
pub(super) async fn find_or_build(progress: &Progress) -> Result<Programs, AssetsError> {
    if let Some(folder) = std::env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()) {
        let folder = PathBuf::from(folder);
        return Programs::in_folder(&folder, "etcd")
            .map_err(|program| AssetsError::Incomplete { folder, program });
    }
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes/control-plane");
    let home = cache_folder(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
        .ok_or(AssetsError::NoCacheFolder)?;
    let folder = home.join("xsld-operator/control-plane").join(key(&module.join("go.sum"))?);
    let ready = folder.join("bin");
    // etcd's package is named `server`, and so is the program that Go builds.
    if let Ok(programs) = Programs::in_folder(&ready, "server") {
        return Ok(programs);
    }
    let needed = needed_go(&module.join("go.mod"))?;
    check_go(&module, &needed).await?;
    fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    let _lock = lock(&folder.join(".lock"), progress).await?;
    if let Ok(programs) = Programs::in_folder(&ready, "server") {
        return Ok(programs);
    }
    let unfinished = folder.join(".building");
    remove_folder(&unfinished)?;
    build(&module, &unfinished, progress).await?;
    remove_folder(&ready)?;
    fs::rename(&unfinished, &ready).map_err(file_error(&ready))?;
    Programs::in_folder(&ready, "server")
        .map_err(|name| AssetsError::Build { tail: format!("the build made no {name}") })
}

fn cache_folder(
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    // The XDG specification says to ignore a relative path.
    let absolute =
        |value: std::ffi::OsString| Some(PathBuf::from(value)).filter(|p| p.is_absolute());
    xdg.and_then(absolute).or_else(|| home.and_then(absolute).map(|home| home.join(".cache")))
}

fn key(go_sum: &Path) -> Result<String, AssetsError> {
    let bytes = fs::read(go_sum).map_err(file_error(go_sum))?;
    let digest = Sha256::digest(bytes);
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn needed_go(go_mod: &Path) -> Result<String, AssetsError> {
    let text = fs::read_to_string(go_mod).map_err(file_error(go_mod))?;
    let version = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(version.unwrap_or("1.26").trim().to_owned())
}

/// Asks `go` for its version inside the module: from 1.21 on it fetches the
/// version that the module needs by itself, unless that is switched off.
async fn check_go(module: &Path, needed: &str) -> Result<(), AssetsError> {
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .current_dir(module)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|_| AssetsError::GoMissing { needed: needed.to_owned() })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && version_parts(&said) >= version_parts(needed) {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let found = if said.is_empty() { last.trim().to_owned() } else { said };
    Err(AssetsError::GoTooOld { needed: needed.to_owned(), found })
}

fn version_parts(version: &str) -> Vec<u32> {
    let digits = version.trim_start_matches("go");
    let number = |part: &str| {
        part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    digits.split('.').map(number).take(3).collect()
}

async fn lock(path: &Path, progress: &Progress) -> Result<File, AssetsError> {
    let file = File::create(path).map_err(file_error(path))?;
    let what = "waiting for another build of the control plane".to_owned();
    let begun = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => {
                if told {
                    progress.report(Step::Finished { what, elapsed: begun.elapsed() });
                }
                return Ok(file);
            }
            Err(fs::TryLockError::WouldBlock) => {
                if !told {
                    progress.report(Step::Started { what: what.clone() });
                    told = true;
                }
                let (elapsed, detail) = (begun.elapsed(), String::new());
                progress.report(Step::Running { what: what.clone(), elapsed, detail });
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(AssetsError::File { path: path.to_owned(), source });
            }
        }
    }
}

async fn build(module: &Path, output: &Path, progress: &Progress) -> Result<(), AssetsError> {
    let what = format!("building Kubernetes {KUBERNETES_VERSION} (once, 5 to 10 minutes)");
    progress.report(Step::Started { what: what.clone() });
    let begun = Instant::now();
    let failed = |tail: String| AssetsError::Build { tail };
    let mut child = Command::new("go")
        .args(build_arguments(output))
        .current_dir(module)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped above")).lines();
    let mut tail: Vec<String> = Vec::new();
    let mut packages = 0_usize;
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    packages += 1;
                    tail.push(line);
                    // Package names come first, an error last: the end is what matters.
                    if tail.len() > 20 {
                        tail.remove(0);
                    }
                }
                Ok(None) | Err(_) => break,
            },
            _ = tick.tick() => {
                let last = tail.last().map(String::as_str).unwrap_or_default();
                let detail = format!("{packages} packages, {last}");
                let (what, elapsed) = (what.clone(), begun.elapsed());
                progress.report(Step::Running { what, elapsed, detail });
            }
        }
    }
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(tail.join("\n")));
    }
    progress.report(Step::Finished { what, elapsed: begun.elapsed() });
    Ok(())
}

fn build_arguments(output: &Path) -> Vec<String> {
    let mut minor = KUBERNETES_VERSION.split('.');
    let (major, minor) = (minor.next().unwrap_or_default(), minor.next().unwrap_or_default());
    // Without the version the server calls itself v0.0.0 and clients cannot parse that.
    let version = "-X k8s.io/component-base/version.git";
    let flags = format!(
        "-s -w {version}Version=v{KUBERNETES_VERSION} {version}Major={major} {version}Minor={minor}"
    );
    // `-v` prints each package as it is compiled: that is the progress.
    let mut arguments: Vec<String> =
        ["build", "-v", "-trimpath", "-ldflags"].map(str::to_owned).to_vec();
    arguments.extend([flags, "-o".to_owned(), format!("{}/", output.display()), "tool".to_owned()]);
    arguments
}

fn remove_folder(path: &Path) -> Result<(), AssetsError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path)(error)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> AssetsError + use<> {
    let path = path.to_owned();
    move |source| AssetsError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers_and_ignore_suffixes() {
        assert!(version_parts("go1.26.8") > version_parts("1.26.0"));
        assert!(version_parts("go1.9") < version_parts("1.26"));
        assert_eq!(version_parts("go1.26rc1"), vec![1, 26]);
    }

    #[test]
    fn the_cache_folder_follows_xdg_and_falls_back_to_home() {
        let some = |text: &str| Some(std::ffi::OsString::from(text));
        assert_eq!(cache_folder(some("/x"), some("/home/a")), Some("/x".into()));
        assert_eq!(cache_folder(some("x"), some("/home/a")), Some("/home/a/.cache".into()));
        assert_eq!(cache_folder(None, None), None);
    }

    #[test]
    fn the_build_tells_the_server_its_version() {
        let arguments = build_arguments(Path::new("/out"));
        let flags = &arguments[4];
        assert!(flags.contains("gitVersion=v1.36.3") && flags.contains("gitMinor=36"), "{flags}");
        assert_eq!(&arguments[5..], ["-o", "/out/", "tool"]);
    }

    #[test]
    fn a_folder_without_a_program_names_the_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("etcd"), "").unwrap();
        fs::write(dir.path().join("kube-apiserver"), "").unwrap();
        assert_eq!(Programs::in_folder(dir.path(), "etcd"), Err("kube-controller-manager"));
    }
}
