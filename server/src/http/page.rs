//! Metrics in Prometheus' text format.

use crate::metrics::Histogram;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// The media type of that format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// What the rows of `name` are.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One row.
    pub fn row(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.row(name, value);
    }

    /// A value that only goes up.
    pub fn counter(&mut self, name: &str, help: &str, value: &AtomicU64) {
        self.head(name, "counter", help);
        self.row(name, value.load(Ordering::Relaxed));
    }

    /// A histogram whose values are noted in parts of `unit`.
    pub fn histogram(&mut self, name: &str, help: &str, values: &Histogram, unit: f64) {
        #[allow(clippy::cast_precision_loss)] // a metric, not an account
        let scaled = |n: u64| n as f64 / unit;
        self.head(name, "histogram", help);
        let (rows, all) = values.rows();
        for (bound, count) in rows {
            self.row(&format!("{name}_bucket{{le=\"{}\"}}", scaled(bound)), count);
        }
        self.row(&format!("{name}_bucket{{le=\"+Inf\"}}"), all);
        self.row(&format!("{name}_sum"), scaled(values.sum()));
        self.row(&format!("{name}_count"), all);
    }

    /// The whole text.
    pub fn text(self) -> String {
        self.0
    }
}
