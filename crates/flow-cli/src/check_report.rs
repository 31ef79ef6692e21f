//! What `flow check` says of a model: a table to read, an object to compute with.

use std::fmt::Write as _;

use flow_core::check::{Errors, Finding, Latent, Layer, LogDet, Method, OnRows, Report, Verdict};
use serde_json::{Value, json};

/// The largest errors of a layer, or of the whole flow.
pub struct Line {
    pub name: String,
    /// Of round trips on rows that are not far, relative, in f32 and in f64; nothing where no rows came.
    pub single: Option<f64>,
    pub double: Option<f64>,
    /// In f64 on rows that are far.
    pub far: Option<f64>,
    /// Of the log-determinant against the Jacobian's, relative.
    pub log_det: Option<f64>,
    pub verdict: Verdict,
}

/// A line a layer, data to latent, and the whole flow's last.
pub fn largest(report: &Report) -> Vec<Line> {
    let line = |name: &str, on: &[OnRows], log_det: Option<LogDet>, findings: &[Finding]| {
        let ((single, double), (_, far)) = (OnRows::worst(on, false), OnRows::worst(on, true));
        let [single, double, far] = [single, double, far].map(|errors| errors.map(|e| e.round_trip()));
        let log_det = log_det.map(|l| l.error.relative);
        Line { name: name.to_owned(), single, double, far, log_det, verdict: Verdict::of(findings) }
    };
    let layers = report.layers.iter().map(|layer| line(&layer.name, &layer.on, layer.log_det, &layer.findings));
    let whole = &report.whole;
    layers.chain([line("whole flow", &whole.on, whole.log_det, &whole.findings)]).collect()
}

/// The table, then what there is to say of it line by line.
pub fn as_text(title: &str, report: &Report) -> String {
    let mut text = format!("{title}, on {}\n\n", report.rows.join("; "));
    let lines = largest(report);
    let wide = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).max("layer".len());
    let _ = writeln!(
        text,
        "{:<wide$}  {:>14}  {:>10}  {:>10}  {:>16}  {:>10}  {:>7}  verdict",
        "layer", "round trip f32", "f64", "f64, T > 1", "log-det", "condition", "at edge"
    );
    let layers = report.layers.iter().map(Some).chain([None]);
    for (line, layer) in lines.iter().zip(layers) {
        let log_det = layer.map_or(report.whole.log_det, |layer| layer.log_det);
        let condition = layer.and_then(|layer| layer.scales).map(|scales| small(scales.condition()));
        let edge = layer.and_then(Layer::edge).map(|edge| format!("{:.1} %", 100.0 * edge.share));
        let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        let [single, double, far] = [line.single, line.double, line.far].map(|error| or_none(error.map(small)));
        let [log_det, condition, edge] = [log_det.map(of_log_det), condition, edge].map(or_none);
        let (name, verdict) = (&line.name, line.verdict.name());
        let _ = writeln!(
            text,
            "{name:<wide$}  {single:>14}  {double:>10}  {far:>10}  {log_det:>16}  {condition:>10}  {edge:>7}  {verdict}"
        );
    }
    text.push('\n');
    if let Some(latent) = &report.latent {
        let _ = writeln!(text, "{}", of_latent(latent));
    }
    let findings = findings(report);
    for (name, finding) in &findings {
        let _ = writeln!(text, "{:<4}  {name}: {}", finding.verdict.name(), finding.what);
    }
    let count = |verdict| findings.iter().filter(|(_, finding)| finding.verdict == verdict).count();
    let (fails, warns) = (count(Verdict::Fails), count(Verdict::Warns));
    let _ = writeln!(text, "{}: {fails} fault(s), {warns} warning(s)", report.verdict().name());
    text
}

/// Everything to be said, and of what.
fn findings(report: &Report) -> Vec<(&str, &Finding)> {
    let layers = report.layers.iter().map(|layer| (layer.name.as_str(), &layer.findings));
    let all = layers.chain([("whole flow", &report.whole.findings), ("latent", &report.latent_findings)]);
    all.flat_map(|(name, findings)| findings.iter().map(move |finding| (name, finding))).collect()
}

fn small(value: f64) -> String {
    match value {
        v if !v.is_finite() => "not finite".to_owned(),
        0.0 => "0".to_owned(),
        v if (0.1..1e4).contains(&v) => format!("{v:.1}"),
        v => format!("{v:.1e}"),
    }
}

/// As in `3.1e-15 exact` and `2.0e-4 probes`.
fn of_log_det(LogDet { method, error }: LogDet) -> String {
    let method = if method == Method::Exact { "exact" } else { "probes" };
    format!("{} {method}", small(error.relative))
}

fn of_latent(latent: &Latent) -> String {
    let all = &latent.coordinates;
    let least = |f: fn(f64, f64) -> f64, values: Vec<f64>| values.into_iter().reduce(f).unwrap_or(f64::NAN);
    let mean = least(f64::max, all.iter().map(|c| c.mean.abs()).collect());
    let variances: Vec<f64> = all.iter().map(|c| c.variance / latent.base_variance).collect();
    let (low, high) = (least(f64::min, variances.clone()), least(f64::max, variances));
    let farthest = latent.farthest().first().copied().unwrap_or(0);
    format!(
        "latent of {} rows: means within ±{mean:.3}; variances {low:.3} to {high:.3} of the base's; Kolmogorov's distance to the \
         base {:.3} in the median, {:.3} at most (coordinate {}); {} of {} coordinates beyond {:.3}, which of the base's own \
         draws 1 % are",
        latent.rows,
        latent.median_distance(),
        all[farthest].distance,
        farthest + 1,
        (latent.told_apart() * all.len() as f64).round(),
        all.len(),
        latent.critical,
    )
}

/// Errors by layer and rows, the latent by coordinate. What is not finite is `null`, as JSON has no such numbers.
pub fn as_json(report: &Report) -> Value {
    let on = |on: &[OnRows]| -> Vec<Value> {
        let on = on.iter().zip(&report.rows).map(|(on, rows)| {
            json!({
                "rows": rows, "far": on.far, "f32": on.single.map(of_errors), "f64": on.double.map(of_errors),
                "at_edge": on.edge.map(|edge| edge.share),
            })
        });
        on.collect()
    };
    let layer = |layer: &Layer| {
        json!({
            "name": layer.name, "verdict": layer.verdict().name(), "findings": of_findings(&layer.findings),
            "on": on(&layer.on), "log_det": layer.log_det.map(log_det_json),
            "far_log_det": layer.far_log_det.map(log_det_json),
            "scales": layer.scales.map(|s| json!({
                "smallest": s.smallest, "largest": s.largest, "condition": s.condition(), "mixes": s.mixes,
            })),
            "edge": layer.edge().map(|edge| edge.what),
            "rounded": layer.rounded.iter().map(|r| json!({
                "variable": r.name, "numbers": r.numbers, "fits": r.fits.name(),
            })).collect::<Vec<_>>(),
        })
    };
    let whole = &report.whole;
    json!({
        "verdict": report.verdict().name(),
        "layers": report.layers.iter().map(layer).collect::<Vec<_>>(),
        "whole": {
            "verdict": Verdict::of(&whole.findings).name(), "findings": of_findings(&whole.findings),
            "on": on(&whole.on),
            "composition": whole.composition.relative, "log_det": whole.log_det.map(log_det_json),
        },
        "latent": report.latent.as_ref().map(|latent| json!({
            "rows": latent.rows, "base_variance": latent.base_variance, "critical_distance": latent.critical,
            "median_distance": latent.median_distance(), "told_apart": latent.told_apart(),
            "findings": of_findings(&report.latent_findings),
            "mean": latent.coordinates.iter().map(|c| c.mean).collect::<Vec<_>>(),
            "variance": latent.coordinates.iter().map(|c| c.variance).collect::<Vec<_>>(),
            "distance": latent.coordinates.iter().map(|c| c.distance).collect::<Vec<_>>(),
        })),
    })
}

fn of_findings(findings: &[Finding]) -> Vec<Value> {
    findings.iter().map(|f| json!({ "verdict": f.verdict.name(), "what": f.what })).collect()
}

fn of_errors(errors: Errors) -> Value {
    json!({
        "round_trip_data": errors.round_trip_data.relative, "round_trip_latent": errors.round_trip_latent.relative,
        "log_det_sum_nats": errors.log_det_sum.absolute,
    })
}

fn log_det_json(LogDet { method, error }: LogDet) -> Value {
    let (method, resolution) = match method {
        Method::Probes { resolution } => ("probes", Some(resolution)),
        _ => ("exact", None),
    };
    json!({ "method": method, "error": error.relative, "error_nats": error.absolute, "resolution_nats": resolution })
}
