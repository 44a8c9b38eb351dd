//! What was found of an adopted group, and what a new record must agree with beyond the table.
//!
//! The table guards live appends and replay alike, so a rule that older releases did not keep cannot
//! be in it: their records would no longer be read. Such rules are asked when a record is appended, and
//! never when it is read back.

use super::table::established;
use super::{CacheState, IllegalTransition, JoinHistory, Stamp, illegal, refuse_if};
use crate::event::{AdoptedMember, Event, HeldClaim, MemberRef, Receipt, Step};

impl CacheState {
    /// Refuses what no release should record any more, though older ones did.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the record would not tell the truth.
    pub fn check_append(&self, event: &Event) -> Result<(), IllegalTransition> {
        if let Event::MemberAbsent { member, receipt: Receipt::NeverJoined { .. } } = event {
            self.check_never_joined(event, member)?;
        }
        if let Event::StepIntended { step: Step::ResetMember { member }, .. } = event {
            let held = self.held.contains_key(&member.claim_uid);
            refuse_if(held, event, "the adopted group listed this volume: a person decides")?;
        }
        Ok(())
    }

    fn check_never_joined(
        &self,
        event: &Event,
        member: &MemberRef,
    ) -> Result<(), IllegalTransition> {
        let claim = &member.claim_uid;
        let recorded = self.members.values().any(|known| known.claim_uid == *claim);
        refuse_if(recorded, event, "it is a member")?;
        refuse_if(self.held.contains_key(claim), event, "the adopted group listed it")?;
        match self.joins.get(claim) {
            None if self.adopted => Err(illegal(event, "nobody knows whether it joined before")),
            None | Some(JoinHistory::WithoutEffect) => Ok(()),
            Some(JoinHistory::Joined) => Err(illegal(event, "it joined")),
            Some(JoinHistory::InDoubt) => Err(illegal(event, "a join of it is in doubt")),
        }
    }

    /// Takes over a member that the group lists, as it was found.
    pub(super) fn adopt_late(
        &mut self,
        stamp: Stamp,
        event: &Event,
        adopted: &AdoptedMember,
    ) -> Result<(), IllegalTransition> {
        let (member, ordinal) = (&adopted.member, adopted.member.ordinal);
        refuse_if(!self.bootstrapped, event, "there is no group")?;
        refuse_if(self.members.contains_key(&ordinal), event, "it is a member")?;
        refuse_if(self.leaving.contains_key(&ordinal), event, "it is leaving")?;
        self.joins.insert(member.claim_uid.clone(), JoinHistory::Joined);
        self.held.insert(member.claim_uid.clone(), member.name.clone());
        let mut member = established(member.clone(), adopted.catalog, stamp.seq);
        member.address.clone_from(&adopted.address);
        self.members.insert(ordinal, member);
        Ok(())
    }

    /// Keeps what an adoption leaves to people.
    pub(super) fn note_adoption(
        &mut self,
        event: &Event,
        held: &[HeldClaim],
        template: Option<&String>,
    ) -> Result<(), IllegalTransition> {
        refuse_if(!self.adopted, event, "no group was adopted")?;
        self.held.extend(held.iter().map(|held| (held.claim_uid.clone(), held.name.clone())));
        self.held_template = template.cloned();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
