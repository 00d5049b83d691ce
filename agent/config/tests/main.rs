//! The configuration: right ones, with what they come to, and wrong ones, with what is said about them.

mod bad_configuration;
mod configuration;
