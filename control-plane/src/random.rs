//! Random bytes from the operating system, for tokens, names and ports.

use std::fs::File;
use std::io::Read;

use crate::error::{Error, Result};

fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(Error::io(|| "read random bytes from /dev/urandom".into()))?;
    Ok(bytes)
}

/// A bearer token of 128 random bits.
pub(crate) fn token() -> Result<String> {
    Ok(bytes::<16>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Eight characters that make a name unique, and that may end a Kubernetes name.
pub(crate) fn suffix() -> Result<String> {
    Ok(bytes::<4>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// A number below `end`, which must not be 0.
pub(crate) fn below(end: u16) -> Result<u16> {
    Ok(u16::from_be_bytes(bytes()?) % end)
}
