//! A group that the journal does not know is taken over as its members hold it, and nobody of it is
//! lost for having been silent.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::losses::claims;
use crate::context::{Context, Kind, Seen, condition};
use crate::{Result, Scenario};

/// Coming back on kept volumes, on a loaded machine.
const RETURN: Duration = Duration::from_secs(120);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("adoptions::a_silent_member_of_a_kept_group_is_waited_for_by_name", |c| {
            Box::pin(silent_member(c))
        }),
        Scenario::new("adoptions::members_that_do_not_find_their_primary_are_told_and_kept", |c| {
            Box::pin(without_addresses(c))
        }),
    ]
}

async fn delete_cache(c: &Context) -> Result {
    c.delete(Kind::Cache, "c").await?;
    c.gone(Kind::Cache, "c", RETURN).await?;
    c.gone(Kind::StatefulSet, "c", MINUTE).await
}

/// Waits until a condition with this reason names everyone of `names`.
async fn told(c: &Context, what: (&str, &str), names: &[&str], limit: Duration) -> Result {
    let (word, reason) = what;
    c.wait(&format!("{word} ({reason}) to name {names:?}"), limit, async || {
        nothing_was_taken(c)?;
        let cache = c.get(Kind::Cache, "c").await?;
        let found = condition(&cache, word).cloned().unwrap_or(Value::Null);
        let message = found["message"].as_str().unwrap_or_default();
        let holds = found["status"] == "True"
            && found["reason"] == reason
            && names.iter().all(|name| message.contains(name));
        Ok(Seen::when(holds, || found.to_string()))
    })
    .await
}

/// No member was removed from the group, wiped or joined anew.
fn nothing_was_taken(c: &Context) -> Result {
    for effect in ["ghost_removed", "disjoined"] {
        let count = c.count(effect, "")?;
        ensure!(count == 0, "{effect}: {count} times");
    }
    let records = c.records()?;
    let wiped = records.iter().filter_map(crate::context::records::Intent::of);
    let wiped: Vec<_> = wiped.filter(|intent| intent.step.name() == "reset_member").collect();
    ensure!(wiped.is_empty(), "a member was wiped: {}", wiped[0].step.describe());
    Ok(())
}

/// A cache of three comes back on its volumes, and one member accepts connections and answers
/// nothing until a person was asked.
async fn silent_member(c: &Context) -> Result {
    c.entries_are_lost("all members ended, and entries live in their memory");
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    let (kept, joins) = (claims(c).await?, c.count("join_started", "")?);
    delete_cache(c).await?;
    c.fault("c-2", json!({"fault": "hang"})).await?;
    c.create("c", 3).await?;
    told(c, ("Progressing", "Rebuilding"), &["c-2"], RETURN).await?;
    told(c, ("NeedsAttention", "AdoptionUndecided"), &["c-2"], RETURN).await?;
    c.clear_faults("c-2").await?;
    c.ready("c", 3, RETURN).await?;
    nothing_was_taken(c)?;
    ensure!(c.recorded("adopted")? == 1, "adopted {} times", c.recorded("adopted")?);
    ensure!(c.count("join_started", "")? == joins, "a member of the kept group was joined again");
    ensure!(claims(c).await? == kept, "a volume of the kept group went");
    Ok(())
}

/// With an entrypoint that tells nobody the new addresses, the members do not find each other.
async fn without_addresses(c: &Context) -> Result {
    c.entries_are_lost("all members ended, and entries live in their memory");
    let map =
        |script: &str| json!({"metadata": {"name": "own"}, "data": {"entrypoint.sh": script}});
    c.apply(Kind::ConfigMap, map("#!/bin/bash\nexec /entrypoint.sh \"$@\"\n")).await?;
    c.create_with("c", 3, json!({"entrypointConfigMap": "own"})).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    let (kept, joins) = (claims(c).await?, c.count("join_started", "")?);
    delete_cache(c).await?;
    c.create_with("c", 3, json!({"entrypointConfigMap": "own"})).await?;
    told(c, ("NeedsAttention", "AdoptionUndecided"), &["c-1", "c-2"], 2 * RETURN).await?;
    // A person gives the members an entrypoint that tells their group where they are.
    let better = "#!/bin/bash\nij <<< \"UPDATE member SET ip = '$IP';\" &\nexec /entrypoint.sh\n";
    c.apply(Kind::ConfigMap, map(better)).await?;
    for pod in ["c-0", "c-1", "c-2"] {
        c.delete(Kind::Pod, pod).await?;
    }
    c.ready("c", 3, RETURN).await?;
    nothing_was_taken(c)?;
    ensure!(c.count("join_started", "")? == joins, "a member of the kept group was joined again");
    ensure!(claims(c).await? == kept, "a volume of the kept group went");
    Ok(())
}
