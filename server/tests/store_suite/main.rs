//! What any implementation of the store's three traits must do. Each suite runs on the
//! embedded one and on the model in memory: fixed promises first, then random operations
//! compared with a fresh model after each, some of them failing at a random step. After a
//! failure a reopening must show the state before the operation or after it.
#![allow(clippy::unwrap_used)]

#[path = "../failing/mod.rs"]
mod failing;

mod blobs;
mod hot;
mod index;

use failing::Effect;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Runs random cases without a file of past failures: each failure prints its input.
pub fn cases<S: Strategy>(number: u32, inputs: &S, run: impl Fn(S::Value)) {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::with_cases(number)
    };
    let outcome = TestRunner::new(config).run(inputs, |input| {
        run(input);
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

/// At which of its next steps an operation fails, with which effect.
pub fn failure() -> impl Strategy<Value = Option<(usize, Effect)>> {
    let effect = prop_oneof![Just(Effect::Nothing), Just(Effect::Torn), Just(Effect::All)];
    prop::option::weighted(0.3, (0usize..24, effect))
}
