//! What is asked before a project from elsewhere is brought up: others say what its files do.
//!
//! Source: compose reference S62; docker/compose `cmd/compose/options.go`.

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::terminal::table::Table;
use crate::file::foreign::{Filling, Foreign, foreign};

/// Says where the files of a remote project are, and asks about its variables and about what else it includes.
///
/// # Errors
///
/// When it is not agreed to, or nobody can be asked.
pub fn agree(context: &Context, yes: bool, terminal: &mut Terminal) -> Result<(), CommandError> {
    let Some(found) = foreign(&context.options()) else { return Ok(()) };
    terminal.note(&format!("The files of {} are in {}", found.name, found.folder.display()));
    if yes || context.global().dry_run {
        return Ok(());
    }
    for question in questions(&found) {
        if !terminal.confirm(&question, "the flag `--yes`")? {
            return Err(CommandError::failed("nothing was changed")
                .help("set the variables, or name another project"));
        }
    }
    Ok(())
}

fn questions(found: &Foreign) -> Vec<String> {
    let mut questions = Vec::new();
    if !found.includes.is_empty() {
        let list = found.includes.join("\n  ");
        questions.push(format!("The project includes files from elsewhere; trust them only if you trust who wrote them:\n  {list}"));
    }
    if !found.variables.is_empty() {
        let table = variables(&found.variables).render();
        questions
            .push(format!("The project is filled in with these variables:\n{}", table.trim_end()));
    }
    questions
}

fn variables(variables: &[Filling]) -> Table {
    let mut table = Table::new(&["VARIABLE", "VALUE", "SOURCE", "REQUIRED", "DEFAULT"]);
    for variable in variables {
        let Filling { name, value, is_set, required, default } = variable.clone();
        let source = match (is_set, &value) {
            (true, _) => "environment",
            (false, Some(_)) => "compose file",
            (false, None) => "none",
        };
        let required = if required { "yes" } else { "no" };
        let value = value.unwrap_or_else(|| "<unset>".to_owned());
        table.row([name, value, source.to_owned(), required.to_owned(), default]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_to_be_known_is_in_the_questions() {
        let filling = |name: &str, value: Option<&str>, is_set| Filling {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            is_set,
            required: !is_set && value.is_none(),
            default: if is_set { String::new() } else { value.unwrap_or_default().to_owned() },
        };
        let found = Foreign {
            name: "oci://h/r".to_owned(),
            folder: "/c".into(),
            includes: vec!["oci://h/other".to_owned()],
            variables: vec![
                filling("A", Some("1"), true),
                filling("B", Some("2"), false),
                filling("C", None, false),
            ],
        };
        let questions = questions(&found);
        assert!(questions[0].ends_with("\n  oci://h/other"), "{questions:?}");
        let table = "VARIABLE   VALUE     SOURCE         REQUIRED   DEFAULT
A          1         environment    no
B          2         compose file   no         2
C          <unset>   none           yes";
        assert!(questions[1].ends_with(table), "{}", questions[1]);
        assert!(
            super::questions(&Foreign { includes: Vec::new(), variables: Vec::new(), ..found })
                .is_empty()
        );
    }
}
