//! The addresses of the pods: blocks 127.a.b.0/24 that no other run uses.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Whoever listens on this port of a block's last host address owns the block.
/// The system gives it back when the process ends, whatever ends it.
const CLAIM_PORT: u16 = 10250;
/// A new block is taken before so few addresses are left, so that an address
/// that was given back is not given out again at once.
const RESERVE: usize = 32;
const TRIES: u32 = 500;

/// No block of 127.64.0.0/10 is free.
#[derive(Debug, thiserror::Error)]
#[error("no free block of addresses in 127.64.0.0/10")]
pub(super) struct NoBlock(#[source] std::io::Error);

/// Gives out addresses, the one that was given back longest ago first, so that
/// a pod that is made again gets a new address.
#[derive(Clone)]
pub(super) struct Addresses {
    inner: Arc<Mutex<Pool>>,
}

struct Pool {
    free: VecDeque<Ipv4Addr>,
    claims: Vec<TcpListener>,
}

/// An address in use. Dropping it gives it back.
pub(super) struct Address {
    address: Ipv4Addr,
    pool: Arc<Mutex<Pool>>,
}

impl Addresses {
    /// Takes the first block.
    pub(super) fn new() -> Result<Self, NoBlock> {
        let mut pool = Pool { free: VecDeque::new(), claims: Vec::new() };
        pool.take_block()?;
        Ok(Self { inner: Arc::new(Mutex::new(pool)) })
    }

    /// An address that nobody uses.
    pub(super) fn take(&self) -> Result<Address, NoBlock> {
        let mut pool = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.free.len() <= RESERVE {
            let more = pool.take_block();
            if pool.free.is_empty() {
                more?;
            }
        }
        let address = pool.free.pop_front().expect("a block was taken when there was none");
        Ok(Address { address, pool: Arc::clone(&self.inner) })
    }
}

impl Pool {
    fn take_block(&mut self) -> Result<(), NoBlock> {
        let mut last = std::io::Error::other("not tried");
        for _ in 0..TRIES {
            let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
            let (a, b) = (64 + a % 64, b);
            match TcpListener::bind((Ipv4Addr::new(127, a, b, 254), CLAIM_PORT)) {
                Ok(claim) => {
                    self.claims.push(claim);
                    self.free.extend((1..=253).map(|host| Ipv4Addr::new(127, a, b, host)));
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(NoBlock(last))
    }
}

impl Address {
    /// The address itself.
    pub(super) fn get(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.free.push_back(self.address);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_address_given_back_is_not_the_next_one_given_out() {
        let addresses = Addresses::new().unwrap();
        let first = addresses.take().unwrap().get();
        let next: Vec<Address> = (0..200).map(|_| addresses.take().unwrap()).collect();
        assert!(next.iter().all(|address| address.get() != first));
    }

    #[test]
    fn more_pods_than_one_block_holds_all_get_their_own_address() {
        let addresses = Addresses::new().unwrap();
        let taken: Vec<Address> = (0..700).map(|_| addresses.take().unwrap()).collect();
        let distinct: BTreeSet<Ipv4Addr> = taken.iter().map(Address::get).collect();
        assert_eq!(distinct.len(), 700);
        assert!(distinct.iter().all(Ipv4Addr::is_loopback));
    }
}
