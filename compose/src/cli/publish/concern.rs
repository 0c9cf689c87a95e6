//! What of a project may be meant for nobody else, or does nobody else any good.

use std::fmt::Write as _;

use super::{Found, Published, secret};
use crate::diagnostic::Diagnostic;
use crate::model::{FileSource, Mount, MountKind, Place, Project, Service};

/// What keeps the project from being published.
pub(super) fn refused(project: &Project, published: &Published, with_env: bool) -> Found {
    let mut found = Vec::new();
    for service in project.services.values() {
        if service.build.is_some() && service.image.is_none() {
            let name = &service.name;
            let message = format!(
                "service `{name}` has `build` and no `image`: nobody else has what it builds"
            );
            let help = "add `image: NAME`, under which the image is pushed";
            found.push(at(Diagnostic::error(message), place(service, "build")).help(help));
        }
    }
    if with_env {
        return found;
    }
    let help = "`--with-env` publishes it; or take it out of the files";
    let error = |message: String, at_place: Option<&Place>| {
        at(Diagnostic::error(message), at_place).help(help)
    };
    for label in &published.env_files {
        let message = "an env file would be published";
        found.push(Diagnostic::error(message).label(label.clone()).help(help));
    }
    for service in project.services.values().filter(|service| !service.environment.is_empty()) {
        let message = format!("the environment of service `{}` would be published", service.name);
        found.push(error(message, service.places.of("environment").or(service.place.as_ref())));
    }
    for (key, config) in &project.configs {
        if matches!(config.source, FileSource::Environment { .. }) {
            let message = format!("config `{key}` is a variable of the environment");
            found.push(error(message, config.place.as_ref()));
        }
    }
    found
}

/// Files that services need and that do not come along.
pub(super) fn left_behind(project: &Project) -> Found {
    let secrets =
        project.secrets.iter().map(|(key, one)| ("secret", key.as_str(), &one.source, &one.place));
    let configs =
        project.configs.iter().map(|(key, one)| ("config", key.as_str(), &one.source, &one.place));
    let file = |(kind, key, source, place): (&str, &str, &FileSource, &Option<Place>)| {
        let FileSource::File(path) = source else { return None };
        let message =
            format!("{kind} `{key}` is the file {}, which is not published", path.display());
        Some(at(Diagnostic::warning(message), place.as_ref()))
    };
    secrets.chain(configs).filter_map(file).collect()
}

/// What has to be agreed to: each with all that it is about.
pub(super) fn questions(project: &Project, published: &Published) -> Vec<String> {
    [binds(project), secrets(published), environment(project)].into_iter().flatten().collect()
}

fn binds(project: &Project) -> Option<String> {
    let bind = |mount: &Mount| match &mount.kind {
        MountKind::Bind { source, .. } => {
            Some(format!("{}:{}", source.display(), mount.target.display()))
        }
        _ => None,
    };
    list(
        "These bind mounts will be in the published files. What they lead to will not, but others learn where it is:",
        project.services.values().flat_map(|service| {
            let binds = service.mounts.iter().filter_map(bind);
            binds.map(|bind| format!("{}: {bind}", service.name)).collect::<Vec<_>>()
        }),
    )
}

fn secrets(published: &Published) -> Option<String> {
    list(
        "The published files seem to have secrets in them:",
        published.files.iter().flat_map(|file| {
            let found = secret::find(&file.text).into_iter();
            found
                .map(|one| format!("{}:{}: {one}", file.path.display(), one.line))
                .collect::<Vec<_>>()
        }),
    )
}

fn environment(project: &Project) -> Option<String> {
    list(
        "These environment variables will be in the published files:",
        project.services.values().flat_map(|service| {
            let variables = service.environment.iter();
            variables
                .map(|(name, value)| {
                    format!("{}: {name}={}", service.name, value.as_deref().unwrap_or_default())
                })
                .collect::<Vec<_>>()
        }),
    )
}

fn list(head: &str, lines: impl Iterator<Item = String>) -> Option<String> {
    let mut text = head.to_owned();
    let mut is_empty = true;
    for line in lines {
        is_empty = false;
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {line}");
    }
    (!is_empty).then_some(text)
}

fn place<'s>(service: &'s Service, attribute: &str) -> Option<&'s Place> {
    service.places.of(attribute).or(service.place.as_ref())
}

fn at(diagnostic: Diagnostic, place: Option<&Place>) -> Diagnostic {
    match place {
        Some(place) => diagnostic.at(place, ""),
        None => diagnostic,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::file::publish::published;
    use crate::file::{LoadOptions, load};

    /// What is asked, refused with and without `--with-env`, and left behind, a message a line.
    fn concerns(compose: &str) -> [String; 4] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("compose.yaml"), compose).unwrap();
        fs::write(root.path().join("a.env"), "PASSWORD=hunter2\n").unwrap();
        let options = LoadOptions { working_dir: root.path().to_owned(), ..LoadOptions::default() };
        let project = load(&options).unwrap().project;
        let published = published(&options).unwrap();
        let messages =
            |found: Found| found.into_iter().map(|one| one.message).collect::<Vec<_>>().join("\n");
        let asked = questions(&project, &published).join("\n");
        let refused = [false, true].map(|agreed| messages(refused(&project, &published, agreed)));
        let [without, with] = refused;
        [asked, without, with, messages(left_behind(&project))]
            .map(|text| text.replace(&root.path().display().to_string(), "DIR"))
    }

    #[test]
    fn nothing_to_be_agreed_to() {
        let found =
            concerns("services: {a: {image: x, volumes: ['data:/v']}}\nvolumes: {data: }\n");
        assert_eq!(found, ["", "", "", ""]);
    }

    #[test]
    fn all_that_could_be_meant_for_nobody_else() {
        let [asked, without, with, left] = concerns(
            "services:\n  a: {image: x, env_file: a.env, environment: {B: c}, volumes: ['./d:/e']}\n  b: {build: .}\nconfigs: {c: {environment: B}, f: {file: ./f}}\nsecrets: {s: {file: ./s}}\n",
        );
        assert_eq!(
            asked,
            "These bind mounts will be in the published files. What they lead to will not, but others learn where it is:\n  a: DIR/d:/e\n\
             The published files seem to have secrets in them:\n  DIR/a.env:1: a value whose name says that it is secret: hunt…\n\
             These environment variables will be in the published files:\n  a: B=c\n  a: PASSWORD=hunter2"
        );
        let build = "service `b` has `build` and no `image`: nobody else has what it builds";
        assert_eq!(with, build);
        assert!(without.starts_with(build), "{without}");
        for part in ["an env file would", "environment of service `a`"] {
            assert!(without.contains(part), "{without}");
        }
        assert_eq!(left, "");
    }
}
