//! Collection beside readers and writers, in the middle of its steps, and in doubt.
