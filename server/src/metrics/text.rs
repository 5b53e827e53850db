//! The numbers as Prometheus reads them: text format 0.0.4.
//!
//! By hand and not by a crate: the format is lines, and our label values are words of ours and project ids, so nothing
//! has to be escaped (`docs/decisions/0010-metrics-by-hand.md`).

use super::{Histogram, Metrics, ProjectSize, RequestClass, STATUSES};
use axum::http::HeaderValue;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

/// Most projects that get a line of their own; the others are summed up.
const MOST_PROJECTS: usize = 20;

/// The media type of the page.
pub fn content_type() -> HeaderValue {
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8")
}

/// A page of numbers that is being written.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Begins a family: all its lines follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A family of one number.
    pub fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.line(name, &[], value);
    }

    /// A number. `labels` hold neither quotes nor backslashes.
    pub fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// The lines of a distribution. `unit` is what one of the histogram's values is in the unit of the name.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], values: &Histogram, unit: f64) {
        let (bounds, count, sum) = values.read();
        let bucket = format!("{name}_bucket");
        let with = |le: &str, page: &mut Self, n: u64| {
            let all: Vec<_> = labels.iter().copied().chain([("le", le)]).collect();
            page.line(&bucket, &all, n);
        };
        for (bound, upto) in bounds {
            with(&(bound as f64 * unit).to_string(), self, upto);
        }
        with("+Inf", self, count);
        self.line(&format!("{name}_sum"), labels, sum as f64 * unit);
        self.line(&format!("{name}_count"), labels, count);
    }

    /// The largest of many projects by name, the rest together as `others`.
    pub fn projects<'a>(&mut self, name: &str, values: impl Iterator<Item = (&'a str, i64)>) {
        let mut all: Vec<_> = values.collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let others = all.split_off(all.len().min(MOST_PROJECTS));
        for (project, value) in all {
            self.line(name, &[("project", project)], value);
        }
        if !others.is_empty() {
            self.line(name, &[("project", "others")], others.iter().map(|(_, v)| v).sum::<i64>());
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Metrics {
    /// Everything that is counted here.
    pub fn write(&self, page: &mut Page) {
        self.requests(page);
        let summary = self.summary();
        let uptime = summary.uptime_seconds;
        page.one("td_sync_uptime_seconds", "gauge", "Since the start of the process.", uptime);
        let stored = summary.push_events_accepted;
        page.one("td_sync_pushed_events_total", "counter", "Events that pushes stored.", stored);
        match self.certificate_ends.load(Ordering::Relaxed) {
            0 => {}
            ends => {
                let now = crate::clock::system()().unix_nanos() / 1_000_000_000;
                let days = (i128::from(ends) - now) as f64 / 86_400.0;
                page.one("td_sync_certificate_days", "gauge", "Until the certificate in use ends.", days);
            }
        }
        let sizes = self.sizes().clone();
        let of = |size: fn(&ProjectSize) -> i64| sizes.iter().map(move |s| (s.project.as_str(), size(s)));
        page.family("td_sync_project_events", "gauge", "Events in a project's log, the largest by name.");
        page.projects("td_sync_project_events", of(|s| s.events));
        page.family("td_sync_project_bytes", "gauge", "Bytes of a project's files, the largest by name.");
        page.projects("td_sync_project_bytes", of(|s| i64::try_from(s.bytes).unwrap_or(i64::MAX)));
    }

    fn requests(&self, page: &mut Page) {
        const REQUESTS: &str = "td_sync_requests_total";
        page.family(REQUESTS, "counter", "Answered requests by kind and status.");
        let mut refused = Vec::new();
        for class in RequestClass::ALL {
            let counts = &self.requests[class as usize];
            for (status, count) in STATUSES.iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                let shown = if *status == 0 { "other".to_string() } else { status.to_string() };
                if count > 0 {
                    page.line(REQUESTS, &[("class", class.as_str()), ("status", &shown)], count);
                }
                if *status == 429 {
                    refused.push((class, count));
                }
            }
        }
        const REFUSED: &str = "td_sync_rate_limited_total";
        page.family(REFUSED, "counter", "Requests that a limit refused (status 429), by kind.");
        for (class, count) in refused {
            page.line(REFUSED, &[("class", class.as_str())], count);
        }
        const TOOK: &str = "td_sync_request_duration_seconds";
        page.family(TOOK, "histogram", "From the head of the request to the head of the answer, by kind.");
        for class in RequestClass::ALL {
            page.histogram(TOOK, &[("class", class.as_str())], &self.durations[class as usize], 1e-6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_are_as_the_text_format_has_them() {
        let mut page = Page::default();
        let h = Histogram::new(&[1_000, 2_500]);
        h.add(1_000);
        h.add(9_000);
        page.family("x", "histogram", "Helps.");
        page.histogram("x", &[("class", "push")], &h, 1e-6);
        page.one("y", "gauge", "Also.", 1.5);
        assert_eq!(
            page.finish(),
            "# HELP x Helps.\n# TYPE x histogram\nx_bucket{class=\"push\",le=\"0.001\"} 1\n\
             x_bucket{class=\"push\",le=\"0.0025\"} 1\nx_bucket{class=\"push\",le=\"+Inf\"} 2\n\
             x_sum{class=\"push\"} 0.01\nx_count{class=\"push\"} 2\n# HELP y Also.\n# TYPE y gauge\ny 1.5\n"
        );
    }

    #[test]
    fn many_projects_do_not_make_many_lines() {
        let names: Vec<String> = (0..1000).map(|n| format!("p_{n:04}")).collect();
        let mut page = Page::default();
        page.projects("s", names.iter().enumerate().map(|(n, name)| (name.as_str(), n as i64)));
        let text = page.finish();
        assert_eq!(text.lines().count(), MOST_PROJECTS + 1);
        assert!(text.starts_with("s{project=\"p_0999\"} 999\n"));
        assert!(text.ends_with(&format!("s{{project=\"others\"}} {}\n", (0..980).sum::<i64>())));
    }

    #[test]
    fn a_refusal_by_a_limit_is_told_by_its_kind() {
        let m = Metrics::default();
        m.answered("/v1/projects/p/sync/push", 429, Duration::ZERO);
        let mut page = Page::default();
        m.write(&mut page);
        let text = page.finish();
        assert!(text.contains("td_sync_rate_limited_total{class=\"push\"} 1\n"), "{text}");
        assert!(text.contains("td_sync_requests_total{class=\"push\",status=\"429\"} 1\n"), "{text}");
        assert!(!text.contains("certificate"), "no certificate, no days of it");
    }
}
