//! A service that counts its starts.

use std::io;

use scenarios::{Stage, Verdict};

/// Writes the file of a project whose `web` counts, then does what it says in `does`, and is watched by `rules`.
pub(super) fn file(stage: &Stage, does: &str, rules: &str) -> io::Result<()> {
    let text = format!(
        "services:\n  web:\n    image: base\n    init: true\n    command: sh -c 'echo begun >> /starts; {does}; sleep 600'\n    \
         stop_grace_period: 0s\n    develop: {{watch: [{rules}]}}\n"
    );
    stage.file("compose.yaml", &text)
}

/// Waits until `web` has been started so many times, and no more.
pub(super) fn expect(stage: &Stage, starts: u32) -> Verdict {
    super::expect(stage, "web", &["sh", "-c", "wc -l < /starts"], &starts.to_string())
}
