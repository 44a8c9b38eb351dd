//! What a roll does to the state: the committed template and the one before, and what it left out.

use super::super::{CacheState, IllegalTransition, Stamp, Template, refuse_if};
use crate::event::{Event, MemberRef, OperationKind};

impl CacheState {
    /// Refuses a roll outside of its operation, to a template that is not committed, and of a pod
    /// that would leave its member with another volume.
    pub(super) fn check_roll(
        &self,
        event: &Event,
        member: &MemberRef,
        template: &str,
    ) -> Result<(), IllegalTransition> {
        let kind = self.operation.as_ref().map(|operation| operation.kind);
        refuse_if(kind != Some(OperationKind::ImageRoll), event, "no image roll is open")?;
        let committed = self.committed.template.as_ref().map(|committed| committed.digest.as_str());
        refuse_if(committed != Some(template), event, "the template is not the committed one")?;
        match self.members.contains_key(&member.ordinal) {
            true => self.check_member(event, member),
            false => Ok(()),
        }
    }

    /// Keeps the grids that a roll does not wait for.
    pub(super) fn leave_out(
        &mut self,
        stamp: Stamp,
        event: &Event,
    ) -> Result<(), IllegalTransition> {
        let kind = self.operation_mut(stamp, event)?.kind;
        refuse_if(kind != OperationKind::ImageRoll, event, "no image roll is open")?;
        if let Event::GridsLeftOut { grids, again, .. } = event {
            refuse_if(self.roll_took && !grids.is_empty(), event, "a pod has gone already")?;
            self.left_out.extend(grids.iter().cloned());
            self.left_out.retain(|name| !again.contains(name));
        }
        Ok(())
    }

    /// A roll that begins before any pod went looks at every grid for itself.
    pub(super) fn begin_roll(&mut self, kind: OperationKind) {
        if kind == OperationKind::ImageRoll && !self.roll_took {
            self.left_out.clear();
        }
    }

    /// The template before the first change of a roll is what it goes back to.
    pub(super) fn commit_template(&mut self, template: Template) {
        let kind = self.operation.as_ref().map(|operation| operation.kind);
        if kind == Some(OperationKind::ImageRoll) {
            let changed =
                self.committed.template.take().filter(|old| old.digest != template.digest);
            self.former = self.former.take().or(changed);
        }
        self.former.take_if(|former| former.digest == template.digest);
        self.committed.template = Some(template);
    }
}
