//! Go templates, as far as `--format` needs them.
//!
//! ```text
//! template  = { text | "{{" action "}}" }
//! action    = pipeline | $name := pipeline | if pipeline | else [if pipeline] | end
//!           | range [[$index,] $element :=] pipeline | with pipeline | /* comment */
//! pipeline  = command { "|" command }
//! command   = operand | function { operand } | .Label operand
//! operand   = . | .Field… | $ | $name | $name.Field… | "string" | `string` | number | true | false
//!           | nil | "(" pipeline ")" [.Field…]
//! ```
//!
//! Functions: those of [`function`]. `{{-` and `-}}` take away the blanks beside them.
//!
//! Source: Go, package text/template; Docker CLI, "Format command and log output" for the functions that are not Go's.

mod function;
mod parse;
mod run;

use serde_json::{Map, Value};

pub use function::text;

/// A template that can be rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
    source: String,
}

/// What a template is rendered with.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// What `.` and `$` are at the beginning.
    pub root: &'a Value,
    /// What `.Label "NAME"` looks into.
    pub labels: &'a Map<String, Value>,
}

/// A mistake in a template, or one that its data bring to light.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template:{line}:{column}: {message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl TemplateError {
    fn at(source: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { message: message.into(), line, column }
    }
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Print(Pipeline),
    Set { name: String, value: Pipeline },
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range(Range),
}

/// A loop.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    index: Option<String>,
    element: Option<String>,
    over: Pipeline,
    body: Vec<Node>,
    otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
struct Pipeline {
    commands: Vec<Command>,
}

/// A function or an operand, with arguments.
#[derive(Debug, Clone, PartialEq)]
struct Command {
    at: usize,
    head: Head,
    arguments: Vec<Operand>,
}

#[derive(Debug, Clone, PartialEq)]
enum Head {
    Function(function::Function),
    Operand(Operand),
}

/// Something with a value.
#[derive(Debug, Clone, PartialEq)]
struct Operand {
    at: usize,
    base: Base,
    fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Pipeline(Box<Pipeline>),
    Call(function::Function),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] at the first mistake.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        Ok(Self { nodes: parse::parse(source)?, source: source.to_owned() })
    }

    /// Fills it with `data`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] for a field that is not there, and for arguments that a function cannot take.
    pub fn render(&self, data: &Data<'_>) -> Result<String, TemplateError> {
        run::run(&self.nodes, &self.source, data)
    }

    /// The line of titles above a table of this template: for each action the title of its field.
    #[must_use]
    pub fn titles(&self, title: &dyn Fn(&str) -> String) -> String {
        self.nodes.iter().map(|node| node.title(title)).collect()
    }
}

impl Node {
    fn title(&self, title: &dyn Fn(&str) -> String) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Print(pipeline) => pipeline.title(title).unwrap_or_default(),
            Self::If { then, .. } | Self::With { then, .. } => {
                then.iter().map(|node| node.title(title)).collect()
            }
            Self::Range(range) => range.over.title(title).unwrap_or_default(),
            Self::Set { .. } => String::new(),
        }
    }
}

impl Pipeline {
    fn title(&self, title: &dyn Fn(&str) -> String) -> Option<String> {
        self.commands.iter().find_map(|command| {
            let head = match &command.head {
                Head::Operand(operand) => Some(operand),
                Head::Function(_) => None,
            };
            // `.Label "x"` is headed x, as docker does.
            let label = head.filter(|head| head.fields.as_slice() == ["Label"]);
            let named =
                label.and_then(|_| command.arguments.first()).and_then(|argument| match &argument
                    .base
                {
                    Base::Literal(Value::String(name)) => Some(name.clone()),
                    _ => None,
                });
            let mut operands = head.into_iter().chain(&command.arguments);
            named.or_else(|| operands.find_map(|operand| operand.title(title)))
        })
    }
}

impl Operand {
    fn title(&self, title: &dyn Fn(&str) -> String) -> Option<String> {
        match (&self.base, self.fields.last()) {
            (_, Some(field)) => Some(title(field)),
            (Base::Pipeline(pipeline), None) => pipeline.title(title),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        let root = serde_json::json!({
            "Name": "shop-web-1", "State": "running", "Count": 3, "Ratio": 1.5, "Empty": "", "On": true,
            "Ports": ["80", "443"], "Map": {"b": 2, "a": 1}, "List": [{"N": "x"}, {"N": "y"}], "Nothing": null,
        });
        let labels = serde_json::json!({ "tier": "front" }).as_object().cloned().unwrap();
        let data = Data { root: &root, labels: &labels };
        let template = Template::parse(template).map_err(|error| error.to_string())?;
        template.render(&data).map_err(|error| error.to_string())
    }

    #[test]
    fn templates_say_what_those_of_go_say() {
        #[rustfmt::skip]
        let table = [
            ("plain", "plain"),
            ("{{.Name}}/{{ .State }}", "shop-web-1/running"),
            ("{{.Count}} {{.Ratio}} {{.On}} {{.Nothing}}", "3 1.5 true <nil>"),
            ("{{.Ports}} {{.Map}} {{.Map.a}} {{.Map.c}}", "[80 443] map[a:1 b:2] 1 <no value>"),
            ("{{upper .State}} {{.Name | upper | lower}} {{title \"a bc\"}}", "RUNNING shop-web-1 A Bc"),
            ("{{json .Ports}} {{json .Name}} {{.Map | json}}", "[\"80\",\"443\"] \"shop-web-1\" {\"b\":2,\"a\":1}"),
            ("{{join .Ports \",\"}} {{index (split .Name \"-\") 1}}", "80,443 web"),
            ("{{index .Ports 0}} {{index .Map \"b\"}} {{(index .List 1).N}}", "80 2 y"),
            ("{{if eq .State \"running\" \"paused\"}}up{{else}}down{{end}}", "up"),
            ("{{if .Empty}}a{{else if .Count}}b{{else}}c{{end}}", "b"),
            ("{{if and .On (not .Empty)}}yes{{end}}", "yes"),
            ("{{or .Empty .Name}} {{and .Empty .Name}}", "shop-web-1 "),
            ("{{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge \"b\" \"a\"}}", "true true true false true"),
            ("{{range .Ports}}<{{.}}>{{end}}", "<80><443>"),
            ("{{range $i, $p := .Ports}}{{$i}}={{$p}} {{end}}", "0=80 1=443 "),
            ("{{range $k, $v := .Map}}{{$k}}{{$v}} {{end}}", "a1 b2 "),
            ("{{range .List}}{{.N}}{{$.Count}} {{end}}", "x3 y3 "),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{with .Map}}{{.a}}{{end}}{{with .Empty}}x{{else}}y{{end}}", "1y"),
            ("{{len .Ports}} {{len .Name}} {{len .Map}}", "2 10 2"),
            ("{{printf \"%-6s|%5d|%05.1f|%q|%v|%x|%t|%%\" .State 42 .Ratio \"a\" .Ports 255 .On}}",
             "running|   42|001.5|\"a\"|[80 443]|ff|true|%"),
            ("{{println .Name .Count}}{{print \"a\" \"b\" 1 2}}", "shop-web-1 3\nab1 2"),
            ("{{html \"<a b='c'>\"}} {{js \"'<\"}} {{urlquery \"a b/ö\" }}", "&lt;a b=&#39;c&#39;&gt; \\'\\u003C a+b%2F%C3%B6"),
            ("{{truncate .Name 4}}|{{pad \"x\" 1 2}}|", "shop| x  |"),
            ("{{slice .Name 0 4}} {{slice .Ports 1}}", "shop [443]"),
            ("a  {{- /* not shown */ -}}  b", "ab"),
            ("x {{- .Count -}} y", "x3y"),
            ("{{$a := .Count}}{{$a}}", "3"),
            ("{{`raw\\n`}} {{\"tab\\tq\\\"\"}}", "raw\\n tab\tq\""),
            ("{{.Label \"tier\"}}{{.Label \"none\"}}", "front"),
        ];
        for (template, text) in table {
            assert_eq!(rendered(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        #[rustfmt::skip]
        let table = [
            ("{{.Name", "template:1:3: the action is not closed with `}}`"),
            ("{{}}", "template:1:3: an action without anything in it"),
            ("{{nope .Name}}", "template:1:3: there is no function `nope`"),
            ("a\nb {{.Nope}}", "template:2:5: there is no field Nope; there are Name, State, Count, Ratio, Empty, On, Ports, Map, List, Nothing"),
            ("{{if .On}}x", "template:1:3: `if` without `{{end}}`"),
            ("{{end}}", "template:1:3: `end` without anything to end"),
            ("{{else}}", "template:1:3: `else` without `if`"),
            ("{{index .Ports 7}}", "template:1:3: index 7 is out of range: there are 2"),
            ("{{upper .Ports}}", "template:1:3: `upper` takes a string, and got [80 443]"),
            ("{{upper}}", "template:1:3: `upper` takes 1 argument, and got 0"),
            ("{{.Name.First}}", "template:1:3: a string has no field First"),
            ("{{\"open}}", "template:1:3: the string is not closed"),
            ("{{(.Name}}", "template:1:3: the parenthesis is not closed"),
            ("{{$x}}", "template:1:3: there is no variable $x"),
            ("{{.Name 3}}", "template:1:3: only functions take arguments"),
            ("{{lt .Name 3}}", "template:1:3: shop-web-1 and 3 cannot be compared"),
            ("{{.Name}} {{range}}{{end}}", "template:1:18: `range` without a value"),
        ];
        for (template, message) in table {
            assert_eq!(rendered(template).unwrap_err(), message, "{template}");
        }
    }
}
