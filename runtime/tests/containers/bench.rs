//! Cases to come.
pub const CASES: &[crate::Case] = &[];
