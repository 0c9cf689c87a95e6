//! Files that are fetched by their address.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::server::{Answer, Asked, Sent, Server};
use images::registry::{
    Cancel, DownloadError, Environment, Patience, Registry, RegistryError, keep,
};

/// A client with the credentials of the server at `address`, if one is named.
fn client(home: &std::path::Path) -> Registry {
    let patience = Patience {
        connect: Duration::from_secs(20),
        stall: Duration::from_secs(3),
        tries: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(2),
    };
    let environment = Environment::default().with("DOCKER_CONFIG", home.to_str().unwrap());
    Registry::with_patience(environment, patience).unwrap()
}

fn fetched(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static, path: &str) -> Fetched {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(handler);
    let to = dir.path().join("file");
    let url = format!("http://{}{path}", server.address);
    let result = client(dir.path()).download(&url, &to, &Cancel::default());
    Fetched { result, to, asked: server.asked.lock().unwrap().clone(), _dir: dir }
}

struct Fetched {
    result: Result<(), DownloadError>,
    to: std::path::PathBuf,
    asked: Vec<Asked>,
    _dir: tempfile::TempDir,
}

#[test]
fn a_file_comes_with_the_time_of_its_server_and_for_its_owner_alone() {
    let one = fetched(
        |asked| match asked.path.as_str() {
            "/old?x=1" => Answer::new(302, "").with("Location", "/new/file"),
            _ => Answer::new(200, "content").with("Last-Modified", "Fri, 13 Feb 2009 23:31:30 GMT"),
        },
        "/old?x=1#part",
    );
    one.result.unwrap();
    let found = fs::metadata(&one.to).unwrap();
    assert_eq!(fs::read(&one.to).unwrap(), b"content");
    assert_eq!((found.mtime(), found.permissions().mode() & 0o777), (1_234_567_890, 0o600));
    let without = fetched(|_| Answer::new(200, "content"), "/file");
    assert_eq!(fs::metadata(&without.to).unwrap().mtime(), 0);
}

#[test]
fn what_breaks_begins_again_and_what_is_not_there_does_not() {
    let count = AtomicUsize::new(0);
    let body = vec![7; 100_000];
    let sent = body.clone();
    let broken = fetched(
        move |_| {
            let mut answer = Answer::new(200, "");
            answer.body = match count.fetch_add(1, Ordering::SeqCst) {
                0 => Sent::Cut(sent.clone(), 60_000),
                1 => Sent::Stalled(sent.clone(), 10),
                _ => Sent::Whole(sent.clone()),
            };
            answer
        },
        "/file",
    );
    broken.result.unwrap();
    assert!(fs::read(&broken.to).unwrap() == body);
    assert_eq!(broken.asked.len(), 3);
    let absent = fetched(|_| Answer::new(404, ""), "/absent");
    assert!(matches!(absent.result, Err(DownloadError::Server(RegistryError::NotFound { .. }))));
    assert_eq!(absent.asked.len(), 1);
    let busy = fetched(|_| Answer::new(503, ""), "/file");
    assert!(matches!(busy.result, Err(DownloadError::Server(RegistryError::Answer { .. }))));
    assert_eq!(busy.asked.len(), 3);
}

#[test]
fn nobody_is_told_who_we_are() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"files\""));
    let environment = Environment::default().with("DOCKER_CONFIG", dir.path().to_str().unwrap());
    let known = images::registry::Credentials::Password {
        user: "me".to_owned(),
        password: "secret".to_owned(),
    };
    keep(&environment, &server.address.to_string(), &known).unwrap();
    let url = format!("http://{}/file", server.address);
    let refused = client(dir.path()).download(&url, &dir.path().join("file"), &Cancel::default());
    assert!(matches!(refused, Err(DownloadError::Server(RegistryError::Denied { .. }))));
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), "");
}

#[test]
fn an_address_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["ftp://host/file", "http://", "file", "http://a b/c"] {
        let refused = client(dir.path()).download(url, &dir.path().join("x"), &Cancel::default());
        assert!(refused.is_err(), "{url}");
    }
}
