//! What is mounted below a folder: another file system's content is neither in a snapshot nor moved by a rename.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// What this process sees mounted strictly below a folder, in the kernel's order; bind mounts too.
pub(super) fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match fs::canonicalize(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let table = fs::read("/proc/self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(point);
    Ok(points.filter(|point| *point != folder && point.starts_with(&folder)).collect())
}

/// Where a line of `mountinfo` (proc_pid_mountinfo(5)) says that it is mounted: its fifth field.
fn point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    Some(PathBuf::from(OsString::from_vec(unescaped(field))))
}

/// Spaces, tabs, line ends and backslashes stand there as `\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| more.get(..3)).flatten();
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        text.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[3..] } else { more };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_it_is_mounted() {
        let line = b"36 35 98:0 /mnt1 /mnt/a\\040b\\134 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(point(line), Some(PathBuf::from("/mnt/a b\\")));
        assert_eq!(point(b""), None);
        assert_eq!(unescaped(b"ends\\04"), b"ends\\04");
    }

    #[test]
    fn what_is_below_is_found_and_the_folder_itself_is_not() {
        let found = below(Path::new("/")).unwrap();
        assert!(found.contains(&PathBuf::from("/proc")), "{found:?}");
        assert!(!found.contains(&PathBuf::from("/")));
        assert_eq!(below(Path::new("/there/is/no/such")).unwrap(), Vec::<PathBuf>::new());
    }
}
