//! The default filter in the kernel, in a process of its own.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

use super::filter;
use crate::spec::Wishes;

/// Run by the test below in a process of its own, as a filter is for good.
#[test]
#[ignore = "the inner half of the_kernel_takes_the_filter"]
fn inside_the_filter() {
    let scratch = tempfile::tempdir().unwrap();
    let filter = filter(&Wishes::default(), scratch.path()).unwrap();
    let start = std::time::Instant::now();
    rustix::thread::set_no_new_privs(true).unwrap();
    sys::seccomp::load(&filter).unwrap();
    println!("{} instructions loaded in {:?}", filter.len() / 8, start.elapsed());
    let refused = rustix::thread::move_into_link_name_space(
        File::open("/proc/self/ns/uts").unwrap().as_fd(),
        None,
    );
    assert_eq!(refused, Err(Errno::PERM));
    assert!(socket(AddressFamily::UNIX, SocketType::STREAM, None).is_ok());
    assert_eq!(
        socket(AddressFamily::from_raw(38), SocketType::SEQPACKET, None).unwrap_err(),
        Errno::PERM
    );
    assert_eq!(rustix::system::sethostname(b"x"), Err(Errno::PERM));
    assert!(
        Command::new("true").status().unwrap().success(),
        "a new process, by a library that tries clone3 first"
    );
    assert!(std::thread::spawn(|| 1).join().is_ok());
    println!("confined");
}

#[test]
fn the_kernel_takes_the_filter() {
    let arguments = ["--ignored", "--exact", "--nocapture", "seccomp::live::inside_the_filter"];
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("confined"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
