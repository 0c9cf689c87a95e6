//! A network in the words of docker.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use network::{Family, IpNet, Member, Record};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// 64 digits that stand for this network and for no other one of its name.
pub fn id(record: &Record) -> String {
    let born = record.created.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {}", record.name(), born.as_nanos());
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `network ls` shows of a network; the fields are the keys of docker's JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Line {
    created_at: String,
    driver: &'static str,
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "IPv4")]
    ipv4: &'static str,
    #[serde(rename = "IPv6")]
    ipv6: &'static str,
    internal: &'static str,
    labels: String,
    name: String,
    scope: &'static str,
}

impl Line {
    /// The line of `record`; the id is cut off unless `whole`.
    pub fn new(record: &Record, whole: bool) -> Self {
        let labels: Vec<String> =
            record.wanted.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        let word = |truth: bool| if truth { "true" } else { "false" };
        let mut id = id(record);
        if !whole {
            id.truncate(12);
        }
        Self {
            created_at: created(record)
                .to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S%.f %z %Z")
                .to_string(),
            driver: record.wanted.driver.name(),
            id,
            ipv4: word(record.has(Family::V4)),
            ipv6: word(record.has(Family::V6)),
            internal: word(record.wanted.internal),
            labels: labels.join(","),
            name: record.name().to_string(),
            scope: "local",
        }
    }
}

fn created(record: &Record) -> Timestamp {
    Timestamp::try_from(record.created).unwrap_or_default()
}

/// What `network inspect` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    name: String,
    id: String,
    created: Timestamp,
    scope: &'static str,
    driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    containers: BTreeMap<String, Inside>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    options: BTreeMap<String, String>,
    config: Vec<Pool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pool {
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none")]
    ip_range: Option<String>,
    gateway: String,
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "BTreeMap::is_empty")]
    aux_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inside {
    name: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4: String,
    #[serde(rename = "IPv6Address")]
    ipv6: String,
}

impl Inspect {
    /// The network with its members; `names` are those of the containers, by id.
    pub fn new(record: &Record, members: &[Member], names: &BTreeMap<String, String>) -> Self {
        let wanted = &record.wanted;
        let mut options = wanted.options.clone();
        options.extend(
            wanted.mtu.map(|mtu| ("com.docker.network.driver.mtu".to_owned(), mtu.to_string())),
        );
        let containers = members.iter().map(|member| {
            let endpoint = &member.endpoint;
            let name = names.get(&endpoint.container).or_else(|| member.names.first());
            let inside = Inside {
                name: name.cloned().unwrap_or_default(),
                endpoint_id: endpoint
                    .near
                    .as_ref()
                    .map_or_else(|| endpoint.container.clone(), ToString::to_string),
                mac_address: endpoint.mac.to_string(),
                ipv4: endpoint.address.map(|ipv4| ipv4.to_string()).unwrap_or_default(),
                ipv6: endpoint.ipv6.map(|ipv6| ipv6.to_string()).unwrap_or_default(),
            };
            (endpoint.container.clone(), inside)
        });
        Self {
            name: record.name().to_string(),
            id: id(record),
            created: created(record),
            scope: "local",
            driver: record.wanted.driver.name(),
            ipv4: record.has(Family::V4),
            ipv6: record.has(Family::V6),
            ipam: Ipam { driver: "default", options: BTreeMap::new(), config: pools(record) },
            internal: wanted.internal,
            attachable: true,
            ingress: false,
            containers: containers.collect(),
            options,
            labels: wanted.labels.clone(),
        }
    }
}

fn pools(record: &Record) -> Vec<Pool> {
    let pool = |gateway: IpNet| {
        let mut wishes = record.wanted.subnets.iter();
        let wish = wishes.find(|wish| wish.subnet.family() == gateway.family());
        Pool {
            subnet: gateway.network().to_string(),
            ip_range: wish.and_then(|wish| wish.ip_range).map(|range| range.to_string()),
            gateway: gateway.address().to_string(),
            aux_addresses: wish.map(|wish| wish.aux_addresses.clone()).unwrap_or_default(),
        }
    };
    record.gateways().map(pool).collect()
}
