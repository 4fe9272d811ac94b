//! Metrics, after Azure's ServiceApiHit, ServiceApiLatency and ServiceApiResult.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use valv_model::{Error, ObjectType, Operation, Result};

/// Seconds; a read takes tens of microseconds, a durable write milliseconds.
const BUCKETS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];

/// The process's metrics, in Prometheus' text format.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The recorder of this process, installed at the first call.
    pub fn install() -> Result<Self> {
        static INSTALLED: OnceLock<Result<PrometheusHandle>> = OnceLock::new();
        INSTALLED.get_or_init(install).clone().map(Self)
    }

    /// Everything counted so far.
    #[must_use]
    pub fn render(&self) -> String {
        self.tidy();
        self.0.render()
    }

    /// Sums up what was measured since. Until then every measurement takes memory, whether or not anybody
    /// ever asks for the metrics.
    pub(crate) fn tidy(&self) {
        self.0.run_upkeep();
    }
}

fn install() -> Result<PrometheusHandle> {
    let failed = |e: String| Error::internal(format!("the metrics recorder: {e}"));
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("valv_request_duration_seconds".into()), &BUCKETS)
        .map_err(|e| failed(e.to_string()))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| failed(e.to_string()))?;
    Ok(handle)
}

/// Counts a finished request.
pub(crate) fn count(operation: Option<Operation>, status: u16, took: Duration) {
    // Each label has a handful of values: nothing a client sends becomes one.
    let object = operation.map_or("unknown", |o| o.spec().object.as_str());
    let name = operation.map_or("unknown", Operation::name);
    let status = status_label(status);
    if operation.is_none_or(|o| o.spec().object != ObjectType::Service) {
        let labels = [("activity_type", object), ("activity_name", name)];
        metrics::histogram!("valv_request_duration_seconds", &labels).record(took);
    }
    let labels = [("activity_type", object), ("activity_name", name), ("status", status)];
    metrics::counter!("valv_requests_total", &labels).increment(1);
}

/// A handler panicked: this must stay 0.
pub(crate) fn count_panic() {
    metrics::counter!("valv_panics_total").increment(1);
}

fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        204 => "204",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        421 => "421",
        429 => "429",
        431 => "431",
        500 => "500",
        503 => "503",
        504 => "504",
        507 => "507",
        _ => "other",
    }
}
