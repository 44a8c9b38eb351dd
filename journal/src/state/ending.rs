//! How an operation ends, and with it or without it its cache.

use super::{
    CacheState, EndedOperation, IllegalTransition, RECENT_OPERATIONS_MAX, Rolled, Stamp, refuse_if,
};
use crate::event::{End, Event, OperationKind};

impl CacheState {
    pub(super) fn end(
        &mut self,
        stamp: Stamp,
        event: &Event,
        end: &End,
    ) -> Result<(), IllegalTransition> {
        let operation = self.operation_mut(stamp, event)?;
        refuse_if(operation.step.is_some(), event, "a step is open")?;
        self.over(stamp, end);
        Ok(())
    }

    /// Ends the stream: of a cache that is gone, or of one that is left with what is open, which then
    /// ends without what it was to reach.
    pub(super) fn close(&mut self, stamp: Stamp, event: &Event) -> Result<(), IllegalTransition> {
        if let Event::CacheLeft { reason, .. } = event {
            self.over(stamp, &End::Failed { reason: reason.clone() });
            self.left = true;
        }
        refuse_if(self.operation.is_some(), event, "an operation is open")?;
        self.closed = true;
        Ok(())
    }

    fn over(&mut self, stamp: Stamp, end: &End) {
        let Some(operation) = self.operation.take() else { return };
        let ended = EndedOperation {
            id: operation.id,
            kind: operation.kind,
            goal: operation.goal,
            cause: operation.cause,
            end: end.clone(),
            begun_seq: operation.begun_seq,
            begun_us: operation.begun_us,
            ended_seq: stamp.seq,
            ended_us: stamp.time_us,
            steps_done: operation.steps_done,
        };
        self.remember_roll(&ended);
        self.remember_tried(&ended);
        self.recent.push_back(ended);
        while self.recent.len() > RECENT_OPERATIONS_MAX {
            if let Some(forgotten) = self.recent.pop_front() {
                let EndedOperation { begun_seq, kind, goal, cause, .. } = forgotten;
                self.keep_acted(begun_seq, kind, &goal, &cause);
            }
        }
    }

    fn remember_roll(&mut self, ended: &EndedOperation) {
        if ended.kind != OperationKind::ImageRoll || matches!(ended.end, End::Superseded { .. }) {
            return;
        }
        if ended.end == End::Succeeded {
            self.former = None;
        }
        self.left_out.clear();
        self.roll_took = false;
        self.rolled = Some(Rolled { goal: ended.goal.clone(), end: ended.end.clone() });
    }
}
