//! A plan for people.

use std::fmt::{self, Display, Formatter};

use xsld_journal::cli::escape;
use xsld_journal::event::End as Ended;

use super::{Claim, End, Plan, PlannedOperation, PlannedStep, Standing};

/// Numbered steps, what would be lost, and what would have to hold. Whatever stands in it from
/// elsewhere is escaped: no line of it can be forged by a member's words.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cache = escape(&format!("{}/{}", self.namespace, self.name));
        writeln!(f, "plan for {cache}, generation {}", self.generation)?;
        let mut number = 0;
        for operation in &self.operations {
            writeln!(f)?;
            tell_operation(f, operation, &mut number)?;
        }
        writeln!(f)?;
        if number == 0 {
            writeln!(f, "nothing would be done")?;
        }
        self.tell_sums(f)?;
        for wait in &self.put_off {
            writeln!(f, "put off: {} ({})", escape(&wait.message), escape(&wait.reason))?;
        }
        for assumed in &self.assumes {
            writeln!(f, "taken for granted: {}", escape(assumed))?;
        }
        tell_end(f, &self.end, number)?;
        if number > 0 {
            writeln!(f, "this holds if every step succeeds and nothing else changes")?;
        }
        Ok(())
    }
}

impl Plan {
    fn tell_sums(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.deletes.is_empty() {
            true => writeln!(f, "no volume is deleted")?,
            false => writeln!(f, "volumes that would be deleted: {}", claims(&self.deletes))?,
        }
        if !self.keeps.is_empty() {
            writeln!(f, "volumes that would be kept: {}", claims(&self.keeps))?;
        }
        if !self.restarts.is_empty() {
            let names: Vec<String> = self.restarts.iter().map(|name| escape(name)).collect();
            writeln!(f, "members that would be restarted: {}", names.join(", "))?;
        }
        Ok(())
    }
}

fn claims(claims: &[Claim]) -> String {
    let one = |claim: &Claim| format!("{} ({})", escape(&claim.name), escape(&claim.uid));
    claims.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn tell_operation(
    f: &mut Formatter<'_>,
    operation: &PlannedOperation,
    number: &mut u32,
) -> fmt::Result {
    let continues = if operation.continues { " (continues)" } else { "" };
    let (kind, reason) = (operation.kind.name(), escape(&operation.cause.reason));
    writeln!(f, "{kind}{continues}: {reason}")?;
    if let Some(parked) = &operation.parked {
        let (reason, message) = (escape(&parked.reason), escape(&parked.message));
        writeln!(f, "      parked, {reason}: {message}")?;
    }
    for step in &operation.steps {
        *number += 1;
        tell_step(f, step, *number)?;
    }
    for note in &operation.notes {
        writeln!(f, "      {}", escape(note))?;
    }
    match &operation.end {
        None | Some(Ended::Succeeded) => Ok(()),
        Some(Ended::Superseded { by }) => writeln!(f, "      superseded by {}", escape(by)),
        Some(Ended::Failed { reason }) => writeln!(f, "      fails: {}", escape(reason)),
    }
}

fn tell_step(f: &mut Formatter<'_>, step: &PlannedStep, number: u32) -> fmt::Result {
    let standing = match step.standing {
        Standing::Planned => "",
        Standing::Running => ", running",
        Standing::InDoubt => ", in doubt",
        Standing::WithoutEffect => ", without effect",
    };
    let destructive = if step.destructive { " [destructive]" } else { "" };
    write!(f, "{number:>4}. {}{standing}{destructive}", escape(step.describe()))?;
    match &step.note {
        Some(note) => writeln!(f, ": {}", escape(note)),
        None => writeln!(f),
    }
}

fn tell_end(f: &mut Formatter<'_>, end: &End, steps: u32) -> fmt::Result {
    match end {
        End::Settled if steps == 0 => writeln!(f, "nothing is left to do"),
        End::Settled => writeln!(f, "then nothing is left to do"),
        End::Waits(wait) => {
            let first = if steps == 0 { "waits" } else { "then waits" };
            writeln!(f, "{first}, {}: {}", escape(&wait.reason), escape(&wait.message))
        }
        End::Unknown { why } => {
            writeln!(f, "what comes next is not known: {}", escape(why))
        }
        End::TooLong => writeln!(f, "and it does not end: this is a fault of the operator"),
    }
}
