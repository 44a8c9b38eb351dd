//! `cargo xtask generate`: the custom resource definitions in `crds/`, and what the charts have of
//! them and of the manifests.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo::{self, Workspace, root};
use crate::charts;

/// The operator's program, which prints the definitions.
pub(crate) const OPERATOR: &str = "xsld-operator";
/// Where the definitions lie.
const DEFINITIONS: &str = "crds";

/// Options of `generate`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Writes nothing; tells which files differ and fails when one does.
    #[arg(long)]
    check: bool,
}

/// Builds the operator and writes, or checks, the generated files; false when one differs.
///
/// # Errors
/// When the operator cannot be built or does not print the definitions.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let words = ["build", "--package", OPERATOR, "--bin", OPERATOR];
    let status = cargo::cargo(words).status().context("cannot run cargo")?;
    ensure!(status.success(), "the operator could not be built: see above");
    let operator = Workspace::read()?.program(OPERATOR);
    if !options.check {
        write(&operator)?;
        return Ok(true);
    }
    let differences = check(&operator)?;
    for difference in &differences {
        anstream::println!("{difference}; `cargo xtask generate` writes it");
    }
    if differences.is_empty() {
        anstream::println!("crds/ and the charts' copies are up to date");
    }
    Ok(differences.is_empty())
}

/// What differs between the files and what they are made from, by the program `operator`; one line
/// each.
///
/// # Errors
/// When the program fails or a file cannot be read.
pub(crate) fn check(operator: &Path) -> Result<Vec<String>> {
    Ok(differences(&committed()?, &expected(operator)?))
}

/// Makes the generated files what the program `operator` prints, and tells each that changed.
///
/// # Errors
/// When the program fails or a file cannot be written.
pub(crate) fn write(operator: &Path) -> Result<()> {
    let (committed, expected) = (committed()?, expected(operator)?);
    for (name, text) in &expected {
        if committed.get(name) != Some(text) {
            let path = root().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            anstream::println!("wrote {name}");
        }
    }
    for name in committed.keys().filter(|name| !expected.contains_key(*name)) {
        let path = root().join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        anstream::println!("removed {name}");
    }
    anstream::println!("{} generated files are up to date", expected.len());
    Ok(())
}

/// All generated files as they should be, by path from the root.
fn expected(operator: &Path) -> Result<BTreeMap<String, String>> {
    let definitions = generated(operator)?;
    let text = |path: &str| {
        fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
    };
    let copied = charts::COPIES.iter().map(|(path, _)| text(path)).collect::<Result<_>>()?;
    let mut files = charts::files(&definitions, copied)?;
    let of_crds = |(name, text)| (format!("{DEFINITIONS}/{name}"), text);
    files.extend(definitions.into_iter().map(of_crds));
    Ok(files)
}

/// The files as they are, by path from the root.
fn committed() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for folder in [DEFINITIONS, charts::DEFINITIONS] {
        let read = read(&root().join(folder))?;
        files.extend(read.into_iter().map(|(name, text)| (format!("{folder}/{name}"), text)));
    }
    let copies = charts::COPIES.iter().map(|(_, copy)| *copy);
    for path in copies.chain([charts::SCHEMA]) {
        match fs::read_to_string(root().join(path)) {
            Ok(text) => {
                files.insert(path.to_owned(), text);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        }
    }
    Ok(files)
}

/// The definitions by file name, from the program itself.
fn generated(operator: &Path) -> Result<BTreeMap<String, String>> {
    let parent = operator.parent().context("the operator lies in no folder")?;
    let folder = parent.join("generated-crds");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new(operator);
    cargo::clean(&mut command);
    let status = command
        .args(["crds", "--write"])
        .arg(&folder)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", operator.display()))?;
    ensure!(status.success(), "`{OPERATOR} crds --write` failed");
    let files = read(&folder)?;
    ensure!(!files.is_empty(), "`{OPERATOR} crds --write` wrote no file");
    Ok(files)
}

/// The YAML files that lie directly in `folder`: samples in folders below it are written by hand.
fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.ends_with(".yaml")) else { continue };
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.to_owned(), text);
    }
    Ok(files)
}

fn differences(
    committed: &BTreeMap<String, String>,
    generated: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, text) in generated {
        match committed.get(name) {
            None => lines.push(format!("{name} is missing")),
            Some(old) if old != text => {
                let same = old.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
                let line = same + 1;
                lines.push(format!("{name}:{line}: differs from what it is made from"));
            }
            Some(_) => {}
        }
    }
    let stale = committed.keys().filter(|name| !generated.contains_key(*name));
    lines.extend(stale.map(|name| format!("{name} is made from nothing")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn missing_changed_and_stale_files_are_told() {
        let committed = files(&[("a.yaml", "x\ny\n"), ("old.yaml", "")]);
        let generated = files(&[("a.yaml", "x\nz\n"), ("new.yaml", "")]);
        assert_eq!(
            differences(&committed, &generated),
            [
                "a.yaml:2: differs from what it is made from",
                "new.yaml is missing",
                "old.yaml is made from nothing"
            ]
        );
        assert!(differences(&generated, &generated).is_empty());
    }

    #[test]
    fn samples_below_the_folder_are_no_generated_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("samples")).unwrap();
        fs::write(dir.path().join("samples/a.yaml"), "").unwrap();
        fs::write(dir.path().join("b.yaml"), "b").unwrap();
        fs::write(dir.path().join("README.md"), "").unwrap();
        assert_eq!(read(dir.path()).unwrap(), files(&[("b.yaml", "b")]));
    }

    #[test]
    fn a_program_that_writes_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("operator");
        std::os::unix::fs::symlink("/bin/true", &program).unwrap();
        let error = generated(&program).unwrap_err().to_string();
        assert!(error.contains("wrote no file"), "{error}");
    }
}
