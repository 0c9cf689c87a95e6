//! What follows when the files of a save are in place, and when: pure.

use std::collections::BTreeMap;

use crate::model::{Hook, ServiceName};

/// What is done with one service when its files are in place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Its containers are restarted.
    pub restart: bool,
    /// Commands that are to run in them.
    pub commands: Vec<Hook>,
}

impl Due {
    /// Has a command run, once.
    pub fn run(&mut self, command: &Hook) {
        if !self.commands.contains(command) {
            self.commands.push(command.clone());
        }
    }

    const fn is_nothing(&self) -> bool {
        !self.restart && self.commands.is_empty()
    }
}

/// What one save has left to the next.
///
/// Whoever saves on while the files of a save are copied was not done: what that save leads to is done once, with what the next one
/// leads to. Nobody waits for more than one save.
#[derive(Debug, Default)]
pub struct Owed {
    by_service: BTreeMap<ServiceName, Due>,
}

impl Owed {
    /// Takes what is `due` after a save, and gives what is to be done by now; `goes_on` when another save has begun.
    pub fn settle(
        &mut self,
        due: BTreeMap<ServiceName, Due>,
        goes_on: bool,
    ) -> BTreeMap<ServiceName, Due> {
        let owed = std::mem::take(&mut self.by_service);
        let may_wait = owed.is_empty();
        let mut all = owed;
        for (service, due) in due.into_iter().filter(|(_, due)| !due.is_nothing()) {
            let known = all.entry(service).or_default();
            known.restart |= due.restart;
            due.commands.iter().for_each(|command| known.run(command));
        }
        if may_wait && goes_on {
            self.by_service = all;
            return BTreeMap::new();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(word: &str) -> Hook {
        Hook { command: vec![word.to_owned()], ..Hook::default() }
    }

    /// What is due to `web`.
    fn due(restart: bool, commands: &[&str]) -> BTreeMap<ServiceName, Due> {
        let commands = commands.iter().copied().map(hook).collect();
        [("web".parse().unwrap(), Due { restart, commands })].into()
    }

    #[test]
    fn what_is_due_waits_for_one_save_and_no_longer() {
        let mut owed = Owed::default();
        assert_eq!(owed.settle(due(true, &["a"]), true), BTreeMap::new());
        // The first one comes first, and nothing is done twice.
        assert_eq!(owed.settle(due(false, &["b", "a"]), true), due(true, &["a", "b"]));
        assert_eq!(owed.settle(due(true, &[]), true), BTreeMap::new(), "this is a first one again");
        assert_eq!(owed.settle(BTreeMap::new(), false), due(true, &[]));
        assert_eq!(owed.settle(due(true, &[]), false), due(true, &[]));
    }

    #[test]
    fn a_save_that_only_copies_owes_nothing() {
        let mut owed = Owed::default();
        assert_eq!(owed.settle(due(false, &[]), true), BTreeMap::new());
        assert_eq!(owed.settle(due(true, &[]), true), BTreeMap::new(), "it is not the second");
        assert_eq!(owed.settle(due(false, &[]), true), due(true, &[]));
        assert_eq!(owed.settle(due(false, &[]), false), BTreeMap::new());
    }
}
