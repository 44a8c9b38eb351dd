//! `kubectl xsld plan`: what the operator would do for a spec, without doing it.

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;
use xsld_journal::cli::Format;

use super::{Error, Operator, told};
use crate::admin::plan::{PROPOSAL_MAX, Proposal};
use crate::admin::reach::reach;
use crate::args::{Cluster, Endpoint, Plan as Options};
use crate::plan::{End, Plan};

/// The longest plan that is read, in bytes.
const PLAN_MAX: usize = 16 << 20;
/// Stands for standard input in the place of a file's name.
const STDIN: &str = "-";

/// Why there is nothing to propose.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is longer than any object may be.
    #[error("{0}: it is longer than an object may be")]
    TooLong(String),
    /// It is no YAML and no JSON. The reason is left out, as it may quote what is secret.
    #[error("{0}: it cannot be read as YAML or JSON")]
    Form(String),
    /// There is no XsldCache in it, or more than one.
    #[error("{path}: there are {count} XsldCaches in it that could be meant; one is planned for")]
    Count {
        /// Which.
        path: String,
        /// How many.
        count: usize,
    },
    /// Neither the command line nor the file says which cache is meant.
    #[error("which cache? Name it as NAMESPACE/NAME")]
    NoCache,
}

/// Carries out the command. Exit 0: the spec would be reached; 1: it would not, or that is not known;
/// 2: there is no plan.
pub fn main(endpoint: &Endpoint, cluster: &Cluster, options: &Options, format: Format) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let plan = runtime
        .map_err(Error::from)
        .and_then(|runtime| runtime.block_on(ask(endpoint, cluster, options)));
    let shown = plan.and_then(|plan| show(&plan, format).map(|()| plan.end).map_err(Error::from));
    match shown {
        Ok(End::Settled) => ExitCode::SUCCESS,
        Ok(End::Waits(_) | End::Unknown { .. } | End::TooLong) => ExitCode::from(1),
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => told(&error),
    }
}

async fn ask(endpoint: &Endpoint, cluster: &Cluster, options: &Options) -> Result<Plan, Error> {
    let proposal = proposal(options)?;
    let operator = Operator::new(reach(endpoint, cluster).await?)?;
    let request = operator.request(Method::POST, "/v1/plan").json(&proposal);
    let body = operator.body(operator.answered(request).await?, PLAN_MAX).await?;
    serde_json::from_slice(&body)
        .map_err(|error| operator.unreadable(format!("its plan cannot be read: {error}")))
}

fn show(plan: &Plan, format: Format) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match format {
        Format::Table => write!(stdout, "{plan}"),
        Format::Json | Format::Yaml => write!(stdout, "{}", format.document(plan)?),
    }
}

fn proposal(options: &Options) -> Result<Proposal, ProposalError> {
    let named = options.cache.as_deref().map(cache_name).transpose()?;
    let object = options.file.as_deref().map(|path| file(path, named)).transpose()?;
    let of_object = |field: &str| {
        let value = object.as_ref()?.pointer(&format!("/metadata/{field}"))?;
        value.as_str().map(str::to_owned)
    };
    let (namespace, name) = match named {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => {
            let both = of_object("namespace").zip(of_object("name"));
            both.ok_or(ProposalError::NoCache)?
        }
    };
    let Options { size, image, delete, .. } = options;
    Ok(Proposal { namespace, name, object, size: *size, image: image.clone(), delete: *delete })
}

fn cache_name(text: &str) -> Result<(&str, &str), ProposalError> {
    let both = text.split_once('/').filter(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    });
    both.ok_or(ProposalError::NoCache)
}

/// The one XsldCache of a file that can be meant.
fn file(path: &Path, named: Option<(&str, &str)>) -> Result<Value, ProposalError> {
    let shown = path.display().to_string();
    let failed = |source| ProposalError::Read { path: shown.clone(), source };
    let mut text = String::new();
    let limit = PROPOSAL_MAX as u64 + 1;
    if shown == STDIN {
        io::stdin().lock().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        let opened = fs::File::open(path).map_err(failed)?;
        opened.take(limit).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() > PROPOSAL_MAX {
        return Err(ProposalError::TooLong(shown));
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|_| ProposalError::Form(shown.clone()))?;
    let is_meant = |document: &Value| {
        let field = |name: &str| document["metadata"][name].as_str();
        document["kind"] == "XsldCache"
            && named.is_none_or(|(namespace, name)| {
                field("name") == Some(name)
                    && field("namespace").is_none_or(|found| found == namespace)
            })
    };
    let mut meant: Vec<Value> = documents.into_iter().filter(is_meant).collect();
    match (meant.pop(), meant.len()) {
        (Some(only), 0) => Ok(only),
        (last, more) => {
            let count = more + usize::from(last.is_some());
            Err(ProposalError::Count { path: shown, count })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
---
apiVersion: xsld.ibm.com/v1alpha1
kind: XsldCache
metadata: {name: a, namespace: shop}
spec: {license: accept, size: 3}
---
apiVersion: xsld.ibm.com/v1alpha1
kind: XsldCache
metadata: {name: b}
spec: {license: accept, size: 1}
";

    fn options(cache: Option<&str>, file: Option<&Path>) -> Options {
        Options {
            cache: cache.map(str::to_owned),
            file: file.map(Path::to_owned),
            size: Some(5),
            image: None,
            delete: false,
        }
    }

    #[test]
    fn the_cache_of_a_file_is_found_by_its_name_and_an_ambiguous_one_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), TWO).unwrap();
        let of = |cache| proposal(&options(cache, Some(file.path())));
        let found = of(Some("shop/a")).unwrap();
        assert_eq!(found.object.unwrap()["spec"]["size"], 3);
        assert_eq!(
            (found.namespace.as_str(), found.name.as_str(), found.size),
            ("shop", "a", Some(5))
        );
        // A file that names no namespace is for whichever is asked for.
        assert_eq!(of(Some("other/b")).unwrap().namespace, "other");
        let count = |result: Result<Proposal, ProposalError>| match result {
            Err(ProposalError::Count { count, .. }) => count,
            _ => panic!("not refused"),
        };
        assert_eq!(count(of(None)), 2);
        assert_eq!(count(of(Some("other/a"))), 0);
    }

    #[test]
    fn what_cannot_be_meant_is_told_without_its_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "adminPwd: [Secret123!").unwrap();
        let told = proposal(&options(None, Some(file.path()))).err().unwrap().to_string();
        assert!(told.contains("cannot be read as YAML") && !told.contains("Secret123"), "{told}");
        for name in ["a", "/a", "a/", "a/b/c", ""] {
            let refused = proposal(&options(Some(name), None));
            assert!(matches!(refused, Err(ProposalError::NoCache)), "{name}");
        }
        assert!(matches!(proposal(&options(None, None)), Err(ProposalError::NoCache)));
    }
}
