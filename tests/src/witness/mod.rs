//! A witness from outside: logs that are played to it, honest ones and others, while it is
//! killed, and while it is measured.

pub mod chain;
pub mod kills;
pub mod load;
pub mod played;
