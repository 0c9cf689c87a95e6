//! The filters of `network ls` and `network prune`.

use std::str::FromStr;

use network::Record;

use super::view::id;
use crate::cli::filter::{LabelFilter, truth};

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Part of the name.
    Name(String),
    /// Beginning of the id.
    Id(String),
    /// With a label, or without it.
    Label(LabelFilter),
    /// The driver.
    Driver(String),
    /// The scope.
    Scope(String),
    /// Whether no container is to be on it.
    Dangling(bool),
    /// Made by somebody (`custom`), or not (`builtin`).
    Custom(bool),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if let Some(label) = LabelFilter::parse(key, value) {
            return Ok(Self::Label(label));
        }
        if let ("dangling", Some(dangling)) = (key, truth(value)) {
            return Ok(Self::Dangling(dangling));
        }
        match (key, value) {
            ("name", _) => Ok(Self::Name(value.to_owned())),
            ("id", _) => Ok(Self::Id(value.to_owned())),
            ("driver", _) => Ok(Self::Driver(value.to_owned())),
            ("scope", _) => Ok(Self::Scope(value.to_owned())),
            ("type", "custom") => Ok(Self::Custom(true)),
            ("type", "builtin") => Ok(Self::Custom(false)),
            _ => Err("there are name=TEXT, id=TEXT, label=KEY[=VALUE], label!=KEY[=VALUE], driver=NAME, scope=local, type=custom|builtin, dangling=true|false"
                .to_owned()),
        }
    }
}

impl Filter {
    /// Whether the network, on which `users` are to be, passes.
    pub fn keeps(&self, record: &Record, users: &[String]) -> bool {
        match self {
            Self::Name(text) => record.name().as_str().contains(text.as_str()),
            Self::Id(text) => id(record).starts_with(text.as_str()),
            Self::Label(label) => label.keeps(|key| record.wanted.labels.get(key)),
            Self::Driver(driver) => driver == "bridge",
            Self::Scope(scope) => scope == "local",
            Self::Dangling(dangling) => users.is_empty() == *dangling,
            Self::Custom(custom) => *custom,
        }
    }
}

#[cfg(test)]
mod tests {
    use network::Wanted;

    use super::*;

    #[test]
    fn filters_pass_what_they_name() {
        let mut wanted = Wanted::new("shop_back".parse().unwrap());
        wanted.labels.insert("a".into(), "b".into());
        let record = Record {
            version: 1,
            wanted,
            subnet: "10.1.0.0/24".parse().ok(),
            gateway: "10.1.0.1".parse().ok(),
            ipv6: None,
            created: std::time::UNIX_EPOCH,
        };
        let begins = format!("id={}", &id(&record)[..8]);
        let user = ["shop-db-1".to_owned()];
        for (filter, users, keeps) in [
            ("name=back", &[][..], true),
            ("name=other", &[], false),
            (begins.as_str(), &[], true),
            ("id=none", &[], false),
            ("label=a", &[], true),
            ("label=a=b", &[], true),
            ("label=a=c", &[], false),
            ("label!=a", &[], false),
            ("driver=bridge", &[], true),
            ("driver=overlay", &[], false),
            ("scope=local", &[], true),
            ("type=custom", &[], true),
            ("type=builtin", &[], false),
            ("dangling=true", &[], true),
            ("dangling=true", &user, false),
        ] {
            assert_eq!(filter.parse::<Filter>().unwrap().keeps(&record, users), keeps, "{filter}");
        }
        assert!("size=1".parse::<Filter>().is_err());
    }
}
