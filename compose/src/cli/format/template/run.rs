//! Filling a template with data.

use serde_json::Value;

use super::function::{self, Function, text, truth};
use super::{Base, Command, Data, Head, Node, Operand, Pipeline, Range, TemplateError};

/// What one node may be read with: `.`, and the variables.
struct Scope<'a> {
    source: &'a str,
    data: &'a Data<'a>,
    /// Name and value, the innermost last.
    variables: Vec<(String, Value)>,
}

/// Renders `nodes`.
pub(super) fn run(nodes: &[Node], source: &str, data: &Data<'_>) -> Result<String, TemplateError> {
    let variables = vec![(String::new(), data.root.clone())];
    let mut scope = Scope { source, data, variables };
    let mut out = String::new();
    scope.nodes(nodes, data.root, &mut out)?;
    Ok(out)
}

impl Scope<'_> {
    fn mistake(&self, at: usize, message: impl Into<String>) -> TemplateError {
        TemplateError::at(self.source, at, message)
    }

    fn nodes(
        &mut self,
        nodes: &[Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<(), TemplateError> {
        let known = self.variables.len();
        for node in nodes {
            self.node(node, dot, out)?;
        }
        self.variables.truncate(known);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value, out: &mut String) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipeline) => match self.pipeline(pipeline, dot)? {
                Some(value) => out.push_str(&text(&value)),
                None => out.push_str("<no value>"),
            },
            Node::Set { name, value } => {
                let value = self.pipeline(value, dot)?.unwrap_or_default();
                self.variables.push((name.clone(), value));
            }
            Node::If { condition, then, otherwise } => {
                let value = self.pipeline(condition, dot)?;
                let chosen =
                    if value.is_some_and(|value| truth(&value)) { then } else { otherwise };
                self.nodes(chosen, dot, out)?;
            }
            Node::With { value, then, otherwise } => match self.pipeline(value, dot)? {
                Some(value) if truth(&value) => self.nodes(then, &value, out)?,
                _ => self.nodes(otherwise, dot, out)?,
            },
            Node::Range(range) => self.range(range, dot, out)?,
        }
        Ok(())
    }

    fn range(&mut self, range: &Range, dot: &Value, out: &mut String) -> Result<(), TemplateError> {
        let over = self.pipeline(&range.over, dot)?.unwrap_or_default();
        let pairs: Vec<(Value, Value)> = match over {
            Value::Array(all) => {
                all.into_iter().enumerate().map(|(index, one)| (index.into(), one)).collect()
            }
            Value::Object(all) => {
                let mut pairs: Vec<_> = all.into_iter().collect();
                pairs.sort_by(|one, other| one.0.cmp(&other.0));
                pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()
            }
            Value::Number(count) => {
                (0..count.as_u64().unwrap_or(0)).map(|n| (n.into(), n.into())).collect()
            }
            _ => Vec::new(),
        };
        if pairs.is_empty() {
            return self.nodes(&range.otherwise, dot, out);
        }
        for (index, element) in pairs {
            let known = self.variables.len();
            self.variables.extend(range.index.iter().map(|name| (name.clone(), index.clone())));
            self.variables.extend(range.element.iter().map(|name| (name.clone(), element.clone())));
            self.nodes(&range.body, &element, out)?;
            self.variables.truncate(known);
        }
        Ok(())
    }

    /// The value of the last command; none for a key that a map does not have.
    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Option<Value>, TemplateError> {
        let mut last: Option<Option<Value>> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last.take())?);
        }
        Ok(last.flatten())
    }

    fn command(
        &self,
        command: &Command,
        dot: &Value,
        before: Option<Option<Value>>,
    ) -> Result<Option<Value>, TemplateError> {
        let mut arguments = Vec::new();
        for argument in &command.arguments {
            arguments.push(self.operand(argument, dot)?.unwrap_or_default());
        }
        arguments.extend(before.map(Option::unwrap_or_default));
        match &command.head {
            Head::Function(function) => self.call(*function, &arguments, command.at).map(Some),
            Head::Operand(operand) if is_label(operand) && arguments.len() == 1 => {
                let label = self.data.labels.get(&text(&arguments[0]));
                Ok(Some(label.cloned().unwrap_or_else(|| "".into())))
            }
            Head::Operand(operand) if arguments.is_empty() => self.operand(operand, dot),
            Head::Operand(_) => Err(self.mistake(command.at, "only functions take arguments")),
        }
    }

    fn call(
        &self,
        function: Function,
        arguments: &[Value],
        at: usize,
    ) -> Result<Value, TemplateError> {
        function::call(function, arguments).map_err(|message| self.mistake(at, message))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Option<Value>, TemplateError> {
        let base = match &operand.base {
            Base::Dot => Some(dot.clone()),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let missing = || self.mistake(operand.at, format!("there is no variable ${name}"));
                Some(known.ok_or_else(missing)?.1.clone())
            }
            Base::Literal(value) => Some(value.clone()),
            Base::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Call(function) => Some(self.call(*function, &[], operand.at)?),
        };
        let mut value = base;
        for field in &operand.fields {
            value = self.field(value.as_ref(), field, operand.at)?;
        }
        Ok(value)
    }

    fn field(
        &self,
        value: Option<&Value>,
        field: &str,
        at: usize,
    ) -> Result<Option<Value>, TemplateError> {
        match value {
            Some(Value::Object(fields)) => match fields.get(field) {
                Some(found) => Ok(Some(found.clone())),
                // The fields of a row are known; a map may have any key.
                None if value == Some(self.data.root) => {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let known = known.join(", ");
                    let message = format!("there is no field {field}; there are {known}");
                    Err(self.mistake(at, message))
                }
                None => Ok(None),
            },
            None | Some(Value::Null) => Ok(None),
            Some(other) => {
                let message = format!("{} has no field {field}", function::kind(other));
                Err(self.mistake(at, message))
            }
        }
    }
}

/// `.Label`, which is asked like a function.
fn is_label(operand: &Operand) -> bool {
    operand.fields.as_slice() == ["Label"] && matches!(&operand.base, Base::Dot | Base::Variable(_))
}
