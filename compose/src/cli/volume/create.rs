//! `compose volume create`.

use std::collections::BTreeMap;
use std::io;

use volumes::{Store, VolumeName, Wanted};

use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Create a volume
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Its name (default: 64 random digits)
    #[arg(value_name = "VOLUME", value_parser = VolumeName::parse)]
    name: Option<VolumeName>,
    /// The driver
    #[arg(long, short, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// A label
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// An option of the driver: type, device or o, as for mount(8)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    opt: Vec<(String, String)>,
}

/// `key=value`, or a key with an empty value.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a value parser")]
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Ok((key.to_owned(), value.to_owned()))
}

/// Creates the volume and prints its name.
///
/// # Errors
///
/// When it cannot be made, or exists with other options.
pub fn run(args: CreateArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let volume = store.create(&args.wanted().map_err(|error| CommandError::new(&error))?)?;
    terminal.print(format!("{}\n", volume.name))?;
    Ok(0)
}

/// Says what would be created.
///
/// # Errors
///
/// When standard output does not take it.
pub fn dry_run(args: &CreateArgs, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let name = args.name.as_ref().map_or("without a name", VolumeName::as_str);
    terminal.print(format!("DRY-RUN MODE - create volume {name}\n"))?;
    Ok(0)
}

impl CreateArgs {
    fn wanted(self) -> io::Result<Wanted> {
        let Self { name, driver, label, opt } = self;
        let labels: BTreeMap<_, _> = label.into_iter().collect();
        let wanted = match name {
            Some(name) => Wanted { labels, ..Wanted::named(name) },
            None => Wanted::anonymous(labels)?,
        };
        Ok(Wanted { driver, driver_opts: opt.into_iter().collect(), ..wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn words_become_a_wish() {
        let given: CreateArgs =
            args(&["data", "--label", "a=b=c", "--label", "bare", "-o", "type=tmpfs"]);
        let wanted = given.wanted().unwrap();
        assert_eq!(wanted.name.as_str(), "data");
        assert_eq!(wanted.labels["a"], "b=c");
        assert_eq!(wanted.labels["bare"], "");
        assert_eq!(wanted.driver_opts["type"], "tmpfs");
        assert!(refusal::<CreateArgs>(&["a/b"]).unwrap().contains("is not a volume name"));
    }
}
