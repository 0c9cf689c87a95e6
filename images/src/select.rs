//! Which image of an index is the one for a machine.

use oci_spec::image::Descriptor;

use crate::platform::Platform;

/// Marks a manifest that says something about an image and is none. Source: buildkit `docs/attestations`.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// How deep indexes may lead to indexes.
pub(crate) const DEEPEST: usize = 4;

/// Whether a descriptor leads to an image.
pub(crate) fn is_image(descriptor: &Descriptor) -> bool {
    let annotations = descriptor.annotations().as_ref();
    !annotations.is_some_and(|all| all.contains_key(ATTESTATION))
}

/// Whether it may be an image for `platform`; one that says nothing may be.
pub(crate) fn fits(platform: &Platform, descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_none_or(|found| platform.runs(found))
}

/// The image that fits best; of equals the first one, as containerd has it.
///
/// # Errors
///
/// The platforms that there are, when none fits.
pub(crate) fn best<'a>(
    platform: &Platform,
    descriptors: &'a [Descriptor],
) -> Result<&'a Descriptor, Vec<String>> {
    let images = || descriptors.iter().filter(|one| is_image(one));
    let closeness =
        |one: &Descriptor| one.platform().as_ref().map_or(0, |found| platform.closeness(found));
    let fitting = images().filter(|one| fits(platform, one));
    fitting.rev().max_by_key(|one| closeness(one)).ok_or_else(|| platforms(images()))
}

/// What a message says is there.
pub(crate) fn platforms<'a>(images: impl Iterator<Item = &'a Descriptor>) -> Vec<String> {
    images
        .filter_map(|one| one.platform().as_ref())
        .map(|one| Platform::from(one).to_string())
        .collect()
}
