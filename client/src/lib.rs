//! The client: a library with the pure [`verify::verify`] function, and the `countersign`
//! command around it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// Prints to standard output as `print!` does, but a reader that has gone away (`… | head`)
/// is no error and no panic: the exit code says what it has to say.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($arg)*);
    }};
}

/// As [`say`], with a newline.
macro_rules! sayln {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

/// Runs a step of the verifier unless the build takes it out (see [`verify`]).
macro_rules! step {
    ($name:tt, $check:expr) => {
        if cfg!(not(without = $name)) {
            $check?
        }
    };
}

mod affected;
pub mod audit;
pub mod cli;
pub mod cmd;
pub mod contents;
pub mod fail;
pub mod fetch;
pub mod guard;
mod incident;
pub mod memory;
pub mod monitor;
mod oidc;
pub mod place;
pub mod policy;
pub mod receipt;
pub mod refused;
mod scan;
mod signed;
mod standing;
pub mod stated;
pub mod verdict;
pub mod verify;
mod view;
mod when;
