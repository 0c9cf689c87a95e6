//! `compose alpha viz`.

use std::fmt::Write as _;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::model::{Networking, Project, Published, Service};

/// Print the services and what they depend on as a graph for graphviz
#[derive(Debug, clap::Args)]
pub struct VizArgs {
    /// With the image of each service
    #[arg(long)]
    image: bool,
    /// Tabs, or spaces with `--spaces`, in front of a line
    #[arg(long, value_name = "N", default_value_t = 1)]
    indentation_size: u8,
    /// With the networks of each service
    #[arg(long)]
    networks: bool,
    /// With the ports of each service
    #[arg(long)]
    ports: bool,
    /// Spaces in front of lines instead of tabs
    #[arg(long)]
    spaces: bool,
}

/// Prints the graph in the language DOT.
///
/// # Errors
///
/// When the project cannot be read.
pub fn run(args: &VizArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let project = context.load(terminal)?;
    terminal.print(args.graph(&project))?;
    Ok(0)
}

impl VizArgs {
    fn graph(&self, project: &Project) -> String {
        let indent = if self.spaces { " " } else { "\t" }.repeat(self.indentation_size.into());
        let mut text =
            format!("digraph {} {{\n{indent}layout=dot;\n", quoted(project.name.as_str()));
        for service in project.services.values() {
            let name = quoted(service.name.as_str());
            let _ = writeln!(
                text,
                "{indent}{name} [style=\"filled\" label=<{}>];",
                self.label(service)
            );
        }
        for service in project.services.values() {
            for dependency in service.depends_on.keys() {
                let (from, to) = (quoted(service.name.as_str()), quoted(dependency.as_str()));
                let _ = writeln!(text, "{indent}{from} -> {to};");
            }
        }
        text.push_str("}\n");
        text
    }

    fn label(&self, service: &Service) -> String {
        let mut label =
            format!("<font point-size=\"15\">{}</font>", escaped(service.name.as_str()));
        let mut part = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let lines: String =
                    lines.iter().map(|line| format!("<br/>{}", escaped(line))).collect();
                let _ = write!(
                    label,
                    "<br/><br/><font point-size=\"10\"><b>{title}:</b>{lines}</font>"
                );
            }
        };
        if self.image {
            part("Image", service.image.iter().cloned().collect());
        }
        if self.networks
            && let Networking::Attached(networks) = &service.networking
        {
            part("Networks", networks.keys().map(ToString::to_string).collect());
        }
        if self.ports {
            part("Ports", service.ports.iter().map(port).collect());
        }
        label
    }
}

fn port(port: &crate::model::Port) -> String {
    let host = match &port.published {
        Published::Range(range) if range.first == range.last => format!("{}:", range.first),
        Published::Range(range) => format!("{}-{}:", range.first, range.last),
        _ => String::new(),
    };
    format!("{host}{}/{}", port.target, port.protocol)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text inside of an HTML-like label.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, dependency, project};

    #[test]
    fn a_graph_has_services_and_what_they_depend_on() {
        let mut project = project(&["db", "web"]);
        let web = project.services.get_mut("web").unwrap();
        web.image = Some("a<b".to_owned());
        web.depends_on = [("db".parse().unwrap(), dependency())].into();
        let args: VizArgs = args(&["--image", "--indentation-size", "2", "--spaces"]);
        insta::assert_snapshot!(args.graph(&project), @r#"
        digraph "p" {
          layout=dot;
          "db" [style="filled" label=<<font point-size="15">db</font>>];
          "web" [style="filled" label=<<font point-size="15">web</font><br/><br/><font point-size="10"><b>Image:</b><br/>a&lt;b</font>>];
          "web" -> "db";
        }
        "#);
    }
}
