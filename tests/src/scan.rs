//! The search for secrets where none may be: in every file below a directory, in every usual disguise.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem::Finder;

/// Panics if a file below `dir` holds one of `needles` (text, or the bytes of a key), plain, in base64 (either
/// alphabet, at any offset) or in hexadecimal. Files named in `except` are not read: those that are there to hold a secret.
///
/// Reports where and in which form, never the secret itself. Returns how many files it read, so that a
/// test can see that it looked at something.
pub fn assert_nowhere(dir: &Path, needles: &[impl AsRef<[u8]>], except: &[&str]) -> usize {
    let mut forms = Vec::new();
    for (number, needle) in needles.iter().enumerate() {
        let needle = needle.as_ref();
        assert!(needle.len() >= 12, "needle {number} is so short that chance finds it");
        forms.extend(disguises(needle).into_iter().map(|(form, bytes)| (number, form, bytes)));
    }
    let finders: Vec<(usize, &str, Finder<'_>)> =
        forms.iter().map(|(number, form, bytes)| (*number, *form, Finder::new(bytes))).collect();
    let mut finds = Vec::new();
    let files = files(dir);
    let read = files.iter().filter(|f| !except.iter().any(|name| f.ends_with(name)));
    let mut count = 0;
    for file in read {
        // A file may vanish between listing and reading; a socket cannot be read.
        let Ok(content) = fs::read(file) else { continue };
        count += 1;
        for (number, form, finder) in &finders {
            if let Some(at) = finder.find(&content) {
                finds.push(format!("needle {number} as {form} in {} at byte {at}", file.display()));
            }
        }
    }
    assert!(finds.is_empty(), "secrets where none may be:\n  {}", finds.join("\n  "));
    count
}

/// The forms in which bytes may turn up in a file.
fn disguises(needle: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = needle.iter().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![
        ("plain bytes", needle.to_vec()),
        ("hexadecimal", hex.to_uppercase().into_bytes()),
        ("hexadecimal", hex.into_bytes()),
    ];
    for before in 0..3 {
        // What stands before and after shifts the digits of base64: leave out those that it decides.
        let mut padded = vec![0; before];
        padded.extend_from_slice(needle);
        let first = (before * 8).div_ceil(6);
        let whole = padded.len() * 8 / 6;
        for (form, text) in
            [("base64", STANDARD_NO_PAD.encode(&padded)), ("base64url", URL_SAFE_NO_PAD.encode(&padded))]
        {
            forms.push((form, text.as_bytes()[first..whole].to_vec()));
        }
    }
    forms
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("cannot list {}: {e}", dir.display())) {
            let entry = entry.expect("an entry of a directory");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const NEEDLE: &str = "planted-77f1c2-secret?>";

    fn finds(content: &[u8]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), content).unwrap();
        catch_unwind(AssertUnwindSafe(|| assert_nowhere(dir.path(), &[NEEDLE], &[]))).is_err()
    }

    #[test]
    fn every_disguise_is_found_and_innocence_is_not() {
        assert!(finds(format!("x{NEEDLE}y").as_bytes()));
        for before in ["", "a", "ab", "abc", "abcd"] {
            for after in ["", "z", "zz"] {
                let inside = format!("{before}{NEEDLE}{after}");
                assert!(finds(STANDARD.encode(&inside).as_bytes()), "{inside}");
                assert!(finds(format!("..{}..", URL_SAFE_NO_PAD.encode(&inside)).as_bytes()), "{inside}");
            }
        }
        let hex: String = NEEDLE.bytes().map(|b| format!("{b:02x}")).collect();
        assert!(finds(hex.as_bytes()) && finds(hex.to_uppercase().as_bytes()));
        assert!(!finds(b"planted-77f1c3-secret?>"));
    }

    #[test]
    fn a_file_that_may_hold_it_is_left_out_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dev.env"), NEEDLE).unwrap();
        fs::write(dir.path().join("other"), "nothing").unwrap();
        assert_eq!(assert_nowhere(dir.path(), &[NEEDLE], &["dev.env"]), 1);
    }
}
