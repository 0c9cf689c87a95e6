//! Whether a process can be asked to stop at all.
//!
//! The first process of a process namespace gets no signal for which it has no handler, not even from outside: the
//! kernel drops it (pid_namespaces(7)). Waiting for such a process to obey is waiting for nothing. A signal that is
//! blocked is kept, though, because the process may be about to fetch it (signalfd(2), sigwaitinfo(2)); while it waits in
//! rt_sigtimedwait(2), as init programs do, the kernel does not show that the signal is blocked.

use std::fs;

/// Whether the process `pid` would not get `signal`. When in doubt it would.
pub fn is_deaf_now(pid: i32, signal: i32) -> bool {
    let call = || fs::read_to_string(format!("/proc/{pid}/syscall")).ok();
    let Some(before) = call() else { return false };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // At rest in one call from before to after: what was read in between is of one moment.
    call().as_ref() == Some(&before) && is_at_rest(&before) && is_deaf(&status, signal)
}

/// Whether a process is in a call that does not fetch signals, by `/proc/PID/syscall` (proc_pid_syscall(5)).
fn is_at_rest(call: &str) -> bool {
    let number = call.split_whitespace().next().and_then(|word| word.parse::<i64>().ok());
    number.is_some_and(|number| number >= 0 && number != libc::SYS_rt_sigtimedwait)
}

/// Whether `signal` would be dropped, by what `/proc/PID/status` says of a process (proc_pid_status(5)).
///
/// What cannot be read is not deaf.
fn is_deaf(status: &str, signal: i32) -> bool {
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let mask = |name: &str| field(name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let first = field("NSpid").and_then(|pids| pids.split_whitespace().last()) == Some("1");
    let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    let (Some(caught), Some(blocked), Some(bit)) = (mask("SigCgt"), mask("SigBlk"), bit) else {
        return false;
    };
    first && (caught | blocked).checked_shr(bit).is_some_and(|bits| bits & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_without_a_handler_is_deaf() {
        let status = |nspid: &str, blocked: u64, caught: u64| {
            format!(
                "Name:\tx\nNSpid:\t{nspid}\nSigBlk:\t{blocked:016x}\nSigIgn:\t0000000000000000\nSigCgt:\t{caught:016x}\n"
            )
        };
        let (term, int) = (1 << 14, 1 << 1);
        #[rustfmt::skip]
        let table = [
            ("nothing is caught", status("700\t1", 0, 0), true),
            ("another one is caught", status("700\t1", 0, int), true),
            ("it is caught", status("700\t1", 0, term), false),
            ("it is fetched by hand", status("700\t1", term, 0), false),
            ("not the first process", status("700\t7", 0, 0), false),
            ("of the namespace of the host", status("700", 0, 0), false),
            ("nothing is known", String::new(), false),
        ];
        for (case, status, deaf) in table {
            assert_eq!(is_deaf(&status, 15), deaf, "{case}");
        }
        assert!(!is_deaf(&status("7\t1", 0, 0), 0));
    }

    #[test]
    fn who_waits_for_signals_is_not_at_rest() {
        let waits = format!("{} 0x1 0x0 0x7ffc 0x7f00\n", libc::SYS_rt_sigtimedwait);
        for (call, rest) in [
            ("230 0x0 0x0\n", true),
            (waits.as_str(), false),
            ("running\n", false),
            ("-1 0x7f\n", false),
        ] {
            assert_eq!(is_at_rest(call), rest, "{call}");
        }
        assert!(!is_deaf_now(std::process::id().cast_signed(), 15), "this is no first process");
    }
}
