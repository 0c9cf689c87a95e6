//! `config --hash`: the hash of a service by docker compose's own rule, so that scripts which
//! compare it see the same value.

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::super::error::CommandError;
use crate::file::Document;

/// Keys that change nothing about a container.
const LEFT_OUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];

/// `SERVICE HASH` for one service, or for all with `*`.
pub(super) fn hashes(document: &Document, wanted: &str) -> Result<String, CommandError> {
    let names = document.keys("services");
    let chosen: Vec<&String> = match wanted {
        "*" => names.iter().collect(),
        list => {
            let chosen = list.split(',').map(|name| {
                names.iter().find(|known| *known == name).ok_or_else(|| {
                    CommandError::failed(format!("no such service: {name}"))
                        .help("`compose config --services` lists the services")
                })
            });
            chosen.collect::<Result<_, _>>()?
        }
    };
    let line = |name: &String| {
        let service = document.service_value(name).unwrap_or_default();
        format!("{name} {}\n", hash(service))
    };
    Ok(chosen.into_iter().map(line).collect())
}

/// SHA-256 of the service as Go writes it in JSON.
fn hash(service: Json) -> String {
    let mut keys = match service {
        Json::Object(keys) => keys,
        _ => Map::new(),
    };
    for key in LEFT_OUT {
        keys.shift_remove(key);
    }
    if let Some(Json::Object(deploy)) = keys.get_mut("deploy") {
        deploy.shift_remove("replicas");
    }
    let text = Json::Object(keys).to_string();
    // Go escapes what could end a script element of HTML.
    let text = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
