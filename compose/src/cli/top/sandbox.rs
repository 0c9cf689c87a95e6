//! The list of processes that gVisor prints.

/// A line of `runsc ps` as a row of ours: user, number, parent, share, start, terminal, time, program.
///
/// It has the columns UID, PID, PPID, C, TTY, STIME, TIME and CMD.
pub(super) fn row(line: &str) -> Option<[String; 8]> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [uid, pid, parent, share, terminal, start, time, command @ ..] = words.as_slice() else {
        return None;
    };
    let command = command.join(" ");
    let row = [*uid, pid, parent, share, start, terminal, time, &command];
    (!command.is_empty()).then(|| row.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_in_our_order() {
        let line = "0         6         1         22        ?         16:31     100ms     python3";
        let row = row(line).unwrap();
        assert_eq!(row, ["0", "6", "1", "22", "16:31", "?", "100ms", "python3"]);
        assert_eq!(super::row("0 6 1"), None);
    }
}
