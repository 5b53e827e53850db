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

CREATE TABLE IF NOT EXISTS tdsync_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at DATETIME NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    project_id TEXT,
    detail TEXT NOT NULL DEFAULT '{}'
);
