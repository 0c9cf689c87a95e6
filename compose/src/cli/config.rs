//! `compose config`: the project as it is understood.

mod explain;
mod hash;
mod list;
mod yaml;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use super::context::{Context, draw, mistakes};
use super::digests;
use super::error::CommandError;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Severity};
use crate::file::{self, Document, LoadOptions, Nulls, Printed, Skip};

/// Check the compose files and print what they mean
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ConfigArgs {
    /// Services to print, with what they depend on (default: all)
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
    /// How to print
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print nothing, only check
    #[arg(long, short)]
    quiet: bool,
    /// Print the names of the services
    #[arg(long, group = "list")]
    services: bool,
    /// Print the names of the volumes
    #[arg(long, group = "list")]
    volumes: bool,
    /// Print the names of the networks
    #[arg(long, group = "list")]
    networks: bool,
    /// Print the models of the services
    #[arg(long, group = "list")]
    models: bool,
    /// Print the images of the services
    #[arg(long, group = "list")]
    images: bool,
    /// Print the profiles
    #[arg(long, group = "list")]
    profiles: bool,
    /// Print the hash of a service, or of all with `*`
    #[arg(long, value_name = "SERVICE", group = "list")]
    hash: Option<String>,
    /// Print the variables that the files mention, and their defaults
    #[arg(long, group = "list")]
    variables: bool,
    /// Print the variables with which the files are filled in
    #[arg(long, group = "list")]
    environment: bool,
    /// Print where each value comes from: all of them, or those at a path like
    /// `services.web.environment`
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "", group = "list")]
    explain: Option<String>,
    /// Print the JSON Schema of compose files, for editors
    #[arg(long, group = "list")]
    schema: bool,
    /// Leave variables as they are written
    #[arg(long)]
    no_interpolate: bool,
    /// Add nothing that the files do not say
    #[arg(long)]
    no_normalize: bool,
    /// Leave relative paths as they are
    #[arg(long)]
    no_path_resolution: bool,
    /// Do not check that names are defined
    #[arg(long)]
    no_consistency: bool,
    /// Do not complain about missing environment files
    #[arg(long)]
    no_env_resolution: bool,
    /// Print the images with the digests that their names lead to
    #[arg(long)]
    resolve_image_digests: bool,
    /// Print nothing but the images with their digests, as an override file
    #[arg(long)]
    lock_image_digests: bool,
    /// Write to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How the document is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// Prints the document, or a list out of it.
///
/// # Errors
///
/// What is wrong with the files, drawn over their lines; or the output cannot be written.
pub fn run(
    args: ConfigArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let options = options(&args, context);
    if args.format == Some(Format::Json) {
        terminal.speak_json();
    }
    if args.schema {
        terminal.print(format!("{:#}\n", file::json_schema()))?;
        return Ok(0);
    }
    if args.variables {
        let variables =
            Document::variables(&options).map_err(|found| mistakes(&found, &options, terminal))?;
        terminal.print(list::variables(&variables, args.format))?;
        return Ok(0);
    }
    let document =
        Document::read(&options).map_err(|found| mistakes(&found, &options, terminal))?;
    // What is printed does not wait for what is odd about it.
    let (text, doubts) = thread::scope(|scope| {
        let doubts = scope.spawn(|| document.doubts());
        let text = match &args.explain {
            _ if args.quiet => Ok(None),
            Some(path) => {
                explain::explain(&document, path, args.format, &options.working_dir).map(Some)
            }
            None => text(&args, &document, context, terminal).map(Some),
        };
        (text, doubts.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // Docker compose prints these without a word; here they keep `up` from starting.
    let doubts =
        doubts.into_iter().map(|doubt| Diagnostic { severity: Severity::Warning, ..doubt });
    let warnings: Vec<Diagnostic> = document.warnings().iter().cloned().chain(doubts).collect();
    terminal.warn_drawn(&draw(&warnings, &options, terminal));
    if let Some(text) = text? {
        match &args.output {
            Some(path) => std::fs::write(path, text).map_err(|error| {
                CommandError::failed(format!("cannot write {}: {error}", path.display()))
            })?,
            None => terminal.print(text)?,
        }
    }
    // The process ends here: to free a large document piece by piece takes longer than to check it.
    std::mem::forget(document);
    Ok(0)
}

/// What was asked for.
fn text(
    args: &ConfigArgs,
    document: &Document,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<String, CommandError> {
    let lists =
        [(args.services, "services"), (args.volumes, "volumes"), (args.networks, "networks")];
    if let Some((_, kind)) = lists.into_iter().find(|(asked, _)| *asked) {
        return Ok(list::lines(document.keys(kind)));
    }
    if args.images {
        return Ok(list::lines(document.images().into_values()));
    }
    if args.models {
        return Ok(list::lines(document.models()));
    }
    if args.profiles {
        return Ok(list::lines(document.profiles()));
    }
    if args.environment {
        let pairs = document.environment().iter();
        return Ok(list::lines(pairs.map(|(name, value)| format!("{name}={value}"))));
    }
    if let Some(wanted) = &args.hash {
        return hash::hashes(document, wanted);
    }
    let format = args.format.unwrap_or(Format::Yaml);
    let is_resolved = args.resolve_image_digests || args.lock_image_digests;
    let escape = |value: &mut Printed<'_>| {
        if !args.no_interpolate {
            escape_dollars(value);
        }
    };
    if format == Format::Yaml && !is_resolved {
        // With everything written out it is about three times as long.
        let room = 4 * document.read_bytes();
        return Ok(yaml::pieces(room, |visit| document.pieces(visit), escape, 2));
    }
    let nulls = if format == Format::Json { Nulls::Shown } else { Nulls::Hidden };
    let mut value = document.to_value(nulls);
    let resolved;
    if is_resolved {
        let mut json = value.into_json();
        let pinned = digests::resolve(digests::images(&json), context, terminal)?;
        if args.lock_image_digests {
            let always: &[&str] =
                if nulls == Nulls::Shown { &["command", "entrypoint"] } else { &[] };
            json = digests::lock(&pinned, always);
        } else {
            digests::pin(&mut json, &pinned);
        }
        resolved = json;
        value = Printed::from(&resolved);
    }
    escape(&mut value);
    match format {
        Format::Yaml => Ok(yaml::text(&value, 2)),
        Format::Json => {
            let text = serde_json::to_string_pretty(&value);
            text.map(|text| text + "\n").map_err(|error| CommandError::new(&error))
        }
    }
}

/// `document` as YAML, as `config` writes it.
pub(super) fn yaml_text(document: &serde_json::Value) -> String {
    yaml::text(&Printed::from(document), 2)
}

/// What is printed can be read again: a `$` that is none of a variable is doubled.
fn escape_dollars(value: &mut Printed<'_>) {
    match value {
        Printed::Text(text) if text.contains('$') => *text = text.replace('$', "$$").into(),
        Printed::List(items) => items.iter_mut().for_each(escape_dollars),
        Printed::Map(entries) => entries.iter_mut().for_each(|(_, value)| escape_dollars(value)),
        _ => {}
    }
}

fn options(args: &ConfigArgs, context: &Context) -> LoadOptions {
    LoadOptions {
        services: args.names.clone(),
        skip: Skip {
            interpolation: args.no_interpolate,
            normalization: args.no_normalize,
            paths: args.no_path_resolution,
            consistency: args.no_consistency,
            missing_env_files: args.no_env_resolution,
            unused: context.global().all_resources,
        },
        ..context.options()
    }
}
