//! Memory of our own that others can see: as a size, and as the words a process was started with.

use std::ffi::c_void;
use std::fs;
use std::io;

/// Gives memory back to the kernel: free pieces of the heap (malloc_trim(3)), and the pages of the program itself, which
/// are mapped again from the page cache as they are used.
///
/// Starting a container walks through much more code than waiting for its end; without this all of it would stay mapped.
///
/// # Errors
///
/// When `/proc/self/maps` cannot be read, or madvise(2) refuses.
pub fn give_back() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (start, end) in maps.lines().filter_map(code) {
        let (start, length) = (std::ptr::with_exposed_provenance_mut::<c_void>(start), end - start);
        // SAFETY: the range is a private mapping of a file, executable and never writable, as the kernel has just said:
        // it has no page that differs from the file, and every page that is dropped comes back from there when it is
        // touched (madvise(2), MADV_DONTNEED). Nothing unmaps the program of a static binary meanwhile.
        if unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(maps);
    // SAFETY: malloc_trim(3) takes any number and only touches the allocator's own free memory, under its own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
    Ok(())
}

/// Replaces the words that others see of this process (`/proc/PID/cmdline`, proc_pid_cmdline(5)): a copy of a process that
/// has become something else does not bear the words of the first one. Longer words are cut off.
///
/// [`std::env::args`] gives the new words from then on.
///
/// # Errors
///
/// When `/proc/self/stat` cannot be read.
pub fn show_as(words: &str) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (start, end) = arguments(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let shown = words.bytes().chain(std::iter::repeat(0)).take((end - start).saturating_sub(1));
    for (address, byte) in (start..end).zip(shown.chain([0])) {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(address);
        // SAFETY: the kernel has put the words of execve(2) between these addresses, on the stack of the first thread,
        // which is writable and stays mapped as long as the process lives. Nothing in this program holds a reference to
        // them: the standard library copies each word when it is asked for it.
        unsafe { place.write_volatile(byte) };
    }
    Ok(())
}

/// The fields 48 and 49 of proc_pid_stat(5), between which the words lie; counted behind the name of the program, which may
/// hold anything.
fn arguments(stat: &str) -> Option<(usize, usize)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(48 - 3);
    let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (0 < start && start < end).then_some((start, end))
}

/// The addresses of a line of proc_pid_maps(5) that maps code of a file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, inode) = (fields.next()?, fields.next()?, fields.nth(2)?);
    if rights != "r-xp" || inode == "0" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        let line = "7f00-8000 r-xp 00001000 00:01 17   /usr/bin/compose";
        assert_eq!(code(line), Some((0x7f00, 0x8000)));
        for other in [
            "7f00-8000 r--p 00001000 00:01 17   /usr/bin/compose",
            "7f00-8000 rwxp 00001000 00:01 17   /usr/bin/compose",
            "7ffc0000-7ffc2000 r-xp 00000000 00:00 0   [vdso]",
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn a_copy_shows_other_words() {
        let shown = || fs::read_to_string("/proc/self/cmdline").unwrap();
        let first = std::env::args().next().unwrap();
        assert!(shown().starts_with(&first));
        let whole = shown().len();
        // In a child, as the words of this process are not ours to change.
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::tests::shows_other_words", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(shown().len(), whole);
    }

    #[test]
    #[ignore = "the child of a_copy_shows_other_words"]
    fn shows_other_words() {
        let before = fs::read("/proc/self/cmdline").unwrap().len();
        show_as("init").unwrap();
        let shown = fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(shown.split(|byte| *byte == 0).next(), Some(&b"init"[..]));
        assert!(shown.len() <= before && shown[4..].iter().all(|byte| *byte == 0), "{shown:?}");
        show_as(&"x".repeat(before * 2)).unwrap();
        assert!(fs::read("/proc/self/cmdline").unwrap().len() <= before);
    }

    #[test]
    fn what_is_given_back_is_still_there() {
        give_back().unwrap();
        let words: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(words.concat().len(), 2890);
    }
}
