//! What we print for copying works as printed: the example of `valv dev`, and those of the README.

use std::{fs, os::unix::fs::symlink, path::Path};

use valv_tests::{Dev, clients, until};

#[test]
fn the_example_that_dev_prints() {
    let mut dev = Dev::start();
    // The file dev.env is there a moment before the text.
    let example = until("the example on standard output", || {
        let printed = fs::read_to_string(dev.process().stdout()).unwrap_or_default();
        between(&printed, "python3 - <<'PYTHON'\n", "\nPYTHON\n").map(str::to_owned)
    });
    let file = dev.data().join("dev.env");
    let script = format!(". {}\npython3 - <<'PYTHON'\n{example}\nPYTHON\n", file.display());
    assert_eq!(clients::shell(&dev, "example", &script).trim(), "hello from valv");
}

#[test]
fn the_examples_of_the_readme() {
    let dev = Dev::start();
    symlink(dev.data(), dev.root().join(".valv-dev")).expect("the folder under its usual name");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("the README");

    let program = between(&readme, ". .valv-dev/dev.env\n", "```").expect("the example in Python");
    // The test command has installed them.
    let lines: Vec<&str> = program.lines().filter(|line| !line.starts_with("pip install")).collect();
    let script = format!(". .valv-dev/dev.env\n{}\n", lines.join("\n"));
    assert_eq!(clients::shell(&dev, "readme-python", &script).trim(), "hello from valv");

    let commands = between(&readme, "Beside a running `valv dev`:\n\n```sh\n", "```").expect("the commands");
    let printed = clients::shell(&dev, "readme-commands", commands);
    assert!(printed.contains("billing") && printed.contains("app"), "{printed}");
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
}
