//! `compose port`.

use std::str::FromStr;

use super::context::Context;
use super::error::{CommandError, USAGE};
use super::pick::{self, Among};
use super::terminal::Terminal;
use crate::model::{Protocol, ServiceName};
use crate::record::PublishedPort;

/// Show where a port of a service is published
#[derive(Debug, clap::Args)]
pub struct PortArgs {
    /// The service
    service: ServiceName,
    /// The port inside the container, as in `80` or `53/udp`
    #[arg(value_name = "PRIVATE_PORT")]
    port: Inside,
    /// Number of the container among the replicas
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// `tcp` or `udp`
    #[arg(long, value_parser = protocol)]
    protocol: Option<Protocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inside {
    port: u16,
    protocol: Option<Protocol>,
}

impl FromStr for Inside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, word) = text.split_once('/').map_or((text, None), |(p, w)| (p, Some(w)));
        let port = port.parse().map_err(|_| format!("`{port}` is no port from 1 to 65535"))?;
        Ok(Self { port, protocol: word.map(protocol).transpose()? })
    }
}

fn protocol(word: &str) -> Result<Protocol, String> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(format!("`{word}` is neither tcp nor udp")),
    }
}

/// Prints the host address at which the port is published: one of them, so that a script can connect to what it reads.
///
/// # Errors
///
/// When there is no such container, or it does not publish the port.
pub fn run(args: PortArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.target_with_containers(terminal)?;
    let container =
        pick::container(&target, &containers, &args.service, args.index, Among::Running)?;
    let protocol = match (args.protocol, args.port.protocol) {
        (Some(one), Some(other)) if one != other => {
            return Err(CommandError::failed("two protocols are given").code(USAGE));
        }
        (one, other) => one.or(other).unwrap_or_default(),
    };
    let published = &container.state.published;
    let is_meant =
        |port: &&PublishedPort| port.target == args.port.port && port.protocol == protocol;
    let Some(published) = published.iter().find(is_meant) else {
        let (port, name) = (args.port.port, &container.record.name);
        return Err(CommandError::failed(format!(
            "no port {port}/{protocol} for container {name}"
        ))
        .help("`compose ps` shows the published ports"));
    };
    terminal.print(format!("{}\n", published.host))?;
    Ok(0)
}
