//! `compose login` and `compose logout`.

use std::io::{IsTerminal, Read, stdin};

use images::registry::{Cancel, Credentials, Environment, Kept, forget, keep};

use super::context::Context;
use super::error::{CommandError, USAGE};
use super::terminal::Terminal;
use crate::apply::image::registries;
use crate::event::Failure;
use crate::registry;

/// What a registry is when none is named.
const HUB: &str = "docker.io";

/// Log in to a registry: keeps name and password where docker keeps them
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// Host of the registry (default: Docker Hub)
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registry: Option<String>,
    /// User name
    #[arg(long, short, value_name = "NAME")]
    username: Option<String>,
    /// Password or access token; everybody on this machine can see it, so better use --password-stdin
    #[arg(long, short, value_name = "SECRET", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

/// Log out of a registry: forgets name and password
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// Host of the registry (default: Docker Hub)
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registry: Option<String>,
}

/// The host in what people write for a registry.
fn registry(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains(['@', ' ']) {
        return Err(format!("`{text}` is no host: write it as registry.lan:5000"));
    }
    Ok(match host {
        "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        other => other.to_owned(),
    })
}

/// Asks the registry whether name and password are right, and keeps them.
///
/// # Errors
///
/// When they are wrong, or cannot be kept.
pub fn login(args: LoginArgs, _: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let registry = args.registry.unwrap_or_else(|| HUB.to_owned());
    let user = match args.username {
        Some(user) => user,
        None if stdin().is_terminal() => {
            terminal.ask("User name: ");
            line()?
        }
        None => return Err(missing("a user name", "--username NAME --password-stdin")),
    };
    let password = match args.password {
        Some(password) => {
            terminal
                .warn("a password on the command line can be seen by others; use --password-stdin");
            password
        }
        None if args.password_stdin => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).map_err(unreadable)?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None if stdin().is_terminal() => hidden(terminal)?,
        None => return Err(missing("a password", "--password-stdin")),
    };
    if user.is_empty() || password.is_empty() {
        return Err(missing("a user name and a password", "--username NAME --password-stdin"));
    }
    let credentials = Credentials::Password { user, password };
    let environment = Environment::of_process();
    let registries = registries(environment.clone())?;
    registries.check(&registry, &credentials, &Cancel::default()).map_err(|error| {
        let help = registry::help(&error).unwrap_or_default();
        CommandError::from(Failure::new(&error).with_help(help))
    })?;
    let kept = keep(&environment, &registry, &credentials).map_err(|error| {
        CommandError::new(&error).help("DOCKER_CONFIG names another folder for config.json")
    })?;
    if let Kept::File(path) = kept {
        terminal.warn(&format!(
            "the password stands in {}, not encrypted; a credential helper (`credsStore`) avoids that",
            path.display()
        ));
    }
    terminal.print("Login Succeeded\n")?;
    Ok(0)
}

/// Forgets what is known about the registry.
///
/// # Errors
///
/// When it cannot be forgotten.
pub fn logout(args: LogoutArgs, _: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let registry = args.registry.unwrap_or_else(|| HUB.to_owned());
    let known = forget(&Environment::of_process(), &registry).map_err(|error| {
        CommandError::new(&error).help("correct the file, or remove the entry in it by hand")
    })?;
    let words = if known { "Removed the credentials for" } else { "Not logged in to" };
    terminal.print(format!("{words} {registry}\n"))?;
    Ok(0)
}

fn missing(what: &str, how: &str) -> CommandError {
    CommandError::failed(format!("{what} is needed, and there is no terminal to ask at"))
        .help(format!("give it with {how}"))
        .code(USAGE)
}

fn unreadable(error: std::io::Error) -> CommandError {
    CommandError::failed(format!("cannot read standard input: {error}"))
}

fn line() -> Result<String, CommandError> {
    let mut text = String::new();
    stdin().read_line(&mut text).map_err(unreadable)?;
    Ok(text.trim().to_owned())
}

/// Reads a line that does not appear on the screen.
fn hidden(terminal: &mut Terminal) -> Result<String, CommandError> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let failed = |error: rustix::io::Errno| unreadable(error.into());
    terminal.ask("Password: ");
    let before = tcgetattr(stdin()).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
    let text = line();
    tcsetattr(stdin(), OptionalActions::Flush, &before).map_err(failed)?;
    terminal.ask("\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_a_host() {
        for (text, host) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry.lan:5000", "registry.lan:5000"),
            ("https://ghcr.io/team", "ghcr.io"),
        ] {
            assert_eq!(registry(text).unwrap(), host);
        }
        assert!(registry("https://").is_err());
        assert!(registry("a b").is_err());
    }
}
