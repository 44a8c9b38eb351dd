//! Looks at the lines of a journal on threads beside: most of the work of a check is there.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::audit::{Lines, Looked, RawLine};

/// Lines that are looked at together, by one of the threads.
const CHUNK: usize = 512;
/// Threads that look at lines while this one reads on and checks what they saw.
const LOOKERS: usize = 2;

/// Looks at lines on threads beside, as most of the work is there, and hands them over in order.
pub(super) fn look_at_all(mut lines: Lines, mut take: impl FnMut(Looked)) -> io::Result<()> {
    std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..LOOKERS)
            .map(|_| {
                let (give, given) = sync_channel::<Vec<RawLine>>(2);
                let (see, seen) = sync_channel::<Vec<Looked>>(2);
                scope.spawn(move || {
                    let look = |chunk: Vec<RawLine>| chunk.into_iter().map(Looked::at).collect();
                    given.iter().map(look).try_for_each(|chunk| see.send(chunk))
                });
                (give, seen)
            })
            .collect();
        let gone = |_| io::Error::other("a thread that looks at lines has ended");
        let mut in_flight = VecDeque::new();
        for (give, seen) in lookers.iter().cycle() {
            if in_flight.len() > LOOKERS {
                let oldest: &Receiver<Vec<Looked>> = in_flight.pop_front().unwrap_or(seen);
                oldest.recv().map_err(|_| gone(()))?.into_iter().for_each(&mut take);
            }
            let chunk = lines.by_ref().take(CHUNK).collect::<io::Result<Vec<_>>>()?;
            if chunk.is_empty() {
                break;
            }
            give.send(chunk).map_err(|_| gone(()))?;
            in_flight.push_back(seen);
        }
        for seen in in_flight {
            seen.recv().map_err(|_| gone(()))?.into_iter().for_each(&mut take);
        }
        Ok(())
    })
}
