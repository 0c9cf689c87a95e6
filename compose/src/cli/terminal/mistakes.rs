//! A build that has failed, over the lines of its Dockerfile.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Label, Style};
use crate::event::FailedBuild;
use crate::model::Place;

/// The mistakes of a Dockerfile, drawn as those of the compose file are, below what the failed step has said.
pub(super) fn drawn(build: &FailedBuild, style: &Style) -> String {
    let mut out = String::new();
    for line in &build.mistakes.output {
        out.push_str(&format!("  | {line}\n"));
    }
    for diagnostic in diagnostics(build) {
        out.push_str(diagnostic.render(style).trim_end());
        out.push_str("\n\n");
    }
    out
}

/// The mistakes of a Dockerfile, each with its place and what to do.
pub(super) fn diagnostics(build: &FailedBuild) -> Vec<Diagnostic> {
    let FailedBuild { service, mistakes } = build;
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let diagnostic = |problem: &images::build::Problem| {
        let before = mistakes.text.get(..problem.span.start).unwrap_or(&mistakes.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = mistakes.text[start..before.len()].chars().count() + 1;
        let meant = mistakes.text.get(problem.span.clone()).unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().chars().count();
        let place = Place {
            file: Path::new(&mistakes.name).into(),
            line: number(line),
            column: number(column),
        };
        let source = Some(mistakes.text.as_str().into());
        let label = Label { place, width, text: String::new(), source };
        let message = format!("service {service}: {}", problem.message);
        let told = Diagnostic::error(message).label(label).help(problem.help.clone());
        if !mistakes.debuggable {
            return told;
        }
        told.help(format!("look into the step with `compose build --debug-on-failure {service}`"))
    };
    mistakes.problems.iter().map(diagnostic).collect()
}

#[cfg(test)]
mod tests {
    use images::build::{Mistakes, Problem};

    use super::*;

    #[test]
    fn mistakes_are_drawn_over_the_dockerfile() {
        let text = "FROM base\nRUN make \\\n  all\n";
        let start = text.find("RUN").unwrap();
        let mistakes = Mistakes {
            name: "/p/Dockerfile".to_owned(),
            text: text.to_owned(),
            problems: vec![Problem {
                span: start..text.len() - 1,
                message: "the command has ended with exit code 2".to_owned(),
                help: "what it said last stands above".to_owned(),
            }],
            output: vec!["make: no rule".to_owned()],
            debuggable: true,
        };
        let build = FailedBuild { service: "web".to_owned(), mistakes };
        let style = Style { color: false, base: Some("/p".into()) };
        let drawn = drawn(&build, &style);
        for part in [
            "  | make: no rule\n",
            "error: service web: the command has ended with exit code 2",
            "Dockerfile:2:1",
            "2 | RUN make \\\n  | ^^^^^^^^^^\n",
            "help: look into the step with `compose build --debug-on-failure web`",
        ] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
        let json = diagnostics(&build)[0].to_json().to_string();
        assert!(json.contains("\"line\":2"), "{json}");
    }
}
