//! Logs, and traces where somebody collects them.
//!
//! Every reconcile and every REST call is a span with a trace id, which stands in each of its log lines.
//! What somebody asks for at a door and what the engine is told because of it share one trace: see
//! [`trace_parent`].

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;
use crate::text;

/// The header and the annotation value by which a trace goes on elsewhere: W3C's `traceparent`.
pub const TRACEPARENT: &str = "traceparent";

/// How long a batch of spans may take to be sent.
const EXPORT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The collector's URL, or the client for it.
    #[error("--otlp-endpoint can't be used: {0}")]
    Endpoint(String),
}

/// What was started.
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Sends what hasn't been sent yet.
    pub async fn flush(self) {
        let Self(provider) = self;
        // It blocks, at most for as long as one batch may take.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown()).await;
    }
}

/// Starts logging to standard error, and sending traces to `endpoint` if there is one.
///
/// # Errors
/// When the endpoint can't be used.
pub fn start(format: LogFormat, endpoint: Option<&str>) -> Result<Telemetry, Error> {
    let mut provider = SdkTracerProvider::builder().with_resource(
        Resource::builder()
            .with_service_name("sluice")
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build(),
    );
    if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) {
        provider = provider.with_batch_exporter(exporter(endpoint)?);
    }
    let provider = provider.build();
    let filter = EnvFilter::try_from_env("SLUICE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn"));
    let log = tracing_subscriber::fmt::layer().with_writer(move || Lines {
        format,
        to: std::io::stderr(),
    });
    let log = match format {
        LogFormat::Text => log.with_ansi(false).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("sluice"));
    // A second attempt finds the first one's subscriber, which is as good.
    let _ = tracing_subscriber::registry()
        .with(spans)
        .with(log)
        .with(filter)
        .try_init();
    Ok(Telemetry(provider))
}

/// Writes what is logged so that each event is one line, in which nothing steers a terminal or turns the
/// direction of reading. People and engines choose much of what is logged, and whoever reads a log must be able
/// to believe where a line begins.
struct Lines<W> {
    format: LogFormat,
    to: W,
}

impl<W: std::io::Write> std::io::Write for Lines<W> {
    /// Takes a whole event: the layer above writes each at once.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = match self.format {
            LogFormat::Text => text::line(line),
            LogFormat::Json => text::json_line(line),
        };
        self.to.write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

fn exporter(endpoint: &str) -> Result<opentelemetry_otlp::SpanExporter, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Endpoint(error.to_string());
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A blocking client mustn't be made on a thread that runs async code.
    let client = std::thread::spawn(|| {
        reqwest::blocking::Client::builder()
            .timeout(EXPORT_TIMEOUT)
            .build()
    });
    let client = client
        .join()
        .map_err(|_| wrong(&"no HTTP client could be made"))?
        .map_err(|error| wrong(&error))?;
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| wrong(&error))
}

/// Makes a span the child of what `traceparent` names, if it names anything, and gives the span its
/// field `trace_id`, which it must have been made with, empty.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        let parent = TraceContextPropagator::new().extract(&carrier);
        if parent.span().span_context().is_valid() {
            // It fails only where nothing listens to spans at all.
            let _ = span.set_parent(parent);
        }
    }
    let context = span.context();
    let id = context.span().span_context().trace_id();
    span.record("trace_id", tracing::field::display(id));
}

/// The `traceparent` by which something else goes on with the current span's trace. `None` where
/// nothing listens to spans.
pub fn trace_parent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written when this is logged.
    fn logged(format: LogFormat, log: impl Fn()) -> String {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("no panic").extend_from_slice(text);
                Ok(text.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let to = kept.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || Lines {
            format,
            to: to.clone(),
        });
        let layer = match format {
            LogFormat::Text => layer.with_ansi(false).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_log_line_is_one_line_whatever_people_and_engines_write() {
        let forged =
            "alice\u{1b}[2K\r\n2026-01-01T00:00:00Z  INFO sluice: approved by \u{202e}bob\u{9b}2J";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || {
                tracing::warn!(pipeline = forged, error = %forged, odd = ?forged, "{forged}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.trim_end().contains(text::deceives), "{text:?}");
            if format == LogFormat::Json {
                let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(
                    (&line["message"], &line["error"]),
                    (&forged.into(), &forged.into())
                );
            }
        }
    }
}
