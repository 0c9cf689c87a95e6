//! Looking for images, with servers that answer as Docker Hub does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::server::{Answer, Asked, Server};
use images::registry::{Cancel, Environment, Found, Registry};

/// What Docker Hub says, with a name of its own, one of somebody else, and what a terminal must not be shown.
const ANSWER: &str = r#"{"num_pages": 1, "num_results": 3, "page": 1, "page_size": 25, "query": "mysql", "results": [
    {"name": "mysql", "description": "A database", "star_count": 15000, "is_official": true, "is_automated": false},
    {"name": "team/mysql", "description": null, "star_count": 3, "is_official": false, "is_automated": true},
    {"name": "evil/\u001b[2Jmysql", "description": "two\nlines", "star_count": 0, "is_official": false}]}"#;

fn answer(asked: &Asked) -> Answer {
    match asked.path.split_once("/v1/search?") {
        Some(_) => Answer::typed("application/json", ANSWER),
        None if asked.path.ends_with("/v2/") => Answer::new(200, "{}"),
        None => Answer::new(404, ""),
    }
}

fn shown(found: &[Found]) -> Vec<(String, String, u64, bool)> {
    let shown = |one: &Found| (one.name.clone(), one.description.clone(), one.stars, one.official);
    found.iter().map(shown).collect()
}

fn row(name: &str, description: &str, stars: u64, official: bool) -> (String, String, u64, bool) {
    (name.to_owned(), description.to_owned(), stars, official)
}

#[test]
fn docker_hub_is_asked_where_it_answers() {
    // Through a proxy, to which the whole address is said.
    let hub = Server::start(answer);
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("registries.json");
    std::fs::write(&settings, r#"{"insecure-registries": ["index.docker.io"]}"#).unwrap();
    let environment = Environment::default()
        .with("COMPOSE_REGISTRIES", settings.to_str().unwrap())
        .with("HTTP_PROXY", format!("http://{}", hub.address))
        .with("HTTPS_PROXY", format!("http://{}", hub.address));
    let registry = Registry::new(environment).unwrap();
    let found = registry.search("library/mysql", 2, &Cancel::default()).unwrap();
    assert_eq!(
        shown(&found),
        [row("mysql", "A database", 15000, true), row("team/mysql", "", 3, false)]
    );
    let asked = hub.asked.lock().unwrap().clone();
    let last = asked.last().unwrap();
    assert_eq!(last.path, "http://index.docker.io/v1/search?q=mysql&n=2", "{asked:?}");
}

#[test]
fn another_registry_may_answer_in_the_same_way() {
    let server = Server::start(answer);
    let registry = Registry::new(Environment::default()).unwrap();
    let found = registry.search(&server.name("mysql"), 25, &Cancel::default()).unwrap();
    let name = |name: &str| server.name(name);
    assert_eq!(
        shown(&found)[..2],
        [row(&name("mysql"), "A database", 15000, true), row(&name("team/mysql"), "", 3, false)]
    );
    let last = &shown(&found)[2];
    assert!(!last.0.contains('\u{1b}') && !last.1.contains('\n'), "{last:?}");
}
