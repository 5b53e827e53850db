-- Tables of ours, and an index, beside the reference's. It ignores them, and may replace the whole file without them (a bootstrap):
-- nothing here is a truth of its own. All but tdsync_before can be computed again from the log.

-- 'rules': the apply rules that made the rows; 'cursor': the newest sequence they contain.
CREATE TABLE IF NOT EXISTS tdsync_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Who wrote a field last. Field '' speaks for every field of the row that has no entry of its own.
CREATE TABLE IF NOT EXISTS tdsync_register (
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    field TEXT NOT NULL,
    seq INTEGER NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (entity_type, entity_id, field)
) WITHOUT ROWID;

-- The losing sides (law 8).
CREATE TABLE IF NOT EXISTS tdsync_conflict (
    id TEXT NOT NULL,
    winner_seq INTEGER NOT NULL,
    loser_seq INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    winner_device TEXT NOT NULL,
    loser_device TEXT NOT NULL,
    loser TEXT NOT NULL,
    winner TEXT NOT NULL,
    PRIMARY KEY (winner_seq, loser_seq, entity_type, entity_id)
) WITHOUT ROWID;

-- Rows as the log has them, for rows that local changes of this device have touched since. NULL: no such row.
CREATE TABLE IF NOT EXISTS tdsync_before (
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    image TEXT,
    PRIMARY KEY (entity_type, entity_id)
) WITHOUT ROWID;

-- Not a table, and on one of the reference's, which keeps it up to date without knowing it: "what depends on this issue"
-- is asked for every new edge (the cycle rule) and for every issue that goes. By this column alone, so that rows come in
-- the order in which they came without it.
CREATE INDEX IF NOT EXISTS tdsync_dependents ON issue_dependencies(depends_on_id);
