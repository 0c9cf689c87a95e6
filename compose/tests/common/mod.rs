//! Projects in one text: `--- NAME` begins a file.

/// The files of a text, by name and in its order; what stands before the first and after `===` is none of theirs.
pub fn files(text: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        if bare.starts_with("=== ") {
            break;
        }
        if let Some(name) = bare.strip_prefix("--- ") {
            files.push((name.to_owned(), String::new()));
        } else if let Some((_, content)) = files.last_mut() {
            *content += line;
        }
    }
    files
}
