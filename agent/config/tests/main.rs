//! Tests of valid configurations with their values, and of wrong ones with their messages.

mod bad_configuration;
mod configuration;
