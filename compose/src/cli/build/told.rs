//! What is said of builds: each step, and why one has failed.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use images::build::{BuildError, Event, Mistakes};

use super::super::context::Context;
use super::super::error::{CommandError, FAILED};
use super::super::terminal::Terminal;
use super::Voice;
use crate::diagnostic::{Diagnostic, Label, Style};
use crate::event::Failure;
use crate::model::{Place, ServiceName};

/// Shows what happens until all builds have ended.
pub(super) fn show(
    receiver: &Receiver<(String, Event)>,
    voice: Voice,
    several: bool,
    terminal: &mut Terminal,
) {
    let mut names: BTreeMap<(String, usize), String> = BTreeMap::new();
    for (service, event) in receiver {
        let of = if several { format!("{service} ") } else { String::new() };
        let line = match event {
            Event::Warning(message) => {
                terminal.warn(&format!("service {service}: {message}"));
                continue;
            }
            Event::Begun { step, name } => {
                let name = name.lines().next().unwrap_or_default().to_owned();
                names.insert((service, step), name.clone());
                format!("{of}{name}")
            }
            Event::Said { line, .. } => format!("{of} | {line}"),
            Event::Done { step, cached, took } => {
                let name = names.remove(&(service, step)).unwrap_or_default();
                let place = name.split_inclusive(']').next().unwrap_or_default().to_owned();
                if cached {
                    format!("{of}{place} cached")
                } else {
                    format!("{of}{place} done in {:.1}s", took.as_secs_f64())
                }
            }
            Event::Failed { step } => {
                let name = names.remove(&(service, step)).unwrap_or_default();
                format!("{of}{name}: failed")
            }
        };
        if voice == Voice::Full {
            terminal.note(&line);
        }
    }
}

pub(super) fn all_told(
    failures: &[(ServiceName, BuildError)],
    context: &Context,
    terminal: &Terminal,
) -> CommandError {
    let mut all = CommandError::drawn(String::new(), FAILED);
    for (service, error) in failures {
        let one = told(error, service, context, terminal);
        all.drawn.push_str(&one.drawn);
        all.failures.extend(one.failures);
    }
    all
}

/// A failed build in words, over the lines of its Dockerfile.
pub(super) fn told(
    error: &BuildError,
    service: &ServiceName,
    context: &Context,
    terminal: &Terminal,
) -> CommandError {
    let base = context.options().working_dir;
    let style = Style { color: terminal.colours_error(), base: Some(base) };
    let help = match error {
        BuildError::Dockerfile(mistakes) => {
            return CommandError::drawn(drawn(mistakes, service, &style), FAILED);
        }
        BuildError::Target { stages, .. } if stages.is_empty() => {
            "no stage has a name: write FROM IMAGE AS NAME, or take `target` away".to_owned()
        }
        BuildError::Target { stages, .. } => format!("the stages are {}", stages.join(", ")),
        BuildError::Context(_) => "check `build.context` and `build.dockerfile`".to_owned(),
        BuildError::Platform(_) => "build for the platform of this machine".to_owned(),
        BuildError::Store(_) => {
            "check that the data root can be written to and is not full".to_owned()
        }
        BuildError::Cancelled => "run the command again".to_owned(),
    };
    let mut failure = Failure::new(error);
    failure.message = format!("the image of service {service} was not built: {}", failure.message);
    CommandError::from(failure).help(help)
}

/// The mistakes of a Dockerfile, drawn as those of the compose file are.
fn drawn(mistakes: &Mistakes, service: &ServiceName, style: &Style) -> String {
    let mut out = String::new();
    for line in &mistakes.output {
        out.push_str(&format!("  | {line}\n"));
    }
    for problem in &mistakes.problems {
        let before = &mistakes.text[..problem.span.start.min(mistakes.text.len())];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = mistakes.text[start..before.len()].chars().count() + 1;
        let meant = mistakes.text.get(problem.span.clone()).unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().chars().count();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let place = Place {
            file: std::path::Path::new(&mistakes.name).into(),
            line: number(line),
            column: number(column),
        };
        let label = Label {
            place,
            width,
            text: String::new(),
            source: Some(mistakes.text.as_str().into()),
        };
        let mut diagnostic = Diagnostic::error(format!("service {service}: {}", problem.message))
            .label(label)
            .help(problem.help.clone());
        if mistakes.debuggable {
            diagnostic = diagnostic.help(format!(
                "look into the step with `compose build --debug-on-failure {service}`"
            ));
        }
        out.push_str(diagnostic.render(style).trim_end());
        out.push_str("\n\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_drawn_over_the_dockerfile() {
        let text = "FROM base\nRUN make \\\n  all\n";
        let start = text.find("RUN").unwrap();
        let mistakes = Mistakes {
            name: "/p/Dockerfile".to_owned(),
            text: text.to_owned(),
            problems: vec![images::build::Problem {
                span: start..text.len() - 1,
                message: "the command has ended with exit code 2".to_owned(),
                help: "what it said last stands above".to_owned(),
            }],
            output: vec!["make: no rule".to_owned()],
            debuggable: true,
        };
        let style = Style { color: false, base: Some("/p".into()) };
        let drawn = drawn(&mistakes, &"web".parse().unwrap(), &style);
        for part in [
            "  | make: no rule\n",
            "error: service web: the command has ended with exit code 2",
            "Dockerfile:2:1",
            "2 | RUN make \\\n  | ^^^^^^^^^^\n",
            "help: look into the step with `compose build --debug-on-failure web`",
        ] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
    }
}
