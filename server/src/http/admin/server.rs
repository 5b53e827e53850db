//! `/v1/admin/server/*`: state, settings, refused calls.

use super::listing::{page, records};
use super::{Admin, ReadServer};
use crate::http::App;
use crate::http::answer::json;
use crate::http::error::ApiError;
use crate::http::query::Query;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// GET `…/server/overview`
pub async fn overview(State(app): State<Arc<App>>, admin: Admin<ReadServer>) -> Result<Response, ApiError> {
    let healthy = app.control.ask(|s| s.ping()).await.is_ok();
    let totals = app.control.ask(|s| s.totals()).await;
    let totals = totals.map_err(|e| ApiError::admin("failed to count users", e))?;
    let metrics = app.metrics.summary();
    let body = json!({
        "uptime_seconds": metrics.uptime_seconds,
        "health": if healthy { "ok" } else { "error" },
        "metrics": metrics,
        "total_projects": totals.projects,
        "total_users": totals.users,
        "total_members": totals.members,
        "caller_user_id": admin.0.user_id,
    });
    Ok(json(StatusCode::OK, &body))
}

/// GET `…/server/config`
pub async fn config(State(app): State<Arc<App>>, _: Admin<ReadServer>) -> Response {
    let (config, limits, operating) = (&app.config, &app.config.limits, &app.config.operating);
    let body = json!({
        "listen_addr": config.listen.setting(),
        "allow_signup": config.login.allow_signup,
        "log_level": config.log_level,
        "log_format": config.log_format.as_str(),
        "rate_limits": {"auth": limits.auth, "push": limits.push, "pull": limits.pull, "other": limits.other},
        "cors_origins": operating.cors_origins,
        "auth_event_retention": shown(operating.auth_event_retention),
        "rate_limit_event_retention": shown(operating.refusal_retention),
    });
    json(StatusCode::OK, &body)
}

/// Whole days as `90d`, anything else as Go prints a duration (`36h0m0s`).
fn shown(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if duration.subsec_nanos() == 0 && seconds.is_multiple_of(86_400) {
        return format!("{}d", seconds / 86_400);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction =
        if millis == 0 { String::new() } else { format!(".{millis:03}").trim_end_matches('0').into() };
    let rest = format!("{}{fraction}s", seconds % 60);
    match (hours, minutes) {
        (0, 0) if seconds == 0 => format!("{millis}ms"),
        (0, 0) => rest,
        (0, m) => format!("{m}m{rest}"),
        (h, m) => format!("{h}h{m}m{rest}"),
    }
}

/// GET `…/server/rate-limit-violations`
pub async fn violations(
    State(app): State<Arc<App>>,
    _: Admin<ReadServer>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to query rate limit events";
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let which = records(&query, FAILED)?;
    let text = |name: &str| query.text(name).map(str::to_string);
    let (key, ip) = (text("key_id"), text("ip"));
    let found = app.control.seen(move |s| s.refusals(key.as_deref(), ip.as_deref(), &which)).await;
    let found = found.map_err(|e| ApiError::admin(FAILED, e))?;
    Ok(page(found, |r| r.id.to_string(), |r| json!(r)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_the_reference_shows_them() {
        for (millis, text) in [
            (90 * 86_400_000, "90d"),
            (36 * 3_600_000, "36h0m0s"),
            (90_000, "1m30s"),
            (1_500, "1.5s"),
            (3_600_000, "1h0m0s"),
            (250, "250ms"),
        ] {
            assert_eq!(shown(Duration::from_millis(millis)), text);
        }
    }
}
