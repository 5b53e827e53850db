-- Tables of ours in server.db. Created at every open, so that a file that went through the reference has them again.

CREATE TABLE IF NOT EXISTS tdsync_enrolments (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    project_id TEXT REFERENCES projects(id) ON DELETE CASCADE,
    role TEXT CHECK (role IN ('owner', 'writer', 'reader')),
    created_at DATETIME NOT NULL,
    expires_at DATETIME NOT NULL,
    used_at DATETIME,
    key_id TEXT
);

-- Links that an owner hands over for an invitation: as good as the invitation.
CREATE TABLE IF NOT EXISTS tdsync_invitation_links (
    enrolment_id TEXT PRIMARY KEY REFERENCES tdsync_enrolments(id) ON DELETE CASCADE,
    invitation_id TEXT NOT NULL
) WITHOUT ROWID;

-- Accounts that somebody's invitation made and whose address nobody has proven: only that person's word stands for it.
CREATE TABLE IF NOT EXISTS tdsync_vouched (
    user_id TEXT PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
    by_user TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tdsync_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at DATETIME NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    project_id TEXT,
    detail TEXT NOT NULL DEFAULT '{}'
);

-- Keys that may do less than their maker: for agents, and public links. Go never reads them.
CREATE TABLE IF NOT EXISTS tdsync_tokens (
    id TEXT PRIMARY KEY,
    key_hash TEXT NOT NULL UNIQUE,
    key_prefix TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('agent', 'link')),
    name TEXT NOT NULL,
    maker TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    created_at DATETIME NOT NULL,
    expires_at DATETIME,
    last_used_at DATETIME,
    max_events INTEGER,
    used_events INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS tdsync_tokens_maker ON tdsync_tokens(maker);

CREATE TABLE IF NOT EXISTS tdsync_grants (
    token_id TEXT NOT NULL REFERENCES tdsync_tokens(id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('writer', 'reader')),
    PRIMARY KEY (token_id, project_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tdsync_grants_project ON tdsync_grants(project_id);

CREATE TABLE IF NOT EXISTS tdsync_token_requests (
    id TEXT PRIMARY KEY,
    poll_hash TEXT NOT NULL UNIQUE,
    user_code TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    client TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    expires_at DATETIME NOT NULL,
    approved TEXT,          -- the terms, as JSON
    approver TEXT REFERENCES users(id) ON DELETE CASCADE,
    used_at DATETIME
);
