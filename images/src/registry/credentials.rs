//! Who we are to a registry: what `docker login`, `podman login` and `compose login` have left, and credential helpers.
//!
//! Looked through in this order: Docker's `config.json` (`$DOCKER_CONFIG`, else `~/.docker`), then podman's `auth.json`
//! (`$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers`, `~/.config/containers`). In each file a helper of the registry
//! (`credHelpers`) comes first, then `credsStore`, then what stands in the file itself.
//!
//! Source: docs.docker.com, "docker login"; containers-auth.json(5); github.com/docker/docker-credential-helpers.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::environment::Environment;

/// What Docker Hub is called in these files.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Who somebody is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    /// A name with a password, or a personal access token in its place.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token of OAuth 2 by which other tokens are asked for.
    Identity {
        /// The token.
        token: String,
    },
}

impl fmt::Debug for Credentials {
    /// Says who, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Identity { .. } => f.write_str("Identity"),
        }
    }
}

/// Credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file does not say what it should.
    #[error("{} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An entry of a file is no name with a password.
    #[error("{} has credentials for {registry} that cannot be read", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
    /// A helper is not there or cannot be run.
    #[error("cannot run the credential helper {program}, which {} names", path.display())]
    HelperMissing {
        /// The program.
        program: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A helper failed.
    #[error("the credential helper {program} failed for {registry}: {said}")]
    Helper {
        /// The program.
        program: String,
        /// The registry.
        registry: String,
        /// Its words.
        said: String,
    },
    /// There is no place for the file.
    #[error("there is no home directory to keep credentials in")]
    NoHome,
}

/// What a file says, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    auths: Map<String, Value>,
    creds_store: Option<String>,
    cred_helpers: Map<String, Value>,
}

/// What is known about a registry, for a domain such as `docker.io` and a repository.
///
/// # Errors
///
/// [`CredentialsError`]; nothing known is `None`.
pub(crate) fn find(
    environment: &Environment,
    domain: &str,
    repository: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    for path in files(environment) {
        let Some((document, _)) = read(&path)? else { continue };
        if let Some(found) = find_in(environment, &path, &document, domain, repository)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_in(
    environment: &Environment,
    path: &Path,
    document: &Document,
    domain: &str,
    repository: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    let helper = keys(domain, "").find_map(|key| document.cred_helpers.get(&key));
    let helper = helper.and_then(Value::as_str).or(document.creds_store.as_deref());
    if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
        let found = ask_helper(environment, path, helper, domain)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    for key in keys(domain, repository) {
        if let Some(entry) = document.auths.get(&key)
            && let Some(found) = decode(path, &key, entry)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The files in which credentials may be, the first one Docker's, into which `login` writes.
fn files(environment: &Environment) -> Vec<PathBuf> {
    let home = environment.path("HOME");
    let docker = environment
        .path("DOCKER_CONFIG")
        .or_else(|| home.as_ref().map(|home| home.join(".docker")))
        .map(|folder| folder.join("config.json"));
    let podman = match environment.path("REGISTRY_AUTH_FILE") {
        Some(named) => vec![named],
        None => {
            let runtime = environment.path("XDG_RUNTIME_DIR");
            let config = environment
                .path("XDG_CONFIG_HOME")
                .or_else(|| home.map(|home| home.join(".config")));
            [runtime, config]
                .into_iter()
                .flatten()
                .map(|folder| folder.join("containers/auth.json"))
                .collect()
        }
    };
    docker.into_iter().chain(podman).collect()
}

/// What a registry may be called in these files, the most exact name first: podman knows names of repositories.
fn keys(domain: &str, repository: &str) -> impl Iterator<Item = String> {
    let parts: Vec<&str> = repository.split('/').filter(|part| !part.is_empty()).collect();
    let deeper: Vec<String> = (1..=parts.len())
        .rev()
        .map(|count| format!("{domain}/{}", parts[..count].join("/")))
        .collect();
    let hub: &[&str] =
        if is_hub(domain) { &[HUB_KEY, "index.docker.io", "docker.io"] } else { &[] };
    let plain = [
        domain.to_owned(),
        format!("https://{domain}"),
        format!("https://{domain}/"),
        format!("https://{domain}/v1/"),
        format!("https://{domain}/v2/"),
        format!("http://{domain}"),
    ];
    deeper.into_iter().chain(hub.iter().map(|key| (*key).to_owned())).chain(plain)
}

fn is_hub(domain: &str) -> bool {
    matches!(domain, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// What a registry is called when credentials are kept.
fn key(domain: &str) -> String {
    if is_hub(domain) { HUB_KEY.to_owned() } else { domain.to_owned() }
}

fn read(path: &Path) -> Result<Option<(Document, Value)>, CredentialsError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CredentialsError::File { action: "read", path: path.to_owned(), source });
        }
    };
    let malformed = |source| CredentialsError::Malformed { path: path.to_owned(), source };
    let value: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
    let document = Document::deserialize(&value).map_err(malformed)?;
    Ok(Some((document, value)))
}

/// An entry of `auths`; an empty one says that a helper has it.
fn decode(
    path: &Path,
    registry: &str,
    entry: &Value,
) -> Result<Option<Credentials>, CredentialsError> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::Identity { token: token.to_owned() }));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Ok(Some(Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }));
    }
    let Some(auth) = text("auth") else { return Ok(None) };
    let encoding =
        || CredentialsError::Encoding { path: path.to_owned(), registry: registry.to_owned() };
    let plain = STANDARD.decode(auth.trim()).map_err(|_| encoding())?;
    let plain = String::from_utf8(plain).map_err(|_| encoding())?;
    let (user, password) = plain.split_once(':').ok_or_else(encoding)?;
    let password = password.trim_end_matches('\0');
    Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
}

/// What a helper says to `get`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

fn ask_helper(
    environment: &Environment,
    path: &Path,
    helper: &str,
    domain: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    let registry = key(domain);
    let output = talk(environment, path, helper, "get", registry.as_bytes(), &registry)?;
    let said = || {
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        format!("{} {}", out.trim(), err.trim()).trim().to_owned()
    };
    let failed = |said: String| CredentialsError::Helper {
        program: program(helper),
        registry: registry.clone(),
        said,
    };
    if !output.status.success() {
        // The one failure that all helpers have to say in these words.
        if said().contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(said()));
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(match (answer.username, answer.secret) {
        (user, password) if user.is_empty() && password.is_empty() => None,
        (user, token) if user == TOKEN_USER => Some(Credentials::Identity { token }),
        (user, password) => Some(Credentials::Password { user, password }),
    })
}

fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

/// Runs a helper with `input` and waits for its end.
fn talk(
    environment: &Environment,
    path: &Path,
    helper: &str,
    verb: &str,
    input: &[u8],
    registry: &str,
) -> Result<std::process::Output, CredentialsError> {
    let program = program(helper);
    let missing = |source| CredentialsError::HelperMissing {
        program: program.clone(),
        path: path.to_owned(),
        source,
    };
    let mut child = environment
        .command(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read has its reasons, which its end tells.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().map_err(|error| CredentialsError::Helper {
        program: program.clone(),
        registry: registry.to_owned(),
        said: error.to_string(),
    })
}

/// Where credentials have been put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A helper has them.
    Helper(String),
    /// They stand in this file, readable for whoever may read it.
    File(PathBuf),
}

/// Keeps credentials for the registry `domain` as `docker login` does.
///
/// # Errors
///
/// [`CredentialsError`]; what was known before is then still known.
pub fn keep(
    environment: &Environment,
    domain: &str,
    credentials: &Credentials,
) -> Result<Kept, CredentialsError> {
    let path = files(environment).into_iter().next().ok_or(CredentialsError::NoHome)?;
    let (document, mut value) = read(&path)?.unwrap_or_else(|| (Document::default(), json!({})));
    let key = key(domain);
    let (user, secret) = match credentials {
        Credentials::Password { user, password } => (user.as_str(), password.as_str()),
        Credentials::Identity { token } => (TOKEN_USER, token.as_str()),
    };
    if let Some(helper) = helper(&document, domain) {
        let input = json!({"ServerURL": key, "Username": user, "Secret": secret}).to_string();
        let output = talk(environment, &path, helper, "store", input.as_bytes(), &key)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            return Err(CredentialsError::Helper { program: program(helper), registry: key, said });
        }
        value["auths"][&key] = json!({});
        write(&path, &value)?;
        return Ok(Kept::Helper(program(helper)));
    }
    value["auths"][&key] = match credentials {
        Credentials::Password { user, password } => {
            json!({"auth": STANDARD.encode(format!("{user}:{password}"))})
        }
        Credentials::Identity { token } => json!({"auth": "", "identitytoken": token}),
    };
    write(&path, &value)?;
    Ok(Kept::File(path))
}

/// Forgets what is known about the registry `domain`; says whether anything was.
///
/// # Errors
///
/// [`CredentialsError`].
pub fn forget(environment: &Environment, domain: &str) -> Result<bool, CredentialsError> {
    let mut known = false;
    for path in files(environment) {
        let Some((document, mut value)) = read(&path)? else { continue };
        if let Some(helper) = helper(&document, domain) {
            let key = key(domain);
            // A helper that has nothing to erase says so by failing.
            let output = talk(environment, &path, helper, "erase", key.as_bytes(), &key)?;
            known |= output.status.success();
        }
        let Some(auths) = value.get_mut("auths").and_then(Value::as_object_mut) else { continue };
        let before = auths.len();
        for key in keys(domain, "") {
            auths.remove(&key);
        }
        if auths.len() != before {
            known = true;
            write(&path, &value)?;
        }
    }
    Ok(known)
}

fn helper<'a>(document: &'a Document, domain: &str) -> Option<&'a str> {
    let own = keys(domain, "").find_map(|key| document.cred_helpers.get(&key));
    own.and_then(Value::as_str)
        .or(document.creds_store.as_deref())
        .filter(|helper| !helper.is_empty())
}

/// Replaces the file, readable for its owner alone.
fn write(path: &Path, value: &Value) -> Result<(), CredentialsError> {
    let failed = |source| CredentialsError::File { action: "write", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    // A symbolic link, as those who keep their settings in a repository have it, stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut next = target.clone().into_os_string();
    next.push(format!(".{}.next", std::process::id()));
    let text = serde_json::to_vec_pretty(value)
        .map_err(|source| CredentialsError::Malformed { path: path.to_owned(), source })?;
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&next, &target)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&next);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.to_owned(), password: password.to_owned() }
    }

    /// A home with this `config.json`, and a folder for programs.
    fn home(config: &Value) -> (tempfile::TempDir, Environment) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".docker")).unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join(".docker/config.json"), config.to_string()).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().join("bin").display());
        let environment =
            Environment::default().with("HOME", dir.path().to_str().unwrap()).with("PATH", path);
        (dir, environment)
    }

    fn program(dir: &Path, name: &str, script: &str) {
        let path = dir.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn finds_what_docker_and_podman_have_left() {
        let (dir, environment) = home(&json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:a:b")},
            "registry.lan:5000": {"username": "lan", "password": "x"},
            "https://old.lan/v1/": {"auth": STANDARD.encode("old:x")},
            "token.lan": {"identitytoken": "t"},
            "empty.lan": {},
        }}));
        let podman = dir.path().join(".config/containers");
        fs::create_dir_all(&podman).unwrap();
        let auth = json!({"auths": {
            "quay.io": {"auth": STANDARD.encode("all:x")},
            "quay.io/team": {"auth": STANDARD.encode("team:x")},
        }});
        fs::write(podman.join("auth.json"), auth.to_string()).unwrap();
        let identity = Credentials::Identity { token: "t".to_owned() };
        #[rustfmt::skip]
        let table = [
            ("docker.io", "library/mysql", Some(password("hub", "a:b"))),
            ("registry.lan:5000", "app", Some(password("lan", "x"))),
            ("old.lan", "app", Some(password("old", "x"))),
            ("token.lan", "app", Some(identity)),
            ("empty.lan", "app", None),
            ("quay.io", "other/app", Some(password("all", "x"))),
            ("quay.io", "team/app", Some(password("team", "x"))),
            ("unknown.lan", "app", None),
        ];
        for (domain, repository, expected) in table {
            assert_eq!(
                find(&environment, domain, repository).unwrap(),
                expected,
                "{domain}/{repository}"
            );
        }
    }

    #[test]
    fn helpers_are_asked() {
        let (dir, environment) = home(
            &json!({"credsStore": "all", "credHelpers": {"own.lan": "own", "lost.lan": "lost", "bad.lan": "bad"}}),
        );
        program(
            dir.path(),
            "docker-credential-own",
            r#"read key; echo "{\"ServerURL\":\"$key\",\"Username\":\"<token>\",\"Secret\":\"$key\"}""#,
        );
        program(
            dir.path(),
            "docker-credential-all",
            "echo credentials not found in native keychain; exit 1",
        );
        program(dir.path(), "docker-credential-bad", "echo locked; exit 1");
        let own = Credentials::Identity { token: "own.lan".to_owned() };
        assert_eq!(find(&environment, "own.lan", "a").unwrap(), Some(own));
        assert_eq!(find(&environment, "docker.io", "a").unwrap(), None);
        let lost = find(&environment, "lost.lan", "a").unwrap_err();
        assert!(matches!(lost, CredentialsError::HelperMissing { .. }), "{lost}");
        let bad = find(&environment, "bad.lan", "a").unwrap_err();
        assert!(bad.to_string().ends_with("failed for bad.lan: locked"), "{bad}");
    }

    #[test]
    fn login_keeps_and_logout_forgets() {
        let (dir, environment) =
            home(&json!({"auths": {"other.lan": {"auth": "eDp5"}}, "detachKeys": "x"}));
        let path = dir.path().join(".docker/config.json");
        let kept = keep(&environment, "docker.io", &password("me", "secret")).unwrap();
        assert_eq!(kept, Kept::File(path.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(find(&environment, "docker.io", "a/b").unwrap(), Some(password("me", "secret")));
        assert!(forget(&environment, "docker.io").unwrap());
        assert!(!forget(&environment, "docker.io").unwrap());
        let left: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(left, json!({"auths": {"other.lan": {"auth": "eDp5"}}, "detachKeys": "x"}));
    }

    #[test]
    fn a_store_keeps_the_secret_out_of_the_file() {
        let (dir, environment) = home(&json!({"credsStore": "box"}));
        let store = dir.path().join("kept");
        program(
            dir.path(),
            "docker-credential-box",
            &format!("case $1 in store) cat > {0};; erase) rm {0};; esac", store.display()),
        );
        let kept = keep(&environment, "own.lan", &password("me", "secret")).unwrap();
        assert_eq!(kept, Kept::Helper("docker-credential-box".to_owned()));
        assert!(fs::read_to_string(&store).unwrap().contains("secret"));
        assert!(
            !fs::read_to_string(dir.path().join(".docker/config.json")).unwrap().contains("secret")
        );
        assert!(forget(&environment, "own.lan").unwrap());
        assert!(!store.exists());
    }

    #[test]
    fn no_secret_is_shown() {
        assert!(!format!("{:?}", password("me", "hidden")).contains("hidden"));
    }
}
