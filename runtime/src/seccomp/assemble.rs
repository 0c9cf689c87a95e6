//! Verdicts to classic BPF: a balanced tree over the ranges of numbers.
//!
//! Written from the last instruction to the first: jumps only go forward, so that where they lead is known by then.
//! A jump reaches 255 instructions; a target further off gets a stepping stone on the way.

use std::collections::BTreeMap;

use super::resolve::{Clause, Comparison, RET_ENOSYS, Test, Verdict, Verdicts};

/// One instruction, `struct sock_filter` of `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) then: u8,
    pub(super) otherwise: u8,
    pub(super) value: u32,
}

impl Instruction {
    /// The bytes that the kernel reads.
    pub(super) fn bytes(self) -> [u8; 8] {
        let ([c0, c1], [v0, v1, v2, v3]) = (self.code.to_ne_bytes(), self.value.to_ne_bytes());
        [c0, c1, self.then, self.otherwise, v0, v1, v2, v3]
    }
}

/// Operations: `linux/bpf_common.h`.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data` of `linux/seccomp.h`.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The most that the kernel takes, `BPF_MAXINSNS`.
const LONGEST: usize = 4096;

/// How far a jump may lead, with room for stepping stones that come in between.
const REACH: usize = 250;

/// Where a jump leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Return(u32),
    /// An instruction, counted from the end.
    Place(usize),
}

/// A program that grows towards its beginning.
#[derive(Debug, Default)]
struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// The latest (so the nearest) place of each way to return.
    returns: BTreeMap<u32, usize>,
}

/// The program for the architectures; `None` if it would be too long for the kernel.
pub(super) fn assemble(all: &[Verdicts]) -> Option<Vec<Instruction>> {
    let mut assembler = Assembler::default();
    let mut next = Target::Return(RET_ENOSYS);
    for verdicts in all.iter().rev() {
        let conditions = assembler.conditions(verdicts);
        let tree = assembler.tree(&conditions);
        let tree = assembler.place(tree);
        let entry = assembler.load(NUMBER, tree);
        next = assembler.branch(JUMP_EQUAL, verdicts.arch.audit(), entry, next);
    }
    let next = assembler.place(next);
    assembler.load(ARCH, next);
    assembler.reversed.reverse();
    (assembler.reversed.len() <= LONGEST).then_some(assembler.reversed)
}

impl Assembler {
    fn push(&mut self, instruction: Instruction) -> Target {
        self.reversed.push(instruction);
        Target::Place(self.reversed.len() - 1)
    }

    /// A load, followed by what comes next.
    fn load(&mut self, offset: u32, next: Target) -> Target {
        self.fall_to(next);
        self.push(Instruction { code: LOAD, then: 0, otherwise: 0, value: offset })
    }

    /// A target as an instruction: a return is written out.
    fn place(&mut self, target: Target) -> Target {
        match target {
            Target::Return(value) => self.write_return(value),
            place => place,
        }
    }

    fn write_return(&mut self, value: u32) -> Target {
        self.returns.insert(value, self.reversed.len());
        self.push(Instruction { code: RETURN, then: 0, otherwise: 0, value })
    }

    /// Makes sure that the next instruction to be written is followed by the target.
    fn fall_to(&mut self, target: Target) {
        match target {
            Target::Place(at) if at + 1 == self.reversed.len() => {}
            Target::Place(at) => {
                let distance = u32::try_from(self.reversed.len() - at - 1).unwrap_or(u32::MAX);
                self.push(Instruction { code: JUMP, then: 0, otherwise: 0, value: distance });
            }
            Target::Return(value) => {
                self.write_return(value);
            }
        }
    }

    /// A conditional jump. Both targets are brought within reach first.
    fn branch(&mut self, code: u16, value: u32, then: Target, otherwise: Target) -> Target {
        if then == otherwise {
            return then;
        }
        let (then, otherwise) = (self.near(then), self.near(otherwise));
        let (then, otherwise) = (self.distance(then), self.distance(otherwise));
        self.push(Instruction { code, then, otherwise, value })
    }

    /// The place of a target that a jump from here can reach, written here if there is none.
    fn near(&mut self, target: Target) -> usize {
        let here = self.reversed.len();
        match target {
            Target::Place(at) if here - at <= REACH => at,
            Target::Place(_) => {
                self.fall_to(target);
                self.reversed.len() - 1
            }
            Target::Return(value) => match self.returns.get(&value) {
                Some(at) if here - at <= REACH => *at,
                _ => {
                    self.write_return(value);
                    here
                }
            },
        }
    }

    fn distance(&self, place: usize) -> u8 {
        u8::try_from(self.reversed.len() - place - 1)
            .expect("near() keeps targets within 250 instructions, and adds two at most")
    }

    /// The ranges of an architecture, with the code for those that look at arguments written.
    fn conditions(&mut self, verdicts: &Verdicts) -> Vec<(u32, Target)> {
        let mut written: Vec<(&Verdict, Target)> = Vec::new();
        let mut ranges = Vec::new();
        for (start, verdict) in &verdicts.ranges {
            let known =
                written.iter().find(|(other, _)| *other == verdict).map(|(_, target)| *target);
            let target = match (known, verdict) {
                (Some(target), _) => target,
                (None, Verdict::Return(value)) => Target::Return(*value),
                (None, Verdict::First(clauses, default)) => {
                    self.clauses(clauses, *default, verdicts.arch.is_wide())
                }
            };
            written.push((verdict, target));
            ranges.push((*start, target));
        }
        ranges
    }

    /// The balanced tree: each branch halves the ranges.
    fn tree(&mut self, ranges: &[(u32, Target)]) -> Target {
        match ranges {
            [] => Target::Return(RET_ENOSYS),
            [(_, target)] => *target,
            _ => {
                let (lower, upper) = ranges.split_at(ranges.len() / 2);
                let (upper_start, lower, upper) = (upper[0].0, self.tree(lower), self.tree(upper));
                self.branch(JUMP_AT_LEAST, upper_start, upper, lower)
            }
        }
    }

    fn clauses(&mut self, clauses: &[Clause], default: u32, wide: bool) -> Target {
        if let Some(words) = low_words(clauses) {
            return self.low_clauses(&words, default, wide);
        }
        let mut next = Target::Return(default);
        for clause in clauses.iter().rev() {
            let mut matched = Target::Return(clause.action);
            for test in clause.tests.iter().rev() {
                matched = self.test(*test, wide, matched, next);
            }
            next = matched;
        }
        next
    }

    /// Clauses about the low word of one argument, whose high word must be zero: both are loaded once.
    fn low_clauses(
        &mut self,
        clauses: &[(u8, Comparison, u32)],
        default: u32,
        wide: bool,
    ) -> Target {
        let mut next = Target::Return(default);
        for (_, comparison, action) in clauses.iter().rev() {
            next = self.low(*comparison, Target::Return(*action), next);
        }
        let index = clauses.first().map_or(0, |(index, ..)| *index);
        let low = self.load(low_word(index), next);
        if !wide {
            return low;
        }
        let high = self.branch(JUMP_EQUAL, 0, low, Target::Return(default));
        self.load(high_word(index), high)
    }

    fn low(&mut self, comparison: Comparison, matched: Target, next: Target) -> Target {
        match comparison {
            Comparison::Equal(value) => self.branch(JUMP_EQUAL, low_half(value), matched, next),
            Comparison::Less(value) => self.branch(JUMP_AT_LEAST, low_half(value), next, matched),
            Comparison::LessOrEqual(value) => {
                self.branch(JUMP_GREATER, low_half(value), next, matched)
            }
            _ => next,
        }
    }

    /// One comparison of 64 bits, the high half first.
    fn test(&mut self, test: Test, wide: bool, matched: Target, failed: Target) -> Target {
        match test.comparison {
            Comparison::NotEqual(value) => {
                self.equal(test.index, wide, (u64::MAX, value), failed, matched)
            }
            Comparison::Equal(value) => {
                self.equal(test.index, wide, (u64::MAX, value), matched, failed)
            }
            Comparison::Masked { mask, value } => {
                self.equal(test.index, wide, (mask, value), matched, failed)
            }
            Comparison::Less(value) => self.at_least(test.index, wide, value, failed, matched),
            Comparison::GreaterOrEqual(value) => {
                self.at_least(test.index, wide, value, matched, failed)
            }
            Comparison::LessOrEqual(value) => {
                self.greater(test.index, wide, value, failed, matched)
            }
            Comparison::Greater(value) => self.greater(test.index, wide, value, matched, failed),
        }
    }

    fn equal(
        &mut self,
        index: u8,
        wide: bool,
        (mask, value): (u64, u64),
        matched: Target,
        failed: Target,
    ) -> Target {
        let low = self.masked(low_word(index), low_half(mask), low_half(value), matched, failed);
        if wide {
            return self.masked(high_word(index), high_half(mask), high_half(value), low, failed);
        }
        // The high half is zero on a narrow architecture.
        if high_half(value) == 0 { low } else { failed }
    }

    /// Compares a word under a mask.
    fn masked(
        &mut self,
        word: u32,
        mask: u32,
        value: u32,
        matched: Target,
        failed: Target,
    ) -> Target {
        if value & !mask != 0 {
            return failed;
        }
        let branch = match (mask, value) {
            (0, _) => return matched,
            (_, 0) if mask != u32::MAX => self.branch(JUMP_ANY_BIT, mask, failed, matched),
            _ => self.branch(JUMP_EQUAL, value, matched, failed),
        };
        if mask != u32::MAX && value != 0 {
            self.fall_to(branch);
            let and = self.push(Instruction { code: AND, then: 0, otherwise: 0, value: mask });
            return self.load(word, and);
        }
        self.load_unless_constant(word, branch, matched, failed)
    }

    /// No load for a branch that has become one of its own targets.
    fn load_unless_constant(
        &mut self,
        word: u32,
        branch: Target,
        matched: Target,
        failed: Target,
    ) -> Target {
        if matched == failed { branch } else { self.load(word, branch) }
    }

    fn at_least(&mut self, index: u8, wide: bool, value: u64, yes: Target, no: Target) -> Target {
        let low = self.branch(JUMP_AT_LEAST, low_half(value), yes, no);
        self.after_high(index, wide, value, low, yes, no)
    }

    fn greater(&mut self, index: u8, wide: bool, value: u64, yes: Target, no: Target) -> Target {
        let low = self.branch(JUMP_GREATER, low_half(value), yes, no);
        self.after_high(index, wide, value, low, yes, no)
    }

    /// The high half decides unless it is equal, in which case the low half does.
    fn after_high(
        &mut self,
        index: u8,
        wide: bool,
        value: u64,
        low: Target,
        yes: Target,
        no: Target,
    ) -> Target {
        if yes == no {
            return yes;
        }
        if !wide {
            return if high_half(value) == 0 { self.load(low_word(index), low) } else { no };
        }
        let low = self.load(low_word(index), low);
        let equal = self.branch(JUMP_EQUAL, high_half(value), low, no);
        let high = self.branch(JUMP_GREATER, high_half(value), yes, equal);
        self.load(high_word(index), high)
    }
}

/// The clauses, if each is one comparison of the same argument that holds only for numbers of 32 bits.
fn low_words(clauses: &[Clause]) -> Option<Vec<(u8, Comparison, u32)>> {
    let mut words: Vec<(u8, Comparison, u32)> = Vec::new();
    for clause in clauses {
        let [Test { index, comparison }] = clause.tests.as_slice() else { return None };
        let (Comparison::Equal(value) | Comparison::Less(value) | Comparison::LessOrEqual(value)) =
            *comparison
        else {
            return None;
        };
        let same = words.first().is_none_or(|(first, ..)| *first == *index);
        if !same || value > u64::from(u32::MAX) {
            return None;
        }
        words.push((*index, *comparison, clause.action));
    }
    (!words.is_empty()).then_some(words)
}

const fn low_half(value: u64) -> u32 {
    let [b0, b1, b2, b3, ..] = value.to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}

const fn high_half(value: u64) -> u32 {
    low_half(value >> 32)
}

/// Both words of an argument, for the byte order of this machine.
const fn low_word(index: u8) -> u32 {
    ARGUMENTS + 8 * index as u32 + if cfg!(target_endian = "big") { 4 } else { 0 }
}

const fn high_word(index: u8) -> u32 {
    ARGUMENTS + 8 * index as u32 + if cfg!(target_endian = "big") { 0 } else { 4 }
}
