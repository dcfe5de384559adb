//! Collection against a model that reaches everything by brute force, and what it does beside others.

mod beside;
mod model;
