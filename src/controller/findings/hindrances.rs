//! I/O: why pods are not there or do not start, as Events tell. They are read only while something is
//! missing, and then of each object at most once in an idle poll.

use std::collections::BTreeMap;

use xsld_journal::event::Ordinal;

use super::Findings;
use crate::clock::Moment;
use crate::controller::pass::Pass;
use crate::observation::Hindrance;
use crate::observe::Access;
use crate::observe::why::{self, Asked};

/// What Events said of each object that is asked about, and when they were read.
pub(super) type Heard = BTreeMap<Asked, (Moment, BTreeMap<Ordinal, Hindrance>)>;

/// Adds to what was seen why something is missing. What is asked about follows from what is seen now,
/// so what was heard of an object that is well, or gone, is not told any more.
pub(in crate::controller) async fn ask(pass: &mut Pass<'_>, findings: &mut Findings<'_>) {
    let asked = if pass.wanted.deleting { vec![] } else { why::asked(&pass.seen) };
    findings.memory.heard.retain(|former, _| asked.contains(former));
    let context = pass.context;
    let identity = &pass.subject.identity;
    let of = (identity.namespace.as_str(), identity.name.as_str());
    let known = pass.access.as_ref().and_then(Access::redactor);
    let known = known.unwrap_or_default();
    let mut answers = true;
    for object in asked {
        let now = context.clock.now();
        let kept = findings.memory.heard.get(&object);
        let fresh = kept.filter(|(at, _)| now.since(*at) < context.times.poll_idle);
        let told = match fresh {
            Some((_, told)) => told.clone(),
            // Who did not answer is not asked again in the same pass.
            None if !answers => continue,
            None => {
                let about = (&pass.seen, &object);
                let timeout = context.times.request;
                let told = why::read(&context.client, of, about, &known, timeout).await;
                answers = told.is_some();
                let told = told.unwrap_or_default();
                findings.memory.heard.insert(object, (now, told.clone()));
                told
            }
        };
        pass.seen.hindrances.extend(told);
    }
}
