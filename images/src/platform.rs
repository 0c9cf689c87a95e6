//! Which machines an image is for.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use oci_spec::image::{Arch, ImageConfiguration, Os};

use crate::image::{Image, Origin};

/// An operating system and an architecture, as in `linux/arm64/v8`.
///
/// Source: OCI image-spec 1.1, image-index.md; containerd `platforms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform of the form OS/ARCHITECTURE[/VARIANT], such as linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        Self {
            os: Os::default().to_string(),
            architecture: Arch::default().to_string(),
            variant: None,
        }
    }

    /// One of any variant.
    pub(crate) fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// The operating system.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, in the words of Go.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the architecture.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether `image` is one for this platform, or does not say what it is for.
    pub fn suits(&self, image: &Image) -> bool {
        let found = Self::of(&image.config);
        image.origin == Origin::Directory || !found.is_known() || self.accepts(&found)
    }

    /// Whether the kernel runs programs for it: its own, or those that it hands to an emulator.
    ///
    /// Source: kernel `Documentation/admin-guide/binfmt-misc.rst`.
    pub(crate) fn runs_here(&self) -> bool {
        let host = Self::host();
        let name = match &*self.architecture {
            "arm64" => "aarch64",
            "amd64" => "x86_64",
            "386" => "i386",
            other => other,
        };
        let is_own = self.architecture == host.architecture
            || (&*self.architecture, &*host.architecture) == ("386", "amd64");
        let emulator = Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{name}"));
        self.os == host.os && (is_own || emulator.exists())
    }

    /// What an image says about itself.
    pub(crate) fn of(config: &ImageConfiguration) -> Self {
        Self {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config.variant().clone().filter(|variant| !variant.is_empty()),
        }
    }

    /// Whether it says anything.
    pub(crate) fn is_known(&self) -> bool {
        !self.os.is_empty() && !self.architecture.is_empty()
    }

    /// Whether an image for `found` is one for this platform. Without a variant, any will do.
    pub(crate) fn runs(&self, found: &oci_spec::image::Platform) -> bool {
        self.accepts(&Self::from(found))
    }

    /// As [`Self::runs`].
    pub(crate) fn accepts(&self, found: &Self) -> bool {
        let variant =
            self.variant.is_none() || found.variant.is_none() || self.variant == found.variant;
        self.os == found.os && self.architecture == found.architecture && variant
    }

    /// How well `found`, which this platform runs, fits: the exact variant before any other, no variant before one
    /// that may ask for more than this machine has. Larger is better.
    pub(crate) fn closeness(&self, found: &oci_spec::image::Platform) -> u8 {
        match (&self.variant, found.variant()) {
            (wanted, found) if wanted == found => 2,
            (_, None) => 1,
            _ => 0,
        }
    }
}

impl From<&oci_spec::image::Platform> for Platform {
    fn from(platform: &oci_spec::image::Platform) -> Self {
        Self {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        };
        if ![Some(os), Some(architecture), variant].into_iter().flatten().all(word) {
            return Err(PlatformError(text.to_owned()));
        }
        // The words of the kernel for what Go calls otherwise.
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let variant = variant.map(str::to_owned);
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for text in ["linux/amd64", "linux/arm64/v8"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        for text in ["", "linux", "linux/", "linux/a/b/c", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
