//! How people sign in.

use super::{ConfigError, value};

/// How people sign in.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// Whether strangers may make an account.
    pub allow_signup: bool,
    /// Whether the first of them becomes an admin.
    pub first_user_admin: bool,
    /// Address in mailed device links; without a trailing slash.
    pub email_base_url: String,
    /// Address of the web page that ends a web login; the only one that may be asked for.
    pub web_callback: Option<String>,
    /// Whether the development mailbox can be read, and a mailed link approves by being looked at.
    pub dev_inspect: bool,
}

impl LoginSettings {
    /// From the texts of the settings. `base_url` stands in for an address that is not given.
    pub(super) fn read(text: impl Fn(&str) -> String, base_url: &str) -> Result<Self, ConfigError> {
        let bad = |name: &str| ConfigError(vec![format!("{name}: {:?} cannot be used", text(name))]);
        let flag = |name: &str| value::parse_flag(&text(name)).ok_or_else(|| bad(name));
        let some = |name: &str| Some(text(name)).filter(|t| !t.is_empty());
        let email_base_url = some("SYNC_EMAIL_BASE_URL").unwrap_or_else(|| base_url.to_string());
        let dev_inspect = flag("SYNC_DEV_EMAIL_INSPECT")?;
        if dev_inspect && text("SYNC_EMAIL_PROVIDER") != "memory" {
            let why = "SYNC_DEV_EMAIL_INSPECT goes only with SYNC_EMAIL_PROVIDER=memory: with it, a scanner that looks at \
                       a mailed link approves the login";
            return Err(ConfigError(vec![why.into()]));
        }
        Ok(Self {
            allow_signup: flag("SYNC_ALLOW_SIGNUP")?,
            first_user_admin: flag("SYNC_FIRST_USER_ADMIN")?,
            email_base_url: email_base_url.trim_end_matches('/').into(),
            web_callback: some("SYNC_AUTH_WEB_CALLBACK_URL"),
            dev_inspect,
        })
    }
}
