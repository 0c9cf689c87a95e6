//! The words of `cache_from` and `cache_to`: `type=registry,ref=registry.lan/app:cache,mode=max`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::reference::{Reference, ReferenceError};

/// The name of a cache in a folder that has several.
const TAG: &str = "latest";

/// Where a cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptAt {
    /// An image at a registry.
    Registry(Reference),
    /// A folder with an OCI image layout.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the cache is called in it.
        tag: String,
    },
    /// The image that is built.
    Image,
}

impl fmt::Display for KeptAt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => formatter.write_str(&reference.familiar()),
            Self::Folder { path, tag } if tag == TAG => path.display().fmt(formatter),
            Self::Folder { path, tag } => write!(formatter, "{} ({tag})", path.display()),
            Self::Image => formatter.write_str("the image"),
        }
    }
}

/// A cache that may be taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFrom(pub(super) KeptAt);

/// A cache to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    pub(super) kept_at: KeptAt,
    /// What stages have made that are not in the image is written too: `mode=max`.
    pub(super) all: bool,
    /// A build succeeds without it: `ignore-error=true`.
    pub(super) may_fail: bool,
}

/// Words that say of no cache where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheWordError {
    /// Neither an attribute nor the name of an image.
    #[error("`{0}` is no attribute of the form NAME=VALUE")]
    Word(String),
    /// An attribute that says nothing here.
    #[error("a cache of the type {kind} has no attribute `{name}`, only {}", known.join(", "))]
    Attribute {
        /// The type.
        kind: String,
        /// The attribute.
        name: String,
        /// Those it has.
        known: Vec<&'static str>,
    },
    /// A value that the attribute cannot have.
    #[error("`{name}` cannot be `{value}`, only {known}")]
    Value {
        /// The attribute.
        name: &'static str,
        /// The value.
        value: String,
        /// What it can be.
        known: &'static str,
    },
    /// An attribute is missing.
    #[error("a cache of the type {kind} needs `{name}`")]
    Missing {
        /// The type.
        kind: &'static str,
        /// The attribute.
        name: &'static str,
    },
    /// The name of the image is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl CacheFrom {
    /// Reads a line of `cache_from`; folders are relative to `base`. `None` for a type that there is not here.
    ///
    /// # Errors
    ///
    /// [`CacheWordError`].
    pub fn parse(text: &str, base: &Path) -> Result<Option<Self>, CacheWordError> {
        if !text.contains('=') {
            return Ok(Some(Self(KeptAt::Registry(text.parse()?))));
        }
        let mut words = Words::read(text)?;
        let kept_at = match &*words.kind {
            "registry" => words.registry()?,
            "local" => words.folder("src", base)?,
            // Where that image is has to be said.
            "inline" => {
                let (value, known) =
                    (words.kind, "registry, with the image as its `ref`, or local");
                return Err(CacheWordError::Value { name: "type", value, known });
            }
            _ => return Ok(None),
        };
        words.finish(&["ref", "src", "tag"])?;
        Ok(Some(Self(kept_at)))
    }
}

impl CacheTo {
    /// Reads a line of `cache_to`; folders are relative to `base`. `None` for a type that there is not here.
    ///
    /// # Errors
    ///
    /// [`CacheWordError`].
    pub fn parse(text: &str, base: &Path) -> Result<Option<Self>, CacheWordError> {
        if !text.contains('=') {
            let kept_at = KeptAt::Registry(text.parse()?);
            return Ok(Some(Self { kept_at, all: false, may_fail: false }));
        }
        let mut words = Words::read(text)?;
        let kept_at = match &*words.kind {
            "registry" => words.registry()?,
            "local" => words.folder("dest", base)?,
            "inline" => KeptAt::Image,
            _ => return Ok(None),
        };
        let all = words.choice("mode", ["min", "max"], "min or max")?;
        let may_fail = words.choice("ignore-error", ["false", "true"], "true or false")?;
        // What is written is always so.
        words.choice("image-manifest", ["true", "true"], "true")?;
        words.choice("oci-mediatypes", ["true", "true"], "true")?;
        words.choice("compression", ["zstd", "zstd"], "zstd")?;
        words.finish(&["ref", "dest", "tag", "mode", "ignore-error"])?;
        Ok(Some(Self { kept_at, all, may_fail }))
    }
}

struct Words {
    kind: String,
    others: BTreeMap<String, String>,
}

impl Words {
    fn read(text: &str) -> Result<Self, CacheWordError> {
        let mut others = BTreeMap::new();
        for word in text.split(',') {
            let (name, value) =
                word.split_once('=').ok_or_else(|| CacheWordError::Word(word.to_owned()))?;
            others.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
        let kind = others.remove("type").unwrap_or_default();
        Ok(Self { kind, others })
    }

    fn registry(&mut self) -> Result<KeptAt, CacheWordError> {
        let name = self.others.remove("ref");
        let name = name.ok_or(CacheWordError::Missing { kind: "registry", name: "ref" })?;
        Ok(KeptAt::Registry(name.parse()?))
    }

    fn folder(&mut self, name: &'static str, base: &Path) -> Result<KeptAt, CacheWordError> {
        let path = self.others.remove(name);
        let path = path.ok_or(CacheWordError::Missing { kind: "local", name })?;
        let tag = self.others.remove("tag").unwrap_or_else(|| TAG.to_owned());
        Ok(KeptAt::Folder { path: base.join(path), tag })
    }

    /// Whether an attribute has the second of two values; it has the first one if it is not there.
    fn choice(
        &mut self,
        name: &'static str,
        values: [&str; 2],
        known: &'static str,
    ) -> Result<bool, CacheWordError> {
        match self.others.remove(name) {
            None => Ok(false),
            Some(value) if value == values[1] => Ok(true),
            Some(value) if value == values[0] => Ok(false),
            Some(value) => Err(CacheWordError::Value { name, value, known }),
        }
    }

    fn finish(self, known: &[&'static str]) -> Result<(), CacheWordError> {
        match self.others.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let known = known.to_vec();
                Err(CacheWordError::Attribute { kind: self.kind, name, known })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_a_cache_is() {
        let from = |text| {
            CacheFrom::parse(text, Path::new("/p")).map(|found| found.map(|one| one.0.to_string()))
        };
        assert_eq!(from("app:cache").unwrap().unwrap(), "app:cache");
        assert_eq!(from("type=registry,ref=r.lan/a:b").unwrap().unwrap(), "r.lan/a:b");
        assert_eq!(from("type=local,src=c").unwrap().unwrap(), "/p/c");
        assert_eq!(from("type=local,src=/c,tag=x").unwrap().unwrap(), "/c (x)");
        assert_eq!(from("type=gha,scope=x").unwrap(), None);
        assert!(from("type=inline").is_err(), "it says of no image where it is");
        let to = |text| CacheTo::parse(text, Path::new("/p"));
        let max = to("type=registry,ref=a,mode=max,ignore-error=true,image-manifest=true")
            .unwrap()
            .unwrap();
        assert!(max.all && max.may_fail);
        let min = to("type=inline").unwrap().unwrap();
        assert!(!min.all && !min.may_fail && min.kept_at == KeptAt::Image);
        assert_eq!(to("type=s3,bucket=x").unwrap(), None);
    }

    #[test]
    fn says_what_is_wrong() {
        let to = |text| CacheTo::parse(text, Path::new("/p")).unwrap_err().to_string();
        assert_eq!(to("type=local"), "a cache of the type local needs `dest`");
        assert_eq!(to("type=local,dest=c,mode=most"), "`mode` cannot be `most`, only min or max");
        assert_eq!(to("type=local,dest"), "`dest` is no attribute of the form NAME=VALUE");
        assert_eq!(to("type=inline,compression=gzip"), "`compression` cannot be `gzip`, only zstd");
        let unknown = to("type=local,dest=c,src=d");
        assert!(
            unknown.starts_with("a cache of the type local has no attribute `src`"),
            "{unknown}"
        );
    }
}
