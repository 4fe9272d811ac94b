//! Unchanged programs on the real SDKs, through the loss and the return of their vault's home region.

use std::fs;

use valv_tests::{Dev, Process, clients};

use crate::{plant, stop_and_scan};

const HOME: &str = "eastus";

/// A pair, three programs that run at once, one fault.
fn go_through(fault: &str) {
    let dev = if fault == "partition" { Dev::start_with(&["--separate-hosts"]) } else { Dev::start() };
    let (plant, phase) = (plant(), dev.root().join("phase"));
    let say = |word: &str| {
        // Whole or not at all: the programs read it all the time.
        let new = phase.with_extension("new");
        fs::write(&new, word).and_then(|()| fs::rename(&new, &phase)).expect("the phase");
    };
    say("healthy");
    let file = phase.display().to_string();
    let variables =
        [("VALV_PLANT", plant.as_str()), ("VALV_PHASE", &file), ("VALV_HOME", HOME), ("VALV_PAIR", "westus")];
    let mut programs = [
        clients::python_begun(&dev, "check_failover.py", &variables),
        clients::javascript_begun(&dev, "check_failover.mjs", &variables),
        clients::rust_begun(&dev, env!("CARGO_BIN_EXE_valv-test-rust-sdk"), &variables),
    ];
    let mut all =
        |line: &str| programs.iter_mut().for_each(|program: &mut Process| clients::printed(program, line));
    all("ok healthy");
    dev.take(fault, HOME);
    say("lost");
    all("ok lost");
    dev.give_back(fault, HOME);
    say("returned");
    all("ok returned");
    programs.iter_mut().for_each(clients::passed);
    stop_and_scan(dev, &[&plant]);
}

#[test]
fn f28_f29_sdk_programs_go_on_when_the_home_region_is_killed_and_returns() {
    go_through("kill");
}

#[test]
fn f28_f29_sdk_programs_go_on_when_the_home_region_freezes_and_thaws() {
    go_through("freeze");
}

#[test]
fn f20_sdk_programs_go_on_when_the_home_region_is_cut_off_and_reached_again() {
    go_through("partition");
}
