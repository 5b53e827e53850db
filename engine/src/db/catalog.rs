//! What the synced tables of an open database look like: asked once per open, so that no event asks again.
//!
//! Danger: column order differs between a fresh and a migrated file; everything here goes by name.

use super::row::Row;
use crate::taxonomy::{SYNCED, WORK_SESSION_LOCAL};
use crate::time::ClientTime;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

/// Tables of one device whose rows hang on synced rows, so that a cascade reaches them.
const LOCAL_CHILDREN: [&str; 2] = ["git_snapshots", "issue_session_history"];

/// The synced tables and the local ones that hang on them.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) tables: Vec<Table>,
    /// Whether this is a server's live view, with the reference's cursor table.
    pub(crate) has_applied_events: bool,
}

/// One table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, which for a synced table is the entity type.
    pub name: String,
    /// Columns as declared.
    pub columns: Vec<Column>,
    /// Whether events may change it.
    pub synced: bool,
    pub(crate) id: usize,
    pub(crate) parents: Vec<Parent>,
    pub(crate) children: Vec<Child>,
    /// Column sets that must be unique, besides the id.
    pub(crate) uniques: Vec<Unique>,
    pub(crate) find: String,
    /// Every row but the built-in board, by id.
    pub(crate) list: String,
    pub(crate) exists: String,
    pub(crate) insert: String,
    pub(crate) replace: String,
    pub(crate) remove: String,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Compared by instant.
    pub is_time: bool,
    /// TEXT affinity: a number becomes text here.
    pub(crate) is_text: bool,
    pub(crate) not_null: bool,
    pub(crate) default: Default,
    /// Declared `TEXT DEFAULT ''`: a JSON null means '' here.
    pub(crate) null_is_empty: bool,
    /// Each copy's own: an event leaves it as it is (`worktree_*` of work sessions, `boards.is_builtin`).
    pub(crate) kept: bool,
}

/// What a column holds if nothing is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Default {
    Literal(Value),
    /// CURRENT_TIMESTAMP in the file; the time of the event for us, so that state stays a function of the log.
    EventTime,
}

/// A single-column foreign key that cascades.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub column: usize,
    pub table: usize,
}

/// The other end of a [`Parent`].
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub table: usize,
    /// Finds the rows that hang on one id.
    pub find: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Unique {
    pub columns: Vec<usize>,
    /// Finds the rows of other ids with the same values; the own id is the last parameter.
    pub find_other: String,
}

impl Table {
    /// Position of a column.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// One row.
    pub fn row(&self, conn: &Connection, id: &str) -> rusqlite::Result<Option<Row>> {
        let width = self.columns.len();
        conn.prepare_cached(&self.find)?.query_row([id], |r| Row::read(r, width)).optional()
    }

    /// The rows by id, without the built-in board.
    pub fn rows(&self, conn: &Connection) -> rusqlite::Result<Vec<Row>> {
        conn.prepare_cached(&self.list)?.query_map([], |r| Row::read(r, self.columns.len()))?.collect()
    }

    /// A row with nothing given, made at this moment.
    pub fn default_row(&self, now: ClientTime) -> Row {
        Row(self.columns.iter().map(|c| c.default.value(now)).collect())
    }

    fn column_list(&self) -> String {
        self.columns.iter().map(|c| quoted(&c.name)).collect::<Vec<_>>().join(", ")
    }
}

impl Catalog {
    /// Reads the catalog of a database. `Err` names what is missing for schema 38.
    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Result<Self, String>> {
        let names: Vec<&str> = SYNCED.iter().chain(&LOCAL_CHILDREN).copied().collect();
        let mut tables = Vec::with_capacity(names.len());
        for name in &names {
            let columns = columns(conn, name)?;
            let Some(id) = columns.iter().position(|c| c.name == "id") else {
                return Ok(Err(format!("table {name}")));
            };
            tables.push(Table::new(name, columns, id));
        }
        for t in 0..tables.len() {
            link_parents(conn, &mut tables, t)?;
            tables[t].uniques = uniques(conn, &tables[t])?;
        }
        let mut probe =
            conn.prepare("SELECT 1 FROM sqlite_master WHERE type='table' AND name='applied_events'")?;
        let has_applied_events = probe.exists([])?;
        Ok(Ok(Self { tables, has_applied_events }))
    }

    /// The table that events of this type change; `None` for every type that is not synced.
    pub fn synced(&self, entity_type: &str) -> Option<&Table> {
        self.tables.iter().find(|t| t.synced && t.name == entity_type)
    }

    /// Every synced table, parents before children.
    pub fn synced_tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(|t| t.synced)
    }

    /// One of the tables.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|t| t.name == name)
    }
}

impl Table {
    fn new(name: &str, columns: Vec<Column>, id: usize) -> Self {
        let mut table = Self {
            name: name.into(),
            columns,
            synced: SYNCED.contains(&name),
            id,
            parents: Vec::new(),
            children: Vec::new(),
            uniques: Vec::new(),
            find: String::new(),
            list: String::new(),
            exists: format!("SELECT 1 FROM {} WHERE id = ?1", quoted(name)),
            insert: String::new(),
            replace: String::new(),
            remove: format!("DELETE FROM {} WHERE id = ?1", quoted(name)),
        };
        let list = table.column_list();
        let holes = vec!["?"; table.columns.len()].join(", ");
        table.find = format!("SELECT {list} FROM {} WHERE id = ?1", quoted(name));
        let but = if name == "boards" { " WHERE NOT is_builtin" } else { "" };
        table.list = format!("SELECT {list} FROM {}{but} ORDER BY id COLLATE BINARY", quoted(name));
        table.insert = format!("INSERT INTO {} ({list}) VALUES ({holes})", quoted(name));
        table.replace = format!("INSERT OR REPLACE INTO {} ({list}) VALUES ({holes})", quoted(name));
        table
    }
}

fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut ask =
        conn.prepare_cached(r#"SELECT name, type, "notnull", dflt_value FROM pragma_table_info(?1)"#)?;
    let rows = ask.query_map([table], |r| {
        let (name, kind): (String, String) = (r.get(0)?, r.get(1)?);
        let default: Option<String> = r.get(3)?;
        let note_time =
            table == "notes" && ["created_at", "updated_at", "deleted_at"].contains(&name.as_str());
        Ok(Column {
            is_time: kind == "DATETIME" || note_time,
            is_text: kind == "TEXT",
            not_null: r.get(2)?,
            null_is_empty: kind == "TEXT" && default.as_deref() == Some("''"),
            default: Default::parse(default.as_deref()),
            kept: match table {
                "work_sessions" => WORK_SESSION_LOCAL.contains(&name.as_str()),
                "boards" => name == "is_builtin",
                _ => false,
            },
            name,
        })
    })?;
    rows.collect()
}

impl Default {
    pub(crate) fn value(&self, now: ClientTime) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::EventTime => Value::Text(now.fixed_utc()),
        }
    }

    fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Literal(Value::Null) };
        if text.eq_ignore_ascii_case("CURRENT_TIMESTAMP") {
            return Self::EventTime;
        }
        let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
        Self::Literal(match (inner, text.parse()) {
            (Some(inner), _) => Value::Text(inner.replace("''", "'")),
            (None, Ok(number)) => Value::Integer(number),
            (None, Err(_)) => Value::Null,
        })
    }
}

fn link_parents(conn: &Connection, tables: &mut [Table], t: usize) -> rusqlite::Result<()> {
    // Order of foreign_key_list: the first missing parent in this order is the one that is reported.
    let mut ask = conn.prepare_cached(
        r#"SELECT id, "from", "table" FROM pragma_foreign_key_list(?1) WHERE on_delete = 'CASCADE' ORDER BY id, seq"#,
    )?;
    let keys: Vec<(i64, String, String)> = ask
        .query_map([&tables[t].name], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (key, from, parent) in &keys {
        let composite = keys.iter().filter(|(k, ..)| k == key).count() > 1;
        let parent = tables.iter().position(|p| p.name == *parent);
        let (Some(column), Some(parent), false) = (tables[t].column_index(from), parent, composite) else {
            continue;
        };
        let find = format!(
            "SELECT {} FROM {} WHERE {} = ?1",
            tables[t].column_list(),
            quoted(&tables[t].name),
            quoted(from)
        );
        tables[t].parents.push(Parent { column, table: parent });
        tables[parent].children.push(Child { table: t, find });
    }
    Ok(())
}

fn uniques(conn: &Connection, table: &Table) -> rusqlite::Result<Vec<Unique>> {
    let mut ask = conn.prepare_cached(
        r#"SELECT l.name, i.name FROM pragma_index_list(?1) l, pragma_index_info(l.name) i
           WHERE l."unique" AND l.origin = 'u' ORDER BY l.seq, i.seqno"#,
    )?;
    let mut found: Vec<(String, Vec<usize>)> = Vec::new();
    let mut rows = ask.query([&table.name])?;
    while let Some(r) = rows.next()? {
        let (index, column): (String, String) = (r.get(0)?, r.get(1)?);
        let Some(column) = table.column_index(&column) else { continue };
        match found.iter_mut().find(|(name, _)| *name == index) {
            Some((_, columns)) => columns.push(column),
            None => found.push((index, vec![column])),
        }
    }
    let unique = |(_, columns): (String, Vec<usize>)| {
        let same: Vec<_> =
            columns.iter().map(|c| format!("{} = ?", quoted(&table.columns[*c].name))).collect();
        let find_other = format!(
            "SELECT {} FROM {} WHERE {} AND id <> ?",
            table.column_list(),
            quoted(&table.name),
            same.join(" AND ")
        );
        Unique { columns, find_other }
    };
    Ok(found.into_iter().map(unique).collect())
}

/// An identifier inside SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
