//! `DOCKER_DEFAULT_PLATFORM`: the platform of what names none.
//!
//! Source: docker compose 2.40, `cmd/compose/build.go` and `pkg/compose/pull.go`; docker, "Environment variables".

use images::Platform;

use crate::model::{Project, ServiceName};

const VARIABLE: &str = "DOCKER_DEFAULT_PLATFORM";

/// The variable cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// It names no platform.
    #[error(transparent)]
    Unknown(#[from] images::PlatformError),
    /// It names none of those that a service is built for.
    #[error("service {service} is not built for {platform}, which {VARIABLE} names")]
    NotBuilt {
        /// The service.
        service: ServiceName,
        /// The platform.
        platform: String,
    },
}

impl PlatformError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unknown(_) => format!("{VARIABLE} says so: correct or unset it"),
            Self::NotBuilt { service, .. } => {
                format!("add it to `build.platforms` of {service}, or unset the variable")
            }
        }
    }
}

/// The platform that the variable names for commands without a project; nothing for this machine's own.
///
/// # Errors
///
/// [`PlatformError::Unknown`].
pub fn default() -> Result<Option<Platform>, PlatformError> {
    std::env::var(VARIABLE).ok().map_or(Ok(None), |text| parse(&text))
}

fn parse(text: &str) -> Result<Option<Platform>, PlatformError> {
    if text.is_empty() {
        return Ok(None);
    }
    let platform: Platform = text.parse()?;
    // Naming what is the default anyway makes no container another one.
    Ok(Some(platform).filter(|platform| *platform != Platform::host()))
}

/// Gives the platform that the variable names, here or in `.env`, to all services that name none.
///
/// # Errors
///
/// [`PlatformError`].
pub fn fill_in(project: &mut Project) -> Result<(), PlatformError> {
    let Some(text) = project.environment.get(VARIABLE) else { return Ok(()) };
    let Some(platform) = parse(text)? else { return Ok(()) };
    let platform = platform.to_string();
    for service in project.services.values_mut().chain(project.disabled.values_mut()) {
        if service.platform.is_some() {
            continue;
        }
        if let Some(build) = &mut service.build
            && !build.platforms.is_empty()
        {
            if !build.platforms.contains(&platform) {
                return Err(PlatformError::NotBuilt { service: service.name.clone(), platform });
            }
            build.platforms = vec![platform.clone()];
        }
        service.platform = Some(platform.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::project;

    #[test]
    fn services_without_a_platform_get_the_default() {
        let mut project = project(&["a", "b"]);
        let given = |project: &Project| -> Vec<Option<String>> {
            project.services.values().map(|service| service.platform.clone()).collect()
        };
        project.services.values_mut().next().unwrap().platform = Some("linux/s390x".into());
        for (value, expected) in [
            ("", None),
            (&*Platform::host().to_string(), None),
            ("linux/riscv64", Some("linux/riscv64")),
        ] {
            project.environment.insert(VARIABLE.into(), value.into());
            fill_in(&mut project).unwrap();
            assert_eq!(
                given(&project),
                [Some("linux/s390x".to_owned()), expected.map(str::to_owned)]
            );
        }
        project.services.values_mut().for_each(|service| service.platform = None);
        project.environment.insert(VARIABLE.into(), "arm".into());
        assert!(matches!(fill_in(&mut project), Err(PlatformError::Unknown(_))));
    }
}
