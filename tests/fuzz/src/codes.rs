//! What a person types and a program shows: enrolment codes, an agent's code, device codes, mailed tokens.
//!
//! In the input `\x01` stands for the secret of an enrolment link, `\x02` for the code of an agent's request, `\x03` for a
//! device code, `\x04` for a mailed token: no fuzzer finds one, and what matters is what is taken for one.
//! What holds: a code opens only in its own alphabet and whole, up to what the page says it forgives: case, blanks
//! around, the link around.

use crate::world::{World, with_world};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::Duration;
use td_server::clock::later;
use td_server::control::NewEnrolment;
use td_server::secret;

struct Good {
    /// Of which world they are.
    project: String,
    enrolment: String,
    agent: String,
    device: String,
    token: String,
}

thread_local! {
    static GOOD: RefCell<Option<Good>> = const { RefCell::new(None) };
}

pub fn run(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    with_world(|world| {
        GOOD.with_borrow_mut(|kept| {
            if kept.as_ref().is_none_or(|g| g.project != world.project) {
                *kept = Some(Good::make(world));
            }
            if let Some(good) = kept {
                let typed = input.replace('\x01', &good.enrolment).replace('\x02', &good.agent);
                let typed = typed.replace('\x03', &good.device).replace('\x04', &good.token);
                check(world, good, &typed);
            }
        });
    });
}

impl Good {
    fn make(world: &World) -> Self {
        let asked = world.post("/v1/keys/requests", br#"{"name":"agent"}"#).json();
        let verifier =
            json!({"email": "ana@test.local", "code_challenge": "x", "code_challenge_method": "S256"});
        let begun = world.post("/v1/auth/device/start", verifier.to_string().as_bytes());
        let device = begun.json()["device_code"].as_str().expect("a device code").to_string();
        let mail = world.app.post.last().expect("a mail").text;
        let token = mail.split_once("token=").expect("a link").1;
        let token = token.split_whitespace().next().expect("a token").to_string();
        let text = |answer: &Value, name: &str| answer[name].as_str().expect("text").to_string();
        Self {
            project: world.project.clone(),
            enrolment: enrolment(world),
            agent: text(&asked, "user_code"),
            device,
            token,
        }
    }
}

/// A fresh link for the account.
fn enrolment(world: &World) -> String {
    let (control, secret) = (&world.app.control, secret::enrolment().expect("random"));
    let user = control.store().user_by_email("ana@test.local").expect("read").expect("known");
    let expires_at = later(control.now(), Duration::from_secs(3600));
    let new =
        NewEnrolment { secret_hash: secret::hash(&secret), user_id: user.id, project: None, expires_at };
    let now = control.now();
    control.change_now(|s| s.create_enrolment(&new, now)).expect("stored");
    secret
}

fn check(world: &World, good: &mut Good, typed: &str) {
    let form = |name: &str| format!("{name}={}", escaped(typed)).into_bytes();
    let json =
        |name: &str| json!({name: typed, "code_verifier": "v", "device_name": "d"}).to_string().into_bytes();

    // The page that forgives most: the whole link, or what stands behind its `#`.
    let listed = world.post("/auth/device/code", &form("code"));
    let core = typed.trim().rsplit('#').next().unwrap_or_default().split('.').next().unwrap_or_default();
    let is_known = !String::from_utf8_lossy(&listed.body).contains("No such code");
    assert_eq!(
        (listed.status, is_known),
        (StatusCode::OK, core.eq_ignore_ascii_case(&good.enrolment)),
        "{typed:?}"
    );

    let enrolled = world.post("/v1/enroll", &json("secret"));
    let should = typed.trim().eq_ignore_ascii_case(&good.enrolment);
    assert_eq!(enrolled.status.is_success(), should, "{typed:?}: {}", enrolled.status);
    if should {
        good.enrolment = enrolment(world);
    }

    let path = format!("/v1/keys/requests/{}", escaped(typed));
    if let Some(looked) = world.ask(Method::GET, &path, &[], b"") {
        assert_eq!(looked.status == StatusCode::OK, typed.eq_ignore_ascii_case(&good.agent), "{typed:?}");
        assert!(
            looked.status.is_success() || looked.status.is_client_error() || looked.status.is_redirection()
        );
    }

    // Pending and unknown are not told apart, and the verifier is wrong: no text gets a key here.
    let polled = world.post("/v1/auth/device/poll", &json("device_code"));
    let pending = polled.status == StatusCode::OK && polled.json() == json!({"status": "pending"});
    assert!(
        pending || polled.status == StatusCode::BAD_REQUEST && typed.is_empty(),
        "{typed:?}: {}",
        polled.status
    );

    let page = world.ask(
        Method::GET,
        &format!("/auth/device/approve?{}", String::from_utf8_lossy(&form("token"))),
        &[],
        b"",
    );
    let page = page.expect("escaped");
    let has_two_halves = typed.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    assert_eq!(page.status == StatusCode::OK, has_two_halves, "{typed:?}");
    // A page shows what was typed, and never as a part of itself.
    let html = String::from_utf8_lossy(&page.body).into_owned() + &String::from_utf8_lossy(&listed.body);
    assert_eq!(html.matches("<script").count() + html.matches("<img").count(), 0, "{html}");
    let pressed = world.post("/auth/device/approve", &form("token"));
    let approved = String::from_utf8_lossy(&pressed.body).contains("Device approved");
    assert_eq!(approved, typed == good.token, "{typed:?}");
    if approved {
        // Used up, as is the one mail a minute that an address gets.
        world.wear_out();
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}
