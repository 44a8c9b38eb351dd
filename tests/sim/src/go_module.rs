//! Builds programs from a Go module that has no Go code, once, and finds them again.
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

use crate::control_plane::{Progress, Step};

/// Why the programs of a Go module are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoModuleError {
    /// There is no Go tool chain.
    #[error(
        "{what} is built with Go {needed} or newer and `go` is not in PATH: install it from \
         https://go.dev/dl/{instead}"
    )]
    GoMissing {
        /// What was to be built.
        what: String,
        /// The version that `go.mod` asks for.
        needed: String,
        /// What else the user may do; may be empty.
        instead: String,
    },
    /// The Go tool chain is too old and cannot fetch a newer one by itself.
    #[error(
        "{what} is built with Go {needed} or newer; found {found}: install it from \
         https://go.dev/dl/"
    )]
    GoTooOld {
        /// What was to be built.
        what: String,
        /// The version that `go.mod` asks for.
        needed: String,
        /// What the installed `go` said about itself.
        found: String,
    },
    /// There is no place for the programs.
    #[error("neither XDG_CACHE_HOME nor HOME is set: no place to keep {what}")]
    NoCacheFolder {
        /// What was to be kept.
        what: String,
    },
    /// The build ended with an error.
    #[error("building {what} failed:\n{tail}")]
    Build {
        /// What was to be built.
        what: String,
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

/// A module below `tests/kubernetes` whose tool directive names programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoModule {
    /// The module's folder below `tests/kubernetes`, and that of its programs in the cache.
    pub(crate) folder: &'static str,
    /// What is built, with its version, in people's words.
    pub(crate) what: String,
    /// How long a build takes on two cores, in people's words.
    pub(crate) lasts: &'static str,
    /// The files that the build makes, all of them needed.
    pub(crate) programs: &'static [&'static str],
    /// Flags of the linker besides those that leave out what only a debugger reads.
    pub(crate) link: String,
    /// What a user without Go may do instead, as the end of a sentence; may be empty.
    pub(crate) instead: &'static str,
}

impl GoModule {
    /// The folder with the programs, building them when they are not there yet.
    ///
    /// A build takes minutes and some GB of Go's build cache; it happens once
    /// for each `go.sum`, and a second builder waits for the first.
    pub(crate) async fn find_or_build(
        &self,
        progress: &Progress,
    ) -> Result<PathBuf, GoModuleError> {
        let kubernetes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes");
        let module = kubernetes.join(self.folder);
        let home = cache_folder(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
            .ok_or_else(|| GoModuleError::NoCacheFolder { what: self.what.clone() })?;
        let cache = home.join("xsld-operator").join(self.folder);
        let folder = cache.join(key(&module.join("go.sum"))?);
        let ready = folder.join("bin");
        if self.missing(&ready).is_none() {
            return Ok(ready);
        }
        self.check_go(&module).await?;
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        let _lock = self.lock(&folder.join(".lock"), progress).await?;
        if self.missing(&ready).is_none() {
            return Ok(ready);
        }
        let unfinished = folder.join(".building");
        remove_folder(&unfinished)?;
        self.build(&module, &unfinished, progress).await?;
        remove_folder(&ready)?;
        fs::rename(&unfinished, &ready).map_err(file_error(&ready))?;
        match self.missing(&ready) {
            None => Ok(ready),
            Some(program) => Err(self.failed(format!("the build made no {program}"))),
        }
    }

    /// The first program that `folder` lacks.
    fn missing(&self, folder: &Path) -> Option<&'static str> {
        self.programs.iter().copied().find(|program| !folder.join(program).is_file())
    }

    fn failed(&self, tail: String) -> GoModuleError {
        GoModuleError::Build { what: self.what.clone(), tail }
    }

    /// Asks `go` for its version inside the module: from 1.21 on it fetches the
    /// version that the module needs by itself, unless that is switched off.
    async fn check_go(&self, module: &Path) -> Result<(), GoModuleError> {
        let needed = needed_go(&module.join("go.mod"))?;
        let output = Command::new("go")
            .args(["env", "GOVERSION"])
            .current_dir(module)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|_| GoModuleError::GoMissing {
                what: self.what.clone(),
                needed: needed.clone(),
                instead: self.instead.to_owned(),
            })?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && version_parts(&said) >= version_parts(&needed) {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let found = if said.is_empty() { last.trim().to_owned() } else { said };
        Err(GoModuleError::GoTooOld { what: self.what.clone(), needed, found })
    }

    async fn lock(&self, path: &Path, progress: &Progress) -> Result<File, GoModuleError> {
        let file = File::create(path).map_err(file_error(path))?;
        let what = format!("waiting for another build of {}", self.what);
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
                    return Err(GoModuleError::File { path: path.to_owned(), source });
                }
            }
        }
    }

    async fn build(
        &self,
        module: &Path,
        output: &Path,
        progress: &Progress,
    ) -> Result<(), GoModuleError> {
        let what = format!("building {} (once, {})", self.what, self.lasts);
        progress.report(Step::Started { what: what.clone() });
        let begun = Instant::now();
        let mut child = Command::new("go")
            .args(self.build_arguments(output))
            .current_dir(module)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.failed(error.to_string()))?;
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
        let status = child.wait().await.map_err(|error| self.failed(error.to_string()))?;
        if !status.success() {
            return Err(self.failed(tail.join("\n")));
        }
        progress.report(Step::Finished { what, elapsed: begun.elapsed() });
        Ok(())
    }

    fn build_arguments(&self, output: &Path) -> Vec<String> {
        // `-v` prints each package as it is compiled: that is the progress.
        let mut arguments: Vec<String> =
            ["build", "-v", "-trimpath", "-ldflags"].map(str::to_owned).to_vec();
        let flags = format!("-s -w {}", self.link);
        let output = format!("{}/", output.display());
        arguments.extend([flags, "-o".to_owned(), output, "tool".to_owned()]);
        arguments
    }
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

fn key(go_sum: &Path) -> Result<String, GoModuleError> {
    let bytes = fs::read(go_sum).map_err(file_error(go_sum))?;
    let digest = Sha256::digest(bytes);
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn needed_go(go_mod: &Path) -> Result<String, GoModuleError> {
    let text = fs::read_to_string(go_mod).map_err(file_error(go_mod))?;
    let version = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(version.unwrap_or("1.26").trim().to_owned())
}

fn version_parts(version: &str) -> Vec<u32> {
    let digits = version.trim_start_matches("go");
    let number = |part: &str| {
        part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    digits.split('.').map(number).take(3).collect()
}

fn remove_folder(path: &Path) -> Result<(), GoModuleError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path)(error)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> GoModuleError + use<> {
    let path = path.to_owned();
    move |source| GoModuleError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> GoModule {
        GoModule {
            folder: "tool",
            what: "Tool 1.2".to_owned(),
            lasts: "a minute",
            programs: &["tool", "helper"],
            link: "-X main.version=v1.2".to_owned(),
            instead: ", or do without",
        }
    }

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
    fn the_build_passes_the_modules_own_flags_to_the_linker() {
        let arguments = module().build_arguments(Path::new("/out"));
        assert_eq!(arguments[4], "-s -w -X main.version=v1.2");
        assert_eq!(&arguments[5..], ["-o", "/out/", "tool"]);
    }

    #[test]
    fn a_folder_with_some_of_the_programs_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(module().missing(dir.path()), Some("tool"));
        fs::write(dir.path().join("tool"), "").unwrap();
        assert_eq!(module().missing(dir.path()), Some("helper"));
        fs::write(dir.path().join("helper"), "").unwrap();
        assert_eq!(module().missing(dir.path()), None);
    }

    #[test]
    fn without_go_the_error_says_what_needs_it_and_what_else_helps() {
        let (what, instead) = (module().what, module().instead.to_owned());
        let error = GoModuleError::GoMissing { what, needed: "1.26".to_owned(), instead };
        let text = error.to_string();
        assert!(text.starts_with("Tool 1.2 is built with Go 1.26 or newer"), "{text}");
        assert!(text.ends_with("https://go.dev/dl/, or do without"), "{text}");
    }
}
