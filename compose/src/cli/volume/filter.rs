//! The filters of `volume ls` and `volume prune`.

use std::str::FromStr;

use volumes::Volume;

use crate::cli::filter::{LabelFilter, truth};

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Part of the name.
    Name(String),
    /// With a label, or without it.
    Label(LabelFilter),
    /// The driver.
    Driver(String),
    /// Whether no container has it.
    Dangling(bool),
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
            ("driver", _) => Ok(Self::Driver(value.to_owned())),
            _ => Err("there are name=TEXT, label=KEY[=VALUE], label!=KEY[=VALUE], driver=NAME, dangling=true|false"
                .to_owned()),
        }
    }
}

impl Filter {
    /// Whether the volume, which `users` have, passes.
    pub fn keeps(&self, volume: &Volume, users: &[String]) -> bool {
        match self {
            Self::Name(text) => volume.name.as_str().contains(text.as_str()),
            Self::Label(label) => label.keeps(|key| volume.labels.get(key)),
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
