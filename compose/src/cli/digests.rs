//! Images pinned to what their names lead to: `config --resolve-image-digests`, `publish --resolve-image-digests`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use images::registry::PullError;
use images::{Reference, ReferenceError};
use serde_json::{Map, Value as Json, json};

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::transfer::{fetching, side_by_side};
use crate::event::Failure;
use crate::registry;

/// Asks the registries, side by side, what the images of services are. A name with a digest is not asked for.
///
/// # Errors
///
/// All names that lead to nothing.
pub fn resolve(
    images: BTreeMap<String, String>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<BTreeMap<String, String>, CommandError> {
    let fetching = fetching(true)?;
    let names: BTreeSet<String> = images.values().cloned().collect();
    let found = Mutex::new(BTreeMap::new());
    let names = names.into_iter().collect();
    let failures =
        side_by_side(names, context.parallel(), &fetching.cancel, terminal, |name, _| {
            let cannot = |message: String, help| {
                let message = format!("cannot find the digest of {name}: {message}");
                Failure { message, help, ..Failure::default() }
            };
            let reference: Reference =
                name.parse().map_err(|error: ReferenceError| cannot(error.to_string(), None))?;
            let digest =
                fetching.registry.digest(&reference, &fetching.cancel).map_err(|error| {
                    let help = match &error {
                        PullError::Registry(error) => registry::help(error),
                        _ => None,
                    };
                    cannot(Failure::new(&error).message, help)
                })?;
            let pinned = match reference.digest() {
                Some(digest) => reference.at(digest).to_string(),
                None => format!("{reference}@{digest}"),
            };
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(name, pinned);
            Ok(())
        })?;
    if !failures.is_empty() {
        return Err(failures.into());
    }
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let pin = |(service, image)| Some((service, found.get(&image)?.clone()));
    Ok(images.into_iter().filter_map(pin).collect())
}

/// The images of the services in a document as `config` prints it.
#[must_use]
pub fn images(document: &Json) -> BTreeMap<String, String> {
    let services = document.get("services").and_then(Json::as_object);
    let image = |(name, service): (&String, &Json)| {
        Some((name.clone(), service.get("image")?.as_str()?.to_owned()))
    };
    services.into_iter().flatten().filter_map(image).collect()
}

/// Puts pinned images in the place of those that the services have.
pub fn pin(document: &mut Json, pinned: &BTreeMap<String, String>) {
    for (name, image) in pinned {
        if let Some(service) = document.get_mut("services").and_then(|all| all.get_mut(name)) {
            service["image"] = json!(image);
        }
    }
}

/// An override file that says the images and nothing else; with the keys of `defaults` in each service.
#[must_use]
pub fn lock(pinned: &BTreeMap<String, String>, defaults: &[&str]) -> Json {
    let service = |(name, image): (&String, &String)| {
        let mut service: Map<String, Json> =
            defaults.iter().map(|key| ((*key).to_owned(), Json::Null)).collect();
        service.insert("image".to_owned(), json!(image));
        (name.clone(), Json::Object(service))
    };
    json!({ "services": pinned.iter().map(service).collect::<Map<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pinned_in_their_place_or_alone() {
        let mut document = json!({"name": "p", "services": {"a": {"image": "i", "init": true}, "b": {"build": {}}}});
        assert_eq!(images(&document), BTreeMap::from([("a".to_owned(), "i".to_owned())]));
        let pinned = BTreeMap::from([("a".to_owned(), "i@d".to_owned())]);
        pin(&mut document, &pinned);
        assert_eq!(
            document.to_string(),
            r#"{"name":"p","services":{"a":{"image":"i@d","init":true},"b":{"build":{}}}}"#
        );
        assert_eq!(lock(&pinned, &[]).to_string(), r#"{"services":{"a":{"image":"i@d"}}}"#);
        assert_eq!(
            lock(&pinned, &["command"]).to_string(),
            r#"{"services":{"a":{"command":null,"image":"i@d"}}}"#
        );
    }
}
