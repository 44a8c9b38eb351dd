//! The hash chain and the checksum: what makes an altered, lost or moved record visible.

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// What stands for the record before the first one.
pub const ZERO: Hash = [0; 32];

/// The hash of a record: over the hash of the one before and over its canonical bytes. Changing
/// any record changes the hash of every later one.
pub fn hash(previous: &Hash, canonical: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous);
    hasher.update(canonical);
    *hasher.finalize().as_bytes()
}

/// CRC-32C over the canonical bytes and the hash. It is checked before anything is decoded:
/// damaged bytes decode into wrong values more often than one would think.
pub fn checksum(canonical: &[u8], hash: &Hash) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(canonical), hash)
}

/// BLAKE3 of a text, lower-case hex: the name of a text that is kept outside a record.
pub fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// A hash as lower-case hex.
pub fn to_hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Reads 64 hex digits; none when the text is anything else.
pub fn from_hex(text: &str) -> Option<Hash> {
    blake3::Hash::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_the_record_before_and_on_every_byte() {
        let first = hash(&ZERO, b"a");
        assert_ne!(first, hash(&ZERO, b"b"));
        assert_ne!(hash(&first, b"c"), hash(&ZERO, b"c"));
        assert_eq!(hash(&first, b"c"), hash(&first, b"c"));
    }

    #[test]
    fn the_checksum_covers_the_bytes_and_the_hash() {
        let sum = checksum(b"abc", &ZERO);
        assert_ne!(sum, checksum(b"abd", &ZERO));
        assert_ne!(sum, checksum(b"abc", &[1; 32]));
    }

    #[test]
    fn hex_round_trips_and_refuses_what_is_not_64_digits() {
        let value = hash(&ZERO, b"a");
        assert_eq!(from_hex(&to_hex(&value)), Some(value));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex(&"g".repeat(64)), None);
    }
}
