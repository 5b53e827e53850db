-- server.db, schema version 6: names, types and indexes of the reference (server-protocol 6.4), so that either program
-- opens what the other wrote. Everything of ours stands at the end under the prefix tdsync_, which the reference ignores.

CREATE TABLE schema_info (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO schema_info (key, value) VALUES ('version', '6');

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    email_verified_at DATETIME,
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    is_admin BOOLEAN NOT NULL DEFAULT 0
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    key_hash TEXT NOT NULL UNIQUE,
    key_prefix TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    scopes TEXT NOT NULL DEFAULT 'sync',
    expires_at DATETIME,
    last_used_at DATETIME,
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_api_keys_user ON api_keys(user_id);
CREATE INDEX idx_api_keys_prefix ON api_keys(key_prefix);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at DATETIME,
    event_count INTEGER NOT NULL DEFAULT 0,
    last_event_at DATETIME,
    slug TEXT
);
CREATE INDEX idx_projects_deleted ON projects(deleted_at);
CREATE UNIQUE INDEX idx_projects_slug ON projects(slug);

CREATE TABLE memberships (
    project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'writer', 'reader')),
    invited_by TEXT NOT NULL DEFAULT '',
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX idx_memberships_user ON memberships(user_id);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'writer', 'reader')),
    invited_by TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'declined', 'expired')),
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    expires_at DATETIME NOT NULL,
    accepted_at DATETIME
);
CREATE INDEX idx_invitations_project ON invitations(project_id);
CREATE INDEX idx_invitations_email_status ON invitations(email, status);
CREATE INDEX idx_invitations_cleanup ON invitations(status, expires_at);
CREATE UNIQUE INDEX idx_invitations_token_hash ON invitations(token_hash);

CREATE TABLE sync_cursors (
    project_id TEXT NOT NULL REFERENCES projects(id),
    client_id TEXT NOT NULL,
    last_event_id BIGINT NOT NULL DEFAULT 0,
    last_sync_at DATETIME,
    PRIMARY KEY (project_id, client_id)
);

CREATE TABLE auth_requests (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    device_code TEXT NOT NULL UNIQUE,
    user_code TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL DEFAULT 'pending',
    user_id TEXT,
    api_key_id TEXT,
    expires_at DATETIME NOT NULL,
    verified_at DATETIME,
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_auth_requests_device_code ON auth_requests(device_code);
CREATE INDEX idx_auth_requests_user_code ON auth_requests(user_code);
CREATE INDEX idx_auth_requests_status ON auth_requests(status);
CREATE INDEX idx_auth_requests_cleanup ON auth_requests(status, expires_at);

CREATE TABLE auth_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    auth_request_id TEXT NOT NULL,
    email TEXT NOT NULL,
    event_type TEXT NOT NULL,
    metadata TEXT DEFAULT '{}',
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_auth_events_type ON auth_events(event_type);
CREATE INDEX idx_auth_events_email ON auth_events(email);
CREATE INDEX idx_auth_events_created ON auth_events(created_at);

CREATE TABLE rate_limit_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT,
    ip TEXT,
    endpoint_class TEXT NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_rle_created ON rate_limit_events(created_at);
CREATE INDEX idx_rle_key ON rate_limit_events(key_id);

CREATE TABLE auth_email_challenges (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('web_login', 'device_login', 'email_verify', 'admin_login')),
    email TEXT NOT NULL,
    user_id TEXT REFERENCES users(id) ON DELETE SET NULL,
    selector TEXT NOT NULL UNIQUE,
    token_hash TEXT NOT NULL,
    otp_hash TEXT,
    device_code_hash TEXT,
    code_challenge TEXT,
    code_challenge_method TEXT,
    redirect_uri TEXT,
    state_hash TEXT,
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'verified', 'consumed', 'expired', 'failed', 'suppressed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    ip TEXT,
    user_agent TEXT,
    expires_at DATETIME NOT NULL,
    verified_at DATETIME,
    consumed_at DATETIME,
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_auth_email_challenges_email_created ON auth_email_challenges(email, created_at);
CREATE INDEX idx_auth_email_challenges_device ON auth_email_challenges(device_code_hash);
CREATE INDEX idx_auth_email_challenges_cleanup ON auth_email_challenges(status, expires_at);
