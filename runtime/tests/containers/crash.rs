//! Cases to come.
pub const CASES: &[crate::Case] = &[];
pub fn supervisor() -> std::io::Result<()> { Ok(()) }
