//! The agent's library from the outside.

mod documentation;
mod metrics;
