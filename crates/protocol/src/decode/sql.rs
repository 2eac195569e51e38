//! SQL, normalised: what a statement does, to which tables, in which shape, with which literals.
//!
//! This is no parser of SQL's grammar. It cuts a statement into clauses at its top-level keywords, which
//! all dialects share, and takes the literals out; what it does not know stays in the shape as it was
//! written. Two statements with equal shapes and equal literals are the same statement; nothing else is
//! promised.

use alloc::vec::Vec;
use core::ops::Range;

/// Where dialects disagree about tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Backslash escapes in strings, `"text"` is a string, `#` begins a comment.
    MySql,
    /// Backslash is a character, `"name"` is an identifier, `$1` is a placeholder, `$$text$$` a string.
    Postgres,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes; the text is without them.
    Name,
    /// A number, with its sign where it has one.
    Number,
    /// A string, with its quotes.
    String,
    /// `?`, `$1` or `:name`.
    Placeholder,
    /// An operator or punctuation.
    Symbol,
}

/// One token of a statement. Comments and space are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a [u8],
}

/// The tokens of a text.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    sql: &'a [u8],
    at: usize,
    dialect: Dialect,
    /// A `-` here belongs to the number that follows.
    sign: bool,
    /// Inside `/*! ... */`, which MySQL executes.
    executed_comment: bool,
}

impl<'a> Tokens<'a> {
    /// The tokens of `sql`.
    pub fn new(sql: &'a [u8], dialect: Dialect) -> Self {
        Self { sql, at: 0, dialect, sign: true, executed_comment: false }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &[u8]) -> bool {
        self.sql.get(self.at..).is_some_and(|rest| rest.starts_with(text))
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&accept) {
            self.at += 1;
        }
    }

    fn skip_past(&mut self, end: &[u8]) {
        let rest = self.sql.get(self.at..).unwrap_or_default();
        self.at = super::find(rest, end).map_or(self.sql.len(), |found| self.at + found + end.len());
    }

    /// Skips space and comments.
    fn space(&mut self) {
        loop {
            self.skip_while(|byte| byte.is_ascii_whitespace());
            if self.starts_with(b"/*!") && self.dialect == Dialect::MySql {
                self.at += 3;
                self.skip_while(|byte| byte.is_ascii_digit());
                self.executed_comment = true;
            } else if self.executed_comment && self.starts_with(b"*/") {
                self.at += 2;
                self.executed_comment = false;
            } else if self.starts_with(b"/*") {
                self.at += 2;
                self.skip_past(b"*/");
            } else if self.line_comment() {
                self.skip_past(b"\n");
            } else {
                return;
            }
        }
    }

    fn line_comment(&self) -> bool {
        match self.dialect {
            // `a--1` is arithmetic in MySQL: a comment needs the space.
            Dialect::MySql => {
                self.peek(0) == Some(b'#')
                    || (self.starts_with(b"--") && self.peek(2).is_none_or(|byte| byte.is_ascii_whitespace()))
            }
            Dialect::Postgres => self.starts_with(b"--"),
        }
    }

    /// Past the closing quote, which doubled (or escaped) is part of the text.
    fn quoted(&mut self, quote: u8, backslash: bool) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            if byte == b'\\' && backslash {
                self.at += 1;
            } else if byte == quote {
                if self.peek(0) != Some(quote) {
                    break;
                }
                self.at += 1;
            }
        }
        self.at = self.at.min(self.sql.len());
    }

    fn number(&mut self) {
        if self.starts_with(b"0x") || self.starts_with(b"0X") {
            self.at += 2;
            return self.skip_while(|byte| byte.is_ascii_hexdigit());
        }
        self.skip_while(|byte| byte.is_ascii_digit() || byte == b'.');
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + signed).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1 + signed;
                self.skip_while(|byte| byte.is_ascii_digit());
            }
        }
    }

    /// `$tag$ ... $tag$`.
    fn dollar_quoted(&mut self) -> bool {
        let rest = self.sql.get(self.at + 1..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| !is_word(*byte) || *byte == b'$') else { return false };
        if rest.get(end) != Some(&b'$') || rest.first().is_some_and(|byte| byte.is_ascii_digit()) {
            return false;
        }
        let Some(tag) = self.sql.get(self.at..self.at + end + 2) else { return false };
        self.at += tag.len();
        self.skip_past(tag);
        true
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.space();
        let start = self.at;
        let first = self.peek(0)?;
        let second = self.peek(1).unwrap_or(0);
        let postgres = self.dialect == Dialect::Postgres;
        let mut inner = None;
        let kind = match first {
            b'\'' => {
                self.quoted(first, !postgres);
                Kind::String
            }
            b'"' if !postgres => {
                self.quoted(first, true);
                Kind::String
            }
            b'"' | b'`' => {
                self.quoted(first, false);
                inner = self.sql.get(start + 1..self.at.saturating_sub(1).max(start + 1));
                Kind::Name
            }
            b'e' | b'E' | b'n' | b'N' | b'x' | b'X' | b'b' | b'B' if second == b'\'' => {
                self.at += 1;
                self.quoted(second, !postgres || matches!(first, b'e' | b'E'));
                Kind::String
            }
            b'0'..=b'9' => {
                self.number();
                Kind::Number
            }
            b'.' if second.is_ascii_digit() => {
                self.number();
                Kind::Number
            }
            b'-' if self.sign && (second.is_ascii_digit() || second == b'.') => {
                self.at += 1;
                self.number();
                Kind::Number
            }
            b'$' if postgres && second.is_ascii_digit() => {
                self.at += 1;
                self.skip_while(|byte| byte.is_ascii_digit());
                Kind::Placeholder
            }
            b'$' if postgres && self.dollar_quoted() => Kind::String,
            b'?' => {
                self.at += 1;
                Kind::Placeholder
            }
            b':' if second == b':' => {
                self.at += 2;
                Kind::Symbol
            }
            b':' if second.is_ascii_alphabetic() => {
                self.at += 1;
                self.skip_while(is_word);
                Kind::Placeholder
            }
            byte if is_word(byte) || byte == b'@' => {
                self.skip_while(|byte| is_word(byte) || byte == b'@');
                Kind::Word
            }
            b'<' | b'>' | b'!' | b'|' | b'&' | b':' => {
                self.skip_while(|byte| matches!(byte, b'<' | b'>' | b'!' | b'=' | b'|' | b'&'));
                self.at = self.at.max(start + 1);
                Kind::Symbol
            }
            _ => {
                self.at += 1;
                Kind::Symbol
            }
        };
        let text = inner.or_else(|| self.sql.get(start..self.at))?;
        self.sign = kind == Kind::Symbol && text != b")";
        Some(Token { kind, text })
    }
}

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clause {
    /// The select list, or what `RETURNING` names.
    Columns,
    /// Tables and joins.
    From,
    /// `WHERE`.
    Where,
    /// `GROUP BY`.
    Group,
    /// `HAVING`.
    Having,
    /// `ORDER BY`.
    Order,
    /// `LIMIT`, `OFFSET`, `FETCH`.
    Limit,
    /// Assignments: `SET`, `ON DUPLICATE KEY UPDATE`, `ON CONFLICT`.
    Set,
    /// The rows of `VALUES`.
    Values,
    /// Everything else.
    Other,
}

/// How a literal is compared with its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`, `IN`.
    Equal,
    /// `<`, `>`, `BETWEEN`.
    Range,
    /// Anything else, or nothing.
    Other,
}

/// A literal and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a> {
    /// The clause.
    pub clause: Clause,
    /// The column that it belongs to, where that can be told: the name before it, or that of its place in
    /// the column list of an `INSERT`. Else empty.
    pub column: &'a [u8],
    /// Its row in `VALUES`, else 0.
    pub row: usize,
    /// How it is compared.
    pub comparison: Comparison,
    /// Its text, with quotes.
    pub text: &'a [u8],
}

/// A piece of the shape: a whole clause, one item of a select list, or one assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// The clause.
    pub clause: Clause,
    /// The first name in it: the column of an assignment.
    pub name: &'a [u8],
    /// It computes over rows (`COUNT(*)`), so it asks for something else than rows.
    pub aggregate: bool,
    range: Range<usize>,
}

/// A statement.
#[derive(Debug, Clone)]
pub struct Statement<'a> {
    verb: &'a [u8],
    tables: Vec<Vec<u8>>,
    items: Vec<Item<'a>>,
    literals: Vec<Literal<'a>>,
    skeleton: Vec<u8>,
    effects: bool,
}

impl<'a> Statement<'a> {
    /// Normalises a statement, or several in one text. Any bytes are accepted.
    pub fn parse(sql: &'a [u8], dialect: Dialect) -> Self {
        let mut builder = Builder::new(sql.len());
        for token in Tokens::new(sql, dialect) {
            builder.token(token);
        }
        builder.finish()
    }

    /// `SELECT`, `insert`, ... as written; that of the statement behind `WITH`.
    pub fn verb(&self) -> &'a [u8] {
        self.verb
    }

    /// The tables it names, in order, without quotes.
    pub fn tables(&self) -> &[Vec<u8>] {
        &self.tables
    }

    /// The pieces of its shape, in order.
    pub fn items(&self) -> &[Item<'a>] {
        &self.items
    }

    /// Its literals, in order.
    pub fn literals(&self) -> &[Literal<'a>] {
        &self.literals
    }

    /// The text of an item: lower-case words, one space between tokens, `?` for every literal.
    pub fn text(&self, item: &Item<'_>) -> &[u8] {
        self.skeleton.get(item.range.clone()).unwrap_or_default().trim_ascii()
    }

    /// The whole shape.
    pub fn skeleton(&self) -> &[u8] {
        self.skeleton.trim_ascii()
    }

    /// It changes nothing on the server: asked again, it may be answered again.
    pub fn read_only(&self) -> bool {
        !self.effects
            && [&b"SELECT"[..], b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"TABLE"]
                .iter()
                .any(|verb| self.verb.eq_ignore_ascii_case(verb))
    }
}

/// The state of normalising: one pass over the tokens.
struct Builder<'a> {
    statement: Statement<'a>,
    clause: Clause,
    depth: usize,
    item_start: usize,
    item_name: &'a [u8],
    item_aggregate: bool,
    /// The next name is a table's; with `true` inside, the one being read goes on behind a dot.
    table: Table,
    /// The names in the column list of an `INSERT`.
    columns: Vec<&'a [u8]>,
    reading_columns: bool,
    column: &'a [u8],
    comparison: Comparison,
    row: usize,
    cell: usize,
    function: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    No,
    Expected,
    Named,
    Dotted,
}

impl<'a> Builder<'a> {
    fn new(length: usize) -> Self {
        let statement = Statement {
            verb: &[],
            tables: Vec::new(),
            items: Vec::with_capacity(8),
            literals: Vec::with_capacity(8),
            skeleton: Vec::with_capacity(length + 16),
            effects: false,
        };
        Self {
            statement,
            clause: Clause::Other,
            depth: 0,
            item_start: 0,
            item_name: &[],
            item_aggregate: false,
            table: Table::No,
            columns: Vec::new(),
            reading_columns: false,
            column: &[],
            comparison: Comparison::Other,
            row: 0,
            cell: 0,
            function: false,
        }
    }

    fn finish(mut self) -> Statement<'a> {
        self.close_item();
        self.statement
    }

    fn verb_is(&self, verb: &[u8]) -> bool {
        self.statement.verb.eq_ignore_ascii_case(verb)
    }

    fn inserts(&self) -> bool {
        self.verb_is(b"INSERT") || self.verb_is(b"REPLACE")
    }

    fn write(&mut self, text: &[u8], lower: bool) {
        if lower {
            self.statement.skeleton.extend(text.iter().map(u8::to_ascii_lowercase));
        } else {
            self.statement.skeleton.extend_from_slice(text);
        }
        self.statement.skeleton.push(b' ');
    }

    fn close_item(&mut self) {
        let range = self.item_start..self.statement.skeleton.len();
        if !range.is_empty() {
            let item =
                Item { clause: self.clause, name: self.item_name, aggregate: self.item_aggregate, range };
            self.statement.items.push(item);
        }
        self.item_start = self.statement.skeleton.len();
        self.item_name = &[];
        self.item_aggregate = false;
    }

    fn enter(&mut self, clause: Clause, keyword: &[u8]) {
        self.close_item();
        self.clause = clause;
        self.write(keyword, true);
        self.item_start = self.statement.skeleton.len();
        self.column = &[];
        self.comparison = Comparison::Other;
    }

    fn token(&mut self, token: Token<'a>) {
        if self.table == Table::Named && token.text != b"." {
            self.table = Table::No;
        }
        match token.kind {
            Kind::Word => self.word(token.text),
            Kind::Name => {
                self.name(token.text);
                self.write(token.text, false);
            }
            Kind::Number | Kind::String | Kind::Placeholder => self.literal(token.text),
            Kind::Symbol => self.symbol(token.text),
        }
        self.function = token.kind == Kind::Word;
    }

    fn name(&mut self, text: &'a [u8]) {
        match self.table {
            Table::Expected => {
                self.statement.tables.push(text.to_vec());
                self.table = Table::Named;
            }
            Table::Dotted => {
                if let Some(table) = self.statement.tables.last_mut() {
                    table.push(b'.');
                    table.extend_from_slice(text);
                }
                self.table = Table::Named;
            }
            Table::No | Table::Named => {}
        }
        if self.reading_columns {
            self.columns.push(text);
        }
        if self.item_name.is_empty() {
            self.item_name = text;
        }
        self.column = text;
    }

    fn word(&mut self, text: &'a [u8]) {
        let mut upper = [0u8; 20];
        let upper: &[u8] = match upper.get_mut(..text.len()) {
            Some(upper) => {
                upper.copy_from_slice(text);
                upper.make_ascii_uppercase();
                upper
            }
            None => &[],
        };
        if self.statement.verb.is_empty() || (self.depth == 0 && self.verb_is(b"WITH")) {
            let is_verb = self.statement.verb.is_empty()
                || matches!(upper, b"SELECT" | b"INSERT" | b"UPDATE" | b"DELETE" | b"REPLACE" | b"MERGE");
            if is_verb {
                self.statement.verb = text;
                match upper {
                    b"SELECT" => self.enter(Clause::Columns, text),
                    b"UPDATE" => {
                        self.enter(Clause::From, text);
                        self.table = Table::Expected;
                    }
                    _ => self.enter(Clause::Other, text),
                }
                return;
            }
        }
        match upper {
            b"FROM" | b"JOIN" | b"INTO" | b"TABLE" => {
                self.table = Table::Expected;
                if upper == b"INTO" && !self.inserts() {
                    // SELECT .. INTO writes.
                    self.statement.effects = true;
                }
                if self.depth == 0 && upper != b"TABLE" {
                    if upper == b"JOIN" {
                        return self.write(text, true);
                    }
                    return self.enter(Clause::From, text);
                }
                return self.write(text, true);
            }
            // Between the keyword and the name of a table.
            b"ONLY" | b"LATERAL" | b"IGNORE" | b"LOW_PRIORITY" | b"IF" | b"NOT" | b"EXISTS"
                if self.table == Table::Expected =>
            {
                return self.write(text, true);
            }
            b"GET_LOCK"
            | b"RELEASE_LOCK"
            | b"NEXTVAL"
            | b"SETVAL"
            | b"LAST_INSERT_ID"
            | b"ROW_COUNT"
            | b"FOUND_ROWS"
            | b"PG_ADVISORY_LOCK"
            | b"PG_TRY_ADVISORY_LOCK"
            | b"PG_ADVISORY_UNLOCK" => {
                self.statement.effects = true;
            }
            b"UPDATE" | b"SHARE" | b"DELETE" | b"INSERT" => self.statement.effects = true,
            b"BETWEEN" => self.comparison = Comparison::Range,
            b"IN" => self.comparison = Comparison::Equal,
            b"LIKE" | b"ILIKE" | b"REGEXP" | b"RLIKE" => self.comparison = Comparison::Other,
            _ => {}
        }
        if self.depth == 0 {
            let clause = match upper {
                b"SELECT" | b"RETURNING" => Some(Clause::Columns),
                b"WHERE" => Some(Clause::Where),
                b"GROUP" => Some(Clause::Group),
                b"HAVING" => Some(Clause::Having),
                b"ORDER" => Some(Clause::Order),
                b"LIMIT" | b"OFFSET" | b"FETCH" => Some(Clause::Limit),
                b"SET" if !self.verb_is(b"SET") => Some(Clause::Set),
                b"DUPLICATE" | b"CONFLICT" => Some(Clause::Set),
                b"VALUES" | b"VALUE" if self.inserts() => Some(Clause::Values),
                b"UNION" | b"INTERSECT" | b"EXCEPT" | b"FOR" | b"WINDOW" => Some(Clause::Other),
                _ => None,
            };
            if let Some(clause) = clause {
                self.enter(clause, text);
                return;
            }
        }
        match upper {
            b"NULL" | b"TRUE" | b"FALSE" | b"DEFAULT"
                if matches!(self.clause, Clause::Values | Clause::Set) =>
            {
                return self.literal(text);
            }
            b"AND" | b"OR" | b"NOT" | b"NULL" | b"IS" | b"IN" | b"LIKE" | b"BETWEEN" | b"AS" | b"ON"
            | b"BY" | b"KEY" | b"ASC" | b"DESC" | b"CASE" | b"WHEN" | b"THEN" | b"ELSE" | b"END"
            | b"DISTINCT" | b"ALL" | b"INTERVAL" | b"UPDATE" | b"DO" | b"USING" | b"INNER" | b"LEFT"
            | b"RIGHT" | b"OUTER" | b"CROSS" => {}
            _ => self.name(text),
        }
        self.write(text, true);
    }

    fn literal(&mut self, text: &'a [u8]) {
        let (column, row) = match self.clause {
            Clause::Set => (self.item_name, 0),
            Clause::Values => (self.columns.get(self.cell).copied().unwrap_or_default(), self.row),
            _ => (self.column, 0),
        };
        let comparison = self.comparison;
        self.statement.literals.push(Literal { clause: self.clause, column, row, comparison, text });
        self.table = Table::No;
        self.write(b"?", false);
    }

    fn symbol(&mut self, text: &'a [u8]) {
        match text {
            b"." if self.table == Table::Named => self.table = Table::Dotted,
            b"(" => {
                if self.clause == Clause::From && self.depth == 0 && self.inserts() && self.columns.is_empty()
                {
                    self.reading_columns = true;
                }
                if self.clause == Clause::Columns && self.function && is_aggregate(self.column) {
                    self.item_aggregate = true;
                }
                if self.clause == Clause::Values && self.depth == 0 {
                    self.cell = 0;
                }
                // A subquery in place of a table is not itself one.
                if self.table == Table::Expected {
                    self.table = Table::No;
                }
                self.depth += 1;
            }
            b")" => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.reading_columns = false;
                }
            }
            b"," => match (self.clause, self.depth) {
                (Clause::Values, 0) => self.row += 1,
                (Clause::Values, 1) => self.cell += 1,
                (Clause::From, 0) if !self.inserts() => self.table = Table::Expected,
                (Clause::Columns | Clause::Set, 0) => {
                    self.close_item();
                    self.write(text, false);
                    self.item_start = self.statement.skeleton.len();
                    return;
                }
                _ => {}
            },
            b";" if self.depth == 0 => return self.enter(Clause::Other, text),
            b"=" | b"<=>" => self.comparison = Comparison::Equal,
            b"<" | b">" | b"<=" | b">=" => self.comparison = Comparison::Range,
            _ => {}
        }
        self.write(text, false);
    }
}

fn is_aggregate(function: &[u8]) -> bool {
    [
        &b"COUNT"[..],
        b"SUM",
        b"AVG",
        b"MIN",
        b"MAX",
        b"GROUP_CONCAT",
        b"STRING_AGG",
        b"ARRAY_AGG",
        b"JSON_AGG",
        b"JSON_ARRAYAGG",
    ]
    .iter()
    .any(|name| function.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).to_string()
    }

    fn literals(sql: &str) -> Vec<String> {
        Statement::parse(sql.as_bytes(), Dialect::MySql)
            .literals()
            .iter()
            .map(|literal| {
                std::format!(
                    "{:?}[{}].{}={}",
                    literal.clause,
                    literal.row,
                    text(literal.column),
                    text(literal.text)
                )
            })
            .collect()
    }

    fn items(sql: &str, dialect: Dialect) -> Vec<String> {
        let statement = Statement::parse(sql.as_bytes(), dialect);
        statement
            .items()
            .iter()
            .map(|item| std::format!("{:?}: {}", item.clause, text(statement.text(item))))
            .collect()
    }

    fn tables(sql: &str) -> Vec<String> {
        Statement::parse(sql.as_bytes(), Dialect::MySql).tables().iter().map(|table| text(table)).collect()
    }

    #[test]
    fn select_statements() {
        let sql = "SELECT  a, COUNT(*) FROM `shop`.Orders o JOIN users u ON u.id=o.uid \
                   WHERE o.id = 1 AND s IN (2,'x''y') GROUP BY a ORDER BY a DESC LIMIT 10, 20";
        assert_eq!(
            items(sql, Dialect::MySql),
            [
                "Columns: a",
                "Columns: count ( * )",
                "From: shop . orders o join users u on u . id = o . uid",
                "Where: o . id = ? and s in ( ? , ? )",
                "Group: by a",
                "Order: by a desc",
                "Limit: ? , ?",
            ]
        );
        assert_eq!(tables(sql), ["shop.Orders", "users"]);
        assert_eq!(
            literals(sql),
            ["Where[0].id=1", "Where[0].s=2", "Where[0].s='x''y'", "Limit[0].=10", "Limit[0].=20"]
        );
        let statement = Statement::parse(sql.as_bytes(), Dialect::MySql);
        assert_eq!(
            statement.items().iter().map(|item| item.aggregate).take(2).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn a_changed_literal_is_a_changed_literal_and_nothing_else() {
        let one = Statement::parse(b"SELECT * FROM t WHERE id = 1", Dialect::MySql);
        let three = Statement::parse(b"select *  from t where id=3 -- hi", Dialect::MySql);
        assert_eq!(one.skeleton(), three.skeleton());
        assert_ne!(one.literals(), three.literals());
        assert_eq!(one.literals()[0].column, b"id");
    }

    #[test]
    fn writes() {
        assert_eq!(
            literals("INSERT INTO t (id,name) VALUES (1,'a'),(-2,NULL) ON DUPLICATE KEY UPDATE n = n + 1"),
            ["Values[0].id=1", "Values[0].name='a'", "Values[1].id=-2", "Values[1].name=NULL", "Set[0].n=1"]
        );
        assert_eq!(tables("INSERT IGNORE INTO item VALUES (1,'pen')"), ["item"]);
        assert_eq!(
            literals("INSERT IGNORE INTO item VALUES (1,'pen')"),
            ["Values[0].=1", "Values[0].='pen'"]
        );
        assert_eq!(
            items("UPDATE t SET a = 1, b = b + 2 WHERE id = 3", Dialect::MySql),
            ["From: t", "Set: a = ?", "Set: b = b + ?", "Where: id = ?"]
        );
        assert_eq!(tables("UPDATE t SET a = 1"), ["t"]);
        assert_eq!(tables("DELETE FROM a.b WHERE id IN (SELECT x FROM c)"), ["a.b", "c"]);
        assert_eq!(tables("SELECT * FROM a, b"), ["a", "b"]);
        assert_eq!(items("SET NAMES utf8", Dialect::MySql), ["Other: names utf8"]);
    }

    #[test]
    fn dialects() {
        assert_eq!(
            literals(r#"SELECT "a" FROM t WHERE b = 'it\'s' # c"#),
            ["Columns[0].=\"a\"", "Where[0].b='it\\'s'"]
        );
        assert_eq!(
            items(
                r#"SELECT "A" FROM "T" WHERE b = 'c:\' AND d = $1 AND e = $x$ ' $x$ AND f = E'\''"#,
                Dialect::Postgres
            ),
            ["Columns: A", "From: T", "Where: b = ? and d = ? and e = ? and f = ?"]
        );
        assert_eq!(
            items("SELECT/*!40001 SQL_NO_CACHE */ a /* b */ FROM t", Dialect::MySql)[0],
            "Columns: sql_no_cache a"
        );
        assert_eq!(items("SELECT a--1", Dialect::MySql)[0], "Columns: a - ?");
    }

    #[test]
    fn what_may_be_asked_again() {
        let read = |sql: &str| Statement::parse(sql.as_bytes(), Dialect::MySql).read_only();
        assert!(read("SELECT 1"));
        assert!(read("with x as (select 1) select * from x"));
        assert!(read("SHOW TABLES"));
        for sql in [
            "SELECT a FROM t FOR UPDATE",
            "SELECT GET_LOCK('a', 1)",
            "INSERT INTO t VALUES (1)",
            "BEGIN",
            "",
            "SELECT 1; DELETE FROM t",
        ] {
            assert!(!read(sql), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(sql in "(select|from|where|insert into|values|set|t|a\\.b|[-'\"`$?:#/*(),;=<0-9. ]|\\PC){0,40}") {
            for dialect in [Dialect::MySql, Dialect::Postgres] {
                let statement = Statement::parse(sql.as_bytes(), dialect);
                for item in statement.items() {
                    let _ = statement.text(item);
                }
            }
        }

        #[test]
        fn tokens_move_on_and_stay_inside(sql in proptest::collection::vec(any::<u8>(), 0..120)) {
            for dialect in [Dialect::MySql, Dialect::Postgres] {
                prop_assert!(Tokens::new(&sql, dialect).count() <= sql.len());
            }
        }

        #[test]
        fn the_shape_does_not_depend_on_literals(a in 0u32..1_000_000, b in "[a-z' ]{0,12}") {
            let quoted = b.replace('\'', "''");
            let sql = std::format!("SELECT x FROM t WHERE a = {a} AND b = '{quoted}' LIMIT {a}");
            let statement = Statement::parse(sql.as_bytes(), Dialect::MySql);
            prop_assert_eq!(statement.skeleton(), b"select x from t where a = ? and b = ? limit ?");
        }
    }
}
