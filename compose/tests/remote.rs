//! Compose files from git repositories, which are folders of this machine here.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A repository with two commits, and a project beside it.
struct Scene {
    root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { root: tempfile::tempdir().unwrap() };
        let repository = scene.path("repository.git");
        fs::create_dir_all(repository.join("sub")).unwrap();
        fs::create_dir_all(scene.path("project")).unwrap();
        scene.git(&["init", "--quiet", "--initial-branch=main"]);
        fs::write(
            repository.join("compose.yaml"),
            "services: {web: {image: 'web:1', volumes: ['./data:/data']}}\n",
        )
        .unwrap();
        fs::write(
            repository.join("sub/compose.yaml"),
            "services: {sub: {extends: {file: ../compose.yaml, service: web}, image: 'sub:1'}}\n",
        )
        .unwrap();
        scene.commit();
        scene.git(&["tag", "-a", "v1", "-m", "one"]);
        let changed = "services: {web: {image: 'web:2'}}\n";
        fs::write(repository.join("compose.yaml"), changed).unwrap();
        scene.commit();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=change"]);
    }

    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@example.org"])
            .args(words)
            .current_dir(self.path("repository.git"))
            .env("HOME", self.root.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The reference of the repository with `fragment` behind it.
    fn remote(&self, fragment: &str) -> String {
        format!("file://{}{fragment}", self.path("repository.git").display())
    }

    fn compose(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_compose"))
            .args(words)
            .current_dir(self.path("project"))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn images(&self, words: &[&str]) -> String {
        let output = self.compose(&[words, &["config", "--images"]].concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refusal(&self, reference: &str, variables: &[(&str, &str)]) -> String {
        let output = self.compose(&["-f", reference, "config"], variables);
        assert!(!output.status.success(), "{reference}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The commits that are in the cache.
    fn cached(&self) -> usize {
        fs::read_dir(self.path("home/.cache/compose/git")).map_or(0, Iterator::count)
    }
}

#[test]
fn a_branch_a_tag_a_commit_and_a_folder() {
    let scene = Scene::new();
    assert_eq!(scene.images(&["-f", &scene.remote("")]), "web:2\n");
    assert_eq!(scene.images(&["-f", &scene.remote("#main")]), "web:2\n");
    assert_eq!(scene.cached(), 1, "the same commit is fetched once");
    assert_eq!(scene.images(&["-f", &scene.remote("#v1:sub")]), "sub:1\n");
    assert_eq!(scene.images(&["-f", &scene.remote("#:sub/compose.yaml")]), "sub:1\n");
    let commit = scene.git(&["rev-parse", "v1^{commit}"]);
    let pinned = scene.remote(&format!("#{}", commit.trim()));
    assert_eq!(scene.images(&["-f", &pinned]), "web:1\n");
    assert_eq!(scene.cached(), 2);
    // A commit is what it is: nobody has to be asked again.
    fs::remove_dir_all(scene.path("repository.git")).unwrap();
    assert_eq!(scene.images(&["-f", &pinned]), "web:1\n");
}

#[test]
fn paths_are_in_the_repository_and_the_name_is_that_of_the_folder() {
    let scene = Scene::new();
    let output = scene.compose(&["-f", &scene.remote("#v1"), "config"], &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("name: project\n"), "{printed}");
    let source = printed.lines().find_map(|line| line.trim().strip_prefix("source: ")).unwrap();
    let cache = scene.path("home/.cache/compose/git");
    assert!(Path::new(source).starts_with(cache) && source.ends_with("/data"), "{source}");
}

#[test]
fn include_and_extends() {
    let scene = Scene::new();
    let file = format!(
        "include: ['{}']\nservices: {{own: {{extends: {{file: '{}', service: sub}}, labels: {{own: 1}}}}}}\n",
        scene.remote("#main"),
        scene.remote("#v1:sub"),
    );
    fs::write(scene.path("project/compose.yaml"), file).unwrap();
    assert_eq!(scene.images(&[]), "sub:1\nweb:2\n");
}

#[test]
fn what_is_refused() {
    let scene = Scene::new();
    let nothing: &[(&str, &str)] = &[];
    let off: &[(&str, &str)] = &[
        ("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "false"),
        ("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "false"),
    ];
    for (reference, variables, words) in [
        (scene.remote("#gone"), nothing, "has no `gone`"),
        (scene.remote("#main:nowhere"), nothing, "has no `nowhere`"),
        (scene.remote("#main:../x"), nothing, "is not inside of the repository"),
        (scene.remote(""), off, "COMPOSE_EXPERIMENTAL_GIT_REMOTE is false"),
        ("file:///nowhere/r.git".to_owned(), nothing, "git ls-remote file:///nowhere/r.git failed"),
        ("oci://localhost/x:1".to_owned(), off, "COMPOSE_EXPERIMENTAL_OCI_REMOTE is false"),
        ("oci://localhost/X".to_owned(), nothing, "must be lower case"),
        ("oci://127.0.0.1:1/x".to_owned(), nothing, "127.0.0.1:1"),
    ] {
        let said = scene.refusal(&reference, variables);
        assert!(said.contains(words) && said.contains("help: "), "{reference}: {said}");
    }
    let output = scene.compose(&["-f", &scene.remote(""), "config"], &[("HOME", "")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no cache folder"));
}
