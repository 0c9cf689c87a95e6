//! Memory that a process which only waits can do without.

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
    fn what_is_given_back_is_still_there() {
        give_back().unwrap();
        let words: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(words.concat().len(), 2890);
    }
}
