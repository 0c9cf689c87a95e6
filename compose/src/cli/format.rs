//! `--format`: how every list of the program is shown.
//!
//! | value | shows |
//! |---|---|
//! | `table` | columns below titles |
//! | `table TEMPLATE` | the columns of the template, separated by `\t`, below titles |
//! | `json` | JSON, as the command at hand has it |
//! | `TEMPLATE` | the template for each row, a line for each |
//!
//! Source: Docker CLI, "Format command and log output".

pub mod template;

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::CommandError;
use super::terminal::table::Table;
use template::{Data, Template, TemplateError};

/// What `--format` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Format {
    /// Columns below titles, those of the command or those of a template.
    Table(Option<Template>),
    /// JSON.
    Json,
    /// A template for each row.
    Template(Template),
    /// Nothing: the way of the command.
    #[default]
    Usual,
}

/// `--format` of the lists that have no templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Columns below titles
    Table,
    /// JSON
    Json,
}

/// A value of `--format` that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No word that is known, and no template either.
    #[error("`{0}` is neither `table` nor `json`, and has no `{{{{…}}}}` as a template has")]
    Unknown(String),
    /// A template with a mistake.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let template = |text: &str| Template::parse(&unescaped(text));
        match text.split_once(' ') {
            _ if text == "table" => Ok(Self::Table(None)),
            _ if text == "json" => Ok(Self::Json),
            Some(("table", columns)) => Ok(Self::Table(Some(template(columns.trim_start())?))),
            _ if text.contains("{{") => Ok(Self::Template(template(text)?)),
            _ => Err(FormatError::Unknown(text.to_owned())),
        }
    }
}

/// `\t` and `\n` as one types them in a shell.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// A column of a list: its title, and the field of its rows that it shows.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Title of the column.
    pub title: &'static str,
    /// Name of the field.
    pub field: &'static str,
}

/// Writes a column.
#[must_use]
pub const fn column(title: &'static str, field: &'static str) -> Column {
    Column { title, field }
}

/// One row of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    fields: Map<String, Value>,
    labels: Map<String, Value>,
}

impl Row {
    /// A row with the fields of `value`, which is a structure or map.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn of(value: &impl Serialize) -> Result<Self, CommandError> {
        match serde_json::to_value(value) {
            Ok(Value::Object(fields)) => Ok(Self { fields, labels: Map::new() }),
            Ok(_) => Err(CommandError::failed("a row of a list has no fields")),
            Err(error) => Err(CommandError::new(&error)),
        }
    }

    /// The same with labels, which `{{.Label "NAME"}}` shows.
    #[must_use]
    pub fn labelled<'a>(
        mut self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        let labels = labels.into_iter();
        self.labels = labels.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        self
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, field: &str, text: String) -> Self {
        self.fields.insert(field.to_owned(), text.into());
        self
    }

    /// The row as JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// The text of a field; empty if there is no such.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        self.fields.get(field).map(template::text).unwrap_or_default()
    }
}

/// How `json` shows rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// An object a line.
    Lines,
    /// One array.
    Array,
}

/// Rows and how they are shown.
#[derive(Debug)]
pub struct List<'a> {
    /// The columns of the table.
    pub columns: &'a [Column],
    /// Titles of further fields, for `table TEMPLATE`; a field without one is its own title in capitals.
    pub titles: &'a [Column],
    /// The form of JSON.
    pub json: Json,
    /// The rows.
    pub rows: Vec<Row>,
}

impl List<'_> {
    /// The list as text.
    ///
    /// # Errors
    ///
    /// When a template asks for what there is not.
    pub fn render(&self, format: &Format) -> Result<String, CommandError> {
        match format {
            Format::Usual | Format::Table(None) => Ok(self.table()),
            Format::Table(Some(columns)) => self.table_of(columns),
            Format::Json => self.in_json(),
            Format::Template(template) => self.lines(template),
        }
    }

    fn table(&self) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title).collect();
        let mut table = Table::new(&titles);
        for row in &self.rows {
            table.row(self.columns.iter().map(|column| row.text(column.field)));
        }
        table.render()
    }

    fn table_of(&self, columns: &Template) -> Result<String, CommandError> {
        let titles = columns.titles(&|field| self.title(field));
        let titles: Vec<&str> = titles.split('\t').collect();
        let mut table = Table::new(&titles);
        for row in &self.rows {
            let line = render(columns, row)?;
            table.row(line.split('\t').map(str::to_owned));
        }
        Ok(table.render())
    }

    fn title(&self, field: &str) -> String {
        let known = self.columns.iter().chain(self.titles).find(|column| column.field == field);
        match known {
            Some(column) => column.title.to_owned(),
            None => field.to_uppercase(),
        }
    }

    fn in_json(&self) -> Result<String, CommandError> {
        let failed = |error: serde_json::Error| CommandError::new(&error);
        let rows: Vec<&Map<String, Value>> = self.rows.iter().map(|row| &row.fields).collect();
        match self.json {
            Json::Array => Ok(format!("{}\n", serde_json::to_string(&rows).map_err(failed)?)),
            Json::Lines => rows
                .iter()
                .map(|row| Ok(format!("{}\n", serde_json::to_string(row).map_err(failed)?)))
                .collect(),
        }
    }

    fn lines(&self, template: &Template) -> Result<String, CommandError> {
        let lines = self.rows.iter().map(|row| Ok(format!("{}\n", render(template, row)?)));
        lines.collect()
    }
}

fn render(template: &Template, row: &Row) -> Result<String, CommandError> {
    let root = Value::Object(row.fields.clone());
    let rendered = template.render(&Data { root: &root, labels: &row.labels });
    rendered.map_err(CommandError::from)
}

impl From<TemplateError> for CommandError {
    fn from(error: TemplateError) -> Self {
        Self::new(&error).code(super::error::USAGE).help(
            "`--format json` shows all fields; `{{json .}}` in a template does so for one row",
        )
    }
}

/// Renders one value, which is no row of a list, such as what `inspect` shows.
///
/// # Errors
///
/// When the template asks for what there is not.
pub fn render_value(template: &Template, value: &Value) -> Result<String, CommandError> {
    Ok(template.render(&Data { root: value, labels: &Map::new() })?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn list() -> List<'static> {
        const COLUMNS: [Column; 2] = [column("NAME", "Name"), column("VOLUME SIZE", "Size")];
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let row = |name: &str, size: u32| {
            let row = Row::of(&serde_json::json!({ "Name": name, "Size": size })).unwrap();
            row.labelled(&labels)
        };
        List {
            columns: &COLUMNS,
            titles: &[],
            json: Json::Lines,
            rows: vec![row("web-1", 3), row("db-1", 40)],
        }
    }

    fn rendered(format: &str) -> String {
        list().render(&format.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_format_shows_the_rows() {
        #[rustfmt::skip]
        let table = [
            ("table", "NAME      VOLUME SIZE\nweb-1     3\ndb-1      40\n"),
            (r"table {{.Size}}\t{{.Name}}", "VOLUME SIZE   NAME\n3             web-1\n40            db-1\n"),
            (r#"table {{upper .Name}}\t{{.Label "tier"}}"#, "NAME      tier\nWEB-1     front\nDB-1      front\n"),
            ("json", "{\"Name\":\"web-1\",\"Size\":3}\n{\"Name\":\"db-1\",\"Size\":40}\n"),
            ("{{.Name}}={{.Size}}", "web-1=3\ndb-1=40\n"),
        ];
        for (format, text) in table {
            assert_eq!(rendered(format), text, "{format}");
        }
        let array = List { json: Json::Array, ..list() };
        assert!(array.render(&Format::Json).unwrap().starts_with("[{\"Name\":\"web-1\""));
        assert_eq!(list().render(&Format::Usual).unwrap(), rendered("table"));
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for (text, message) in [
            ("yaml", "`yaml` is neither `table` nor `json`, and has no `{{…}}` as a template has"),
            ("{{.Name", "template:1:3: the action is not closed with `}}`"),
        ] {
            assert_eq!(text.parse::<Format>().unwrap_err().to_string(), message);
        }
        let unknown = list().render(&"{{.Nmae}}".parse().unwrap()).unwrap_err();
        assert_eq!(
            unknown.failures[0].message,
            "template:1:3: there is no field Nmae; there are Name, Size"
        );
    }
}
