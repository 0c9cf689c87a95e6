//! `compose network create`.

use network::{NetworkName, Store};

use super::view::id;
use crate::apply::network_wish;
use crate::cli::context::Context;
use crate::cli::error::{CommandError, FAILED};
use crate::cli::terminal::Terminal;
use crate::model::{Ipam, IpamPool, Network, network_option};

/// Create a network
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Its name
    #[arg(value_name = "NETWORK")]
    name: NetworkName,
    /// The driver
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// An option of the driver
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    opt: Vec<(String, String)>,
    /// A label
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A range of addresses, as in 10.1.2.0/24; one for IPv4 and one for IPv6 at most
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// The address of the router in the subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// The part of the subnet from which containers get addresses
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// An address that no container gets
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = pair)]
    aux_address: Vec<(String, String)>,
    /// Without a way out
    #[arg(long)]
    internal: bool,
    /// With IPv4 addresses, or with `=false` without them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    ipv4: bool,
    /// With IPv6 addresses
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    ipv6: bool,
    /// As always: any container may join
    #[arg(long, hide = true)]
    attachable: bool,
    /// As always: this machine
    #[arg(long, hide = true)]
    scope: Option<String>,
    /// Who gives out addresses
    #[arg(long, hide = true, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// An option of whoever gives out addresses
    #[arg(long, hide = true, value_name = "KEY=VALUE", value_parser = pair)]
    ipam_opt: Vec<(String, String)>,
    /// For clusters
    #[arg(long, hide = true)]
    ingress: bool,
    /// For clusters
    #[arg(long, hide = true)]
    config_only: bool,
    /// For clusters
    #[arg(long, hide = true, value_name = "NETWORK")]
    config_from: Option<String>,
}

/// What of docker's flags is for others than us, and why.
fn refusal(args: &CreateArgs) -> Option<(&'static str, &'static str)> {
    let binding = args.opt.iter().any(|(option, _)| option == network_option::HOST_BINDING);
    let table = [
        (args.ingress, "--ingress", "it is for clusters; leave it out"),
        (args.config_only, "--config-only", "give the options to each network"),
        (args.config_from.is_some(), "--config-from", "give the options to this network"),
        (
            args.scope.as_deref().is_some_and(|scope| scope != "local"),
            "--scope",
            "networks are of this machine; leave it out, or say `local`",
        ),
        (binding, network_option::HOST_BINDING, "write the address in `ports` of the services"),
    ];
    table.into_iter().find(|(used, ..)| *used).map(|(_, what, help)| (what, help))
}

/// `key=value`, or a key with an empty value.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a value parser")]
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Ok((key.to_owned(), value.to_owned()))
}

/// Creates the network and prints its id.
///
/// # Errors
///
/// When it exists, or cannot be made as asked for.
pub fn run(
    args: CreateArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    if let Some((what, help)) = refusal(&args) {
        let message = format!("{what} is not carried out");
        return Err(CommandError::usage(message).help(help));
    }
    if store.record(&args.name)?.is_some() {
        let message = format!("network {} exists already", args.name);
        return Err(CommandError::failed(message)
            .help(format!("`compose network inspect {}` shows it", args.name))
            .code(FAILED));
    }
    let wanted = network_wish(&args.wanted()?)?;
    if context.global().dry_run {
        terminal.print(format!("DRY-RUN MODE - create network {}\n", wanted.name))?;
        return Ok(0);
    }
    let network = store.create(&wanted)?;
    terminal.print(format!("{}\n", id(network.record())))?;
    Ok(0)
}

impl CreateArgs {
    /// The network as a file would have it.
    fn wanted(self) -> Result<Network, CommandError> {
        let mut pools: Vec<IpamPool> = self
            .subnet
            .into_iter()
            .map(|subnet| IpamPool { subnet: Some(subnet), ..IpamPool::default() })
            .collect();
        // An address belongs to the pool of its family.
        let pool = |pools: &mut Vec<IpamPool>, address: &str| -> Result<usize, CommandError> {
            let same = |pool: &IpamPool| {
                let subnet = pool.subnet.as_deref().unwrap_or_default();
                subnet.contains(':') == address.contains(':')
            };
            pools.iter().position(same).ok_or_else(|| {
                CommandError::usage(format!("{address} belongs to no --subnet"))
                    .help("say with --subnet which range it is in")
            })
        };
        for gateway in self.gateway {
            let at = pool(&mut pools, &gateway)?;
            pools[at].gateway = Some(gateway);
        }
        for range in self.ip_range {
            let at = pool(&mut pools, &range)?;
            pools[at].ip_range = Some(range);
        }
        for (host, address) in self.aux_address {
            let at = pool(&mut pools, &address)?;
            pools[at].aux_addresses.insert(host, address);
        }
        Ok(Network {
            name: self.name.to_string(),
            driver: Some(self.driver),
            driver_opts: self.opt.into_iter().collect(),
            internal: self.internal,
            enable_ipv4: Some(self.ipv4),
            enable_ipv6: Some(self.ipv6),
            ipam: Ipam {
                driver: Some(self.ipam_driver),
                pools,
                options: self.ipam_opt.into_iter().collect(),
            },
            labels: self.label.into_iter().collect(),
            ..Network::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn words_become_a_network() {
        let line = [
            "back",
            "--subnet",
            "10.1.0.0/16",
            "--subnet",
            "fd00:1::/64",
            "--gateway",
            "10.1.0.9",
            "--gateway",
            "fd00:1::9",
            "--ip-range",
            "10.1.5.0/24",
            "--aux-address",
            "dns=10.1.0.2",
            "--label",
            "a=b",
            "--internal",
            "-o",
            "com.docker.network.driver.mtu=1400",
        ];
        let network = args::<CreateArgs>(&line).wanted().unwrap();
        let wanted = network_wish(&network).unwrap();
        assert_eq!((wanted.mtu, wanted.internal), (Some(1400), true));
        assert_eq!(wanted.subnets.len(), 2);
        assert_eq!(wanted.subnets[0].gateway, "10.1.0.9".parse().ok());
        assert_eq!(wanted.subnets[1].gateway, "fd00:1::9".parse().ok());
        assert_eq!(wanted.subnets[0].aux_addresses["dns"].to_string(), "10.1.0.2");
        let alone = args::<CreateArgs>(&["back", "--gateway", "10.1.0.9"]).wanted();
        assert_eq!(alone.unwrap_err().failures[0].message, "10.1.0.9 belongs to no --subnet");
        for words in [&["a", "--ingress"][..], &["a", "--scope", "swarm"], &["a", "--config-only"]]
        {
            assert_eq!(super::refusal(&args::<CreateArgs>(words)).unwrap().0, words[1]);
        }
        assert_eq!(
            super::refusal(&args::<CreateArgs>(&["a", "--scope", "local", "--attachable"])),
            None
        );
        let options = args::<CreateArgs>(&["a", "--ipam-opt", "x=y"]).wanted().unwrap();
        assert_eq!(
            network_wish(&options).unwrap_err().to_string(),
            "`ipam.options` has `x`, and the management of addresses has no options"
        );
        let without = args::<CreateArgs>(&["a", "--ipv4=false", "--ipv6"]).wanted().unwrap();
        assert_eq!((without.enable_ipv4, without.enable_ipv6), (Some(false), Some(true)));
        assert!(refusal::<CreateArgs>(&["a/b"]).unwrap().contains("is not a network name"));
    }
}
