//! The filters of `volume ls` and `volume prune`.

use std::str::FromStr;

use volumes::Volume;

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Part of the name.
    Name(String),
    /// A label, with this value if one is given.
    Label(String, Option<String>),
    /// Without that label.
    NoLabel(String, Option<String>),
    /// The driver.
    Driver(String),
    /// Whether no container has it.
    Dangling(bool),
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
            ("label", _) => Ok(Self::Label(label().0, label().1)),
            ("label!", _) => Ok(Self::NoLabel(label().0, label().1)),
            ("driver", _) => Ok(Self::Driver(value.to_owned())),
            ("dangling", "true" | "1") => Ok(Self::Dangling(true)),
            ("dangling", "false" | "0") => Ok(Self::Dangling(false)),
            _ => Err("there are name=TEXT, label=KEY[=VALUE], label!=KEY[=VALUE], driver=NAME, dangling=true|false"
                .to_owned()),
        }
    }
}

impl Filter {
    /// Whether the volume, which `users` have, passes.
    pub fn keeps(&self, volume: &Volume, users: &[String]) -> bool {
        let has = |key: &str, value: &Option<String>| {
            volume
                .labels
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        match self {
            Self::Name(text) => volume.name.as_str().contains(text.as_str()),
            Self::Label(key, value) => has(key, value),
            Self::NoLabel(key, value) => !has(key, value),
            Self::Driver(driver) => volume.driver == *driver,
            Self::Dangling(dangling) => users.is_empty() == *dangling,
        }
    }
}

#[cfg(test)]
mod tests {
    use volumes::{Store, Wanted};

    use super::*;

    #[test]
    fn filters_pass_what_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut wanted = Wanted::parse("shop_data").unwrap();
        wanted.labels.insert("a".into(), "b".into());
        let volume = Store::open(dir.path()).unwrap().create(&wanted).unwrap();
        let user = ["shop-db-1".to_owned()];
        for (filter, users, keeps) in [
            ("name=data", &[][..], true),
            ("name=other", &[], false),
            ("label=a", &[], true),
            ("label=a=b", &[], true),
            ("label=a=c", &[], false),
            ("label!=a", &[], false),
            ("label!=z", &[], true),
            ("driver=local", &[], true),
            ("dangling=true", &[], true),
            ("dangling=true", &user, false),
            ("dangling=false", &user, true),
        ] {
            assert_eq!(filter.parse::<Filter>().unwrap().keeps(&volume, users), keeps, "{filter}");
        }
        assert!("size=1".parse::<Filter>().is_err());
        assert!("dangling=perhaps".parse::<Filter>().is_err());
    }
}
