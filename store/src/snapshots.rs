//! Trees of directories. (Stands in for what branch `trees` brings.)

pub(crate) mod reach;
