//! Processes that are killed in the middle of their work, and a look at what they leave.

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use images::Store;

/// Starts the test `name` of this binary as a victim, with these variables, and waits until it says that it is ready.
pub fn victim_of(name: &str, variables: &[(&str, &OsStr)]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")));
    child
}

/// Another moment each time, before `bound`.
pub fn random(bound: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_micros(random % u64::try_from(bound.as_micros()).unwrap().max(1))
}

/// What `image verify` does: everything that is named is there and is what it says.
pub fn assert_whole(store: &Store, round: u32) {
    let verified = store.verify().unwrap();
    assert!(verified.faults.is_empty(), "round {round}: {:?}", verified.faults);
    assert!(store.list().unwrap().damaged.is_empty(), "round {round}");
}
