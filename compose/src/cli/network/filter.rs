//! The filters of `network ls` and `network prune`.

use std::str::FromStr;

use network::Record;

use super::view::id;

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Part of the name.
    Name(String),
    /// Beginning of the id.
    Id(String),
    /// A label, with this value if one is given.
    Label(String, Option<String>),
    /// Without that label.
    NoLabel(String, Option<String>),
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
        let label = || match value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        };
        match (key, value) {
            ("name", _) => Ok(Self::Name(value.to_owned())),
            ("id", _) => Ok(Self::Id(value.to_owned())),
            ("label", _) => Ok(Self::Label(label().0, label().1)),
            ("label!", _) => Ok(Self::NoLabel(label().0, label().1)),
            ("driver", _) => Ok(Self::Driver(value.to_owned())),
            ("scope", _) => Ok(Self::Scope(value.to_owned())),
            ("dangling", "true" | "1") => Ok(Self::Dangling(true)),
            ("dangling", "false" | "0") => Ok(Self::Dangling(false)),
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
        let has = |key: &str, value: &Option<String>| {
            let found = record.wanted.labels.get(key);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        match self {
            Self::Name(text) => record.name().as_str().contains(text.as_str()),
            Self::Id(text) => id(record).starts_with(text.as_str()),
            Self::Label(key, value) => has(key, value),
            Self::NoLabel(key, value) => !has(key, value),
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
