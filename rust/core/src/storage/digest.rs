//! Digests as hexadecimal digits.

use sha2::{Digest, Sha256};

/// SHA-256 of some bytes, 64 hexadecimal digits: those of `sha256sum`.
///
/// ```
/// // FIPS 180-2, appendix B.1.
/// let digest = ssm_hpn::storage::sha256(b"abc");
/// assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// ```
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
