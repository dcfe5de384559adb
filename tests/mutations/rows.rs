//! All rows, by what they change.

use crate::trial::Row;

mod base;
mod configuration;
mod dependencies;
mod gaps;
mod left_out;
mod recipe;
mod toolchain;

/// Every row, in the order of the table.
pub(crate) fn all() -> Vec<Row> {
    let parts = [
        recipe::rows(),
        configuration::rows(),
        dependencies::rows(),
        toolchain::rows(),
        base::rows(),
        left_out::rows(),
        gaps::rows(),
    ];
    parts.into_iter().flatten().collect()
}
