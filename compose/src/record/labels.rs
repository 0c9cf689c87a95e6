//! The labels by which Docker Compose marks what belongs to a project.
//!
//! Ours are spelled the same, so that scripts which filter by them go on
//! working (docker/compose, `pkg/api/labels.go`).

/// What all of them begin with.
pub const PREFIX: &str = "com.docker.compose.";
/// The project.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service.
pub const SERVICE: &str = "com.docker.compose.service";
/// Which replica of the service, from 1.
pub const CONTAINER_NUMBER: &str = "com.docker.compose.container-number";
/// `True` for a container of `run`, else `False`.
pub const ONEOFF: &str = "com.docker.compose.oneoff";
/// For which moment in the life of a service its container was made: `pre_start`.
pub const HOOK: &str = "com.docker.compose.hook";
/// What the container was made from; see [`crate::hash`].
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// The image, by id.
pub const IMAGE: &str = "com.docker.compose.image";
/// The folder that relative paths of the file start from.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The files of the project, separated by commas.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// Which program made it.
pub const VERSION: &str = "com.docker.compose.version";
/// The key of a network in the file.
pub const NETWORK: &str = "com.docker.compose.network";
/// The key of a volume in the file.
pub const VOLUME: &str = "com.docker.compose.volume";
/// Marks a volume that has no name of its own.
pub const ANONYMOUS_VOLUME: &str = "com.docker.volume.anonymous";

/// The container for which an anonymous volume was made, by id.
pub const CONTAINER: &str = "com.docker.compose.container";
