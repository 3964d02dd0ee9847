//! The `countersign` command: see `countersign --help`.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(countersign::cli::main_from(std::env::args_os()));
}
