//! Looks at the lines of a journal on threads beside: most of the work of a check is there.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::sync_channel;

use crate::audit::{Assembler, Chunk, Item, Lines, Looked, Position};

/// Lines that are looked at together, by one of the threads.
const CHUNK: usize = 512;
/// Threads that look at lines while this one reads on and checks what they saw.
const LOOKERS: usize = 2;
/// Chunks that are on their way through one of them, so that nobody waits for work.
const AHEAD: usize = 6;

/// Looks at lines on threads beside, as most of the work is there, and checks what is whole in their
/// order. Where an append begins that is not whole.
pub(super) fn look_at_all(
    mut lines: Lines,
    mut check: impl FnMut(&Item),
) -> io::Result<Option<Position>> {
    let mut assembler = Assembler::default();
    std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..LOOKERS)
            .map(|_| {
                let (give, given) = sync_channel::<(Chunk, Vec<Item>)>(AHEAD);
                let (see, seen) = sync_channel::<Vec<Looked>>(AHEAD);
                scope.spawn(move || {
                    given.iter().try_for_each(|(chunk, spent)| {
                        drop(spent);
                        see.send(chunk.map(Looked::at))
                    })
                });
                (give, seen)
            })
            .collect();
        let gone = || io::Error::other("a thread that looks at lines has ended");
        // What was checked goes back to the thread that made it: two threads that make and drop
        // the same things wait for each other.
        let mut spent = [const { Vec::new() }; LOOKERS];
        let mut in_flight = VecDeque::new();
        let mut check_oldest = |looker: usize, spent: &mut [Vec<Item>; LOOKERS]| {
            let (_, seen) = &lookers[looker];
            for looked in seen.recv().map_err(|_| gone())? {
                assembler.push_looked(looked, |item| {
                    check(&item);
                    spent[looker].push(item);
                });
            }
            Ok::<_, io::Error>(())
        };
        for looker in (0..LOOKERS).cycle() {
            if in_flight.len() >= LOOKERS * AHEAD
                && let Some(oldest) = in_flight.pop_front()
            {
                check_oldest(oldest, &mut spent)?;
            }
            let Some(chunk) = lines.next_chunk(CHUNK)? else { break };
            let spent = std::mem::take(&mut spent[looker]);
            lookers[looker].0.send((chunk, spent)).map_err(|_| gone())?;
            in_flight.push_back(looker);
        }
        in_flight.into_iter().try_for_each(|looker| check_oldest(looker, &mut spent))
    })?;
    Ok(assembler.unfinished())
}
