//! Limit of open files: every connection is one, while shells allow programs some thousand.

/// Raises this process's limit of open files to the most that the system allows. A load that needs
/// more shows failures of class `exhausted`.
#[allow(unsafe_code, reason = "getrlimit and setrlimit")]
pub(crate) fn raise_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through both calls
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max
        {
            limit.rlim_cur = limit.rlim_max;
            // macOS refuses its own "unlimited"; then the limit stays what it was
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn all_files_that_are_allowed_can_be_opened() {
        raise_limit();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let files: Vec<_> = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(files[3], files[4], "{files:?}");
    }
}
