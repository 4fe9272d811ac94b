//! A root key in a PKCS#11 token, with SoftHSM as the token.
//!
//! SoftHSM reads where its tokens lie from the environment, once for a process. So each test starts itself
//! again, in a process whose SoftHSM knows a directory of the test's own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead, aead::Payload};
use common::*;
use cryptoki::{
    context::Pkcs11,
    object::{Attribute, AttributeType, ObjectClass},
};
use valv_sealing::{
    Keyring, PinSource, RecordKind, RootKeyError, RootKeyId, RootKeySource, RootKeys, SealError,
    WrappedDataKey,
};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const TOKEN: &str = "valv";
const PIN: &str = "correct-horse-7319";
const OTHER_PIN: &str = "battery-staple-4402";

/// Runs `test` with a SoftHSM of its own that has one token.
fn with_softhsm(name: &str, test: fn(&Path)) {
    if let Some(dir) = env::var_os("VALV_TEST_SOFTHSM") {
        return test(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tokens")).unwrap();
    let configuration = dir.path().join("softhsm2.conf");
    fs::write(&configuration, format!("directories.tokendir = {}/tokens\n", dir.path().display())).unwrap();
    let run = |command: &mut Command| {
        let command = command.env("SOFTHSM2_CONF", &configuration).env("VALV_TEST_SOFTHSM", dir.path());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said.concat());
        said.concat()
    };
    let (pin, so_pin) = (["--pin", PIN], ["--so-pin", "12345678"]);
    run(Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", TOKEN])
        .args(pin)
        .args(so_pin));
    let said = run(Command::new(env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]));
    assert!(said.contains("1 passed"), "{said}");
}

/// `pkcs11-tool` on the token, logged in.
fn tool(arguments: &[&str]) {
    let output = Command::new("pkcs11-tool")
        .args(["--module", MODULE, "--token-label", TOKEN, "--login"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn generate(key: &str) {
    tool(&["--pin", PIN, "--keygen", "--key-type", "AES:32", "--label", key, "--sensitive", "--private"]);
}

fn pin(pin: &str) -> PinSource {
    PinSource::Text { variable: "VALV_PIN".into(), pin: pin.to_owned().into() }
}

fn source(key: &str) -> RootKeySource {
    RootKeySource::Token { module: MODULE.into(), token: TOKEN.into(), key: key.into(), pin: pin(PIN) }
}

fn load(key: &str) -> RootKeys {
    RootKeys::load(&[source(key)]).unwrap()
}

/// Why the token's key is refused; never with a PIN in it.
fn refusal(module: &str, token: &str, key: &str, pin: PinSource) -> String {
    let (module, token, key) = (PathBuf::from(module), token.into(), key.into());
    let error = RootKeys::load(&[RootKeySource::Token { module, token, key, pin }]).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains(PIN) && !told.contains(OTHER_PIN), "{told}");
    error.to_string()
}

#[test]
fn a_data_key_wrapped_in_the_token_opens_only_for_its_vault_and_number() {
    with_softhsm("a_data_key_wrapped_in_the_token_opens_only_for_its_vault_and_number", |_| {
        generate("root");
        let keyring = Keyring::new(load("root"));
        let wrapped = keyring.generate(&vault(1), 1, NOW).unwrap();
        let sealed = keyring.unwrap(&vault(1), std::slice::from_ref(&wrapped)).unwrap().seal(
            "p",
            RecordKind::Secret,
            b"kept",
        );
        // Another load knows the key by the same id, and what it wrapped.
        let keyring = Keyring::new(load("root"));
        let keys = keyring.unwrap(&vault(1), std::slice::from_ref(&wrapped)).unwrap();
        assert_eq!(keys.open("p", RecordKind::Secret, &sealed).unwrap().as_slice(), b"kept");

        let damaged = |n, key| assert_eq!(keyring.unwrap(&vault(n), &[key]).unwrap_err(), SealError::Damaged);
        damaged(2, wrapped.clone());
        damaged(1, WrappedDataKey { number: 2, ..wrapped.clone() });
        let mut flipped = wrapped.wrapped.clone().into_bytes();
        flipped[40] = if flipped[40] == b'A' { b'B' } else { b'A' };
        for text in ["", "AAAA", &wrapped.wrapped[4..], std::str::from_utf8(&flipped).unwrap()] {
            damaged(1, WrappedDataKey { wrapped: text.into(), ..wrapped.clone() });
        }
        // Another key under this one's name: the id decides nothing, the key does.
        generate("second");
        let mut renamed = Keyring::new(load("second")).generate(&vault(1), 1, NOW).unwrap();
        assert_ne!(renamed.root_key, wrapped.root_key);
        renamed.root_key = wrapped.root_key.clone();
        damaged(1, renamed);
        // And the key still works.
        let keyring = Keyring::new(load("root"));
        assert!(keyring.unwrap(&vault(1), &[wrapped]).is_ok());
    });
}

#[test]
fn what_the_token_wraps_is_aes_gcm_and_its_id_is_the_keys() {
    with_softhsm("what_the_token_wraps_is_aes_gcm_and_its_id_is_the_keys", |dir| {
        // A key that is known here too.
        let file = dir.join("key");
        fs::write(&file, [7; 32]).unwrap();
        let output = Command::new("softhsm2-util")
            .args(["--import", file.to_str().unwrap(), "--aes", "--token", TOKEN, "--label", "known"])
            .args(["--id", "07", "--pin", PIN])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let keys = load("known");
        // printf 'valv root key id' | openssl enc -aes-256-ecb -nopad -K 0707..07
        assert_eq!(keys.current().id(), &RootKeyId("4df70aaae500b2ec".into()));
        let wrapped = keys.current().wrap(b"context", &[9; 32]).unwrap();
        assert_eq!((wrapped.len(), wrapped[0]), (1 + 12 + 32 + 16, 1));
        let cipher = Aes256Gcm::new(&[7; 32].into());
        let nonce: [u8; 12] = wrapped[1..13].try_into().unwrap();
        let payload = Payload { msg: &wrapped[13..], aad: b"context" };
        assert_eq!(cipher.decrypt(&nonce.into(), payload).unwrap(), [9; 32]);
        let again = keys.current().wrap(b"context", &[9; 32]).unwrap();
        assert_ne!(again[1..13], wrapped[1..13], "a nonce of its own for each");
    });
}

#[test]
fn data_keys_move_from_a_file_to_the_token_and_back() {
    with_softhsm("data_keys_move_from_a_file_to_the_token_and_back", |_| {
        generate("root");
        let lines = [root_line(1), root_line(2)];
        let before = keyring(&lines[..1]);
        let first = [before.generate(&vault(1), 1, NOW).unwrap()];
        let sealed = before.unwrap(&vault(1), &first).unwrap().seal("p", RecordKind::Secret, b"kept");
        let opens = |keyring: &Keyring, keys: &[WrappedDataKey]| {
            let keys = keyring.unwrap(&vault(1), keys)?;
            Ok::<_, SealError>(keys.open("p", RecordKind::Secret, &sealed)?.as_slice() == b"kept")
        };

        let to_token = Keyring::new(RootKeys::load(&[source("root"), text(&lines[0])]).unwrap());
        let in_token = to_token.rewrap(&vault(1), &first).unwrap();
        assert_eq!(&in_token[0].root_key, to_token.root_keys().current().id());
        assert_eq!(to_token.rewrap(&vault(1), &in_token).unwrap(), in_token, "nothing left to do");
        let only_token = Keyring::new(load("root"));
        assert_eq!(opens(&only_token, &in_token), Ok(true));
        assert!(matches!(opens(&only_token, &first), Err(SealError::NoSuchRootKey(_))));

        let to_file = Keyring::new(RootKeys::load(&[text(&lines[1]), source("root")]).unwrap());
        let in_file = to_file.rewrap(&vault(1), &in_token).unwrap();
        assert_eq!(opens(&keyring(&lines[1..]), &in_file), Ok(true));
        assert!(matches!(opens(&keyring(&lines[1..]), &in_token), Err(SealError::NoSuchRootKey(_))));
    });
}

#[test]
fn a_token_or_key_that_cannot_be_used_is_refused_in_clear_words() {
    with_softhsm("a_token_or_key_that_cannot_be_used_is_refused_in_clear_words", |dir| {
        let told = refusal("/nowhere/pkcs11.so", TOKEN, "root", pin(PIN));
        assert!(told.contains("there is no PKCS#11 module /nowhere/pkcs11.so; install"), "{told}");
        let no_module = dir.join("softhsm2.conf");
        let told = refusal(no_module.to_str().unwrap(), TOKEN, "root", pin(PIN));
        assert!(told.contains("is not a PKCS#11 module"), "{told}");
        let told = refusal(MODULE, "other", "root", pin(PIN));
        assert!(told.contains("token 'other'") && told.contains("only 'valv'"), "{told}");
        let told = refusal(MODULE, TOKEN, "root", pin(OTHER_PIN));
        assert!(told.contains("refuses the PIN in the environment variable VALV_PIN; correct it"), "{told}");
        let told = refusal(MODULE, TOKEN, "root", pin(""));
        assert!(told.contains("VALV_PIN is not set or empty; put the token's user PIN there"), "{told}");

        let told = refusal(MODULE, TOKEN, "root", pin(PIN));
        assert!(told.contains("no AES key 'root'") && told.contains("--keygen --key-type AES:32"), "{told}");
        tool(&[
            "--pin",
            PIN,
            "--keygen",
            "--key-type",
            "AES:16",
            "--label",
            "short",
            "--sensitive",
            "--private",
        ]);
        let told = refusal(MODULE, TOKEN, "short", pin(PIN));
        assert!(told.contains("has not 256 bits"), "{told}");
        tool(&["--pin", PIN, "--keygen", "--key-type", "AES:32", "--label", "public", "--sensitive"]);
        let told = refusal(MODULE, TOKEN, "public", pin(PIN));
        assert!(told.contains("'public' works without the PIN"), "{told}");
        generate("root");
        RootKeys::load(&[source("root")]).unwrap();
        let error = RootKeys::load(&[source("root"), source("root")]).unwrap_err();
        assert!(matches!(error, RootKeyError::Duplicate { .. }), "{error}");
        generate("root");
        let told = refusal(MODULE, TOKEN, "root", pin(PIN));
        assert!(told.contains("several AES keys 'root'"), "{told}");
    });
}

#[test]
fn a_pin_file_is_read_only_when_nobody_else_can() {
    with_softhsm("a_pin_file_is_read_only_when_nobody_else_can", |dir| {
        generate("root");
        let path = dir.join("pin");
        let from_file = || PinSource::File(path.clone());
        assert!(refusal(MODULE, TOKEN, "root", from_file()).contains("pin does not exist; put"));
        fs::write(&path, format!("{PIN}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refusal(MODULE, TOKEN, "root", from_file()).contains("has mode 0640"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let RootKeySource::Token { module, token, key, .. } = source("root") else { unreachable!() };
        RootKeys::load(&[RootKeySource::Token { module, token, key, pin: from_file() }]).unwrap();
        fs::write(&path, "\n").unwrap();
        assert!(refusal(MODULE, TOKEN, "root", from_file()).contains("is not set or empty"));
    });
}

#[test]
fn the_keys_bytes_never_leave_the_token_and_no_text_shows_the_pin() {
    with_softhsm("the_keys_bytes_never_leave_the_token_and_no_text_shows_the_pin", |_| {
        tool(&[
            "--pin",
            PIN,
            "--keygen",
            "--key-type",
            "AES:32",
            "--label",
            "open",
            "--extractable",
            "--private",
        ]);
        let told = refusal(MODULE, TOKEN, "open", pin(PIN));
        assert!(told.contains("can be read out of the token"), "{told}");
        generate("root");
        let keys = load("root");
        // The program is logged in now; whoever asks its token for the bytes does not get them.
        let module = Pkcs11::new(MODULE).unwrap();
        let session = module.open_ro_session(module.get_slots_with_token().unwrap()[0]).unwrap();
        let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(b"root".to_vec())];
        let [key] = session.find_objects(&template).unwrap()[..] else { unreachable!("one key") };
        let read = session.get_attributes(key, &[AttributeType::Value, AttributeType::Label]).unwrap();
        assert_eq!(read, [Attribute::Label(b"root".to_vec())]);

        let shown = format!("{keys:?} {:?} {:?} {}", source("root"), pin(PIN), source("root"));
        assert!(!shown.contains(PIN) && shown.contains("'root'"), "{shown}");
    });
}

#[test]
fn a_lost_login_is_made_again_and_a_refused_pin_is_not_tried_twice() {
    with_softhsm("a_lost_login_is_made_again_and_a_refused_pin_is_not_tried_twice", |_| {
        generate("root");
        let keys = load("root");
        let wrapped = keys.current().wrap(b"context", &[9; 32]).unwrap();
        let module = Pkcs11::new(MODULE).unwrap();
        let slot = module.get_slots_with_token().unwrap()[0];
        // Logging out ends the login of the whole program.
        let log_out = || module.open_ro_session(slot).unwrap().logout().unwrap();
        let unwrap = || keys.current().unwrap(b"context", &wrapped).map(|key| *key);

        log_out();
        assert_eq!(unwrap().unwrap(), [9; 32]);
        log_out();
        assert!(keys.current().wrap(b"context", &[9; 32]).is_ok());

        // SoftHSM takes note of a new PIN only in the process that sets it.
        let change = |from: &str, to: &str| {
            let session = module.open_rw_session(slot).unwrap();
            session.set_pin(&from.into(), &to.into()).unwrap();
        };
        change(PIN, OTHER_PIN);
        log_out();
        let told = unwrap().unwrap_err().to_string();
        assert!(told.contains("refuses the PIN"), "{told}");
        // With the PIN right again: the refusal stands until the source is read again.
        change(OTHER_PIN, PIN);
        let told = unwrap().unwrap_err().to_string();
        assert!(told.contains("refuses the PIN"), "{told}");
        assert_eq!(*load("root").current().unwrap(b"context", &wrapped).unwrap(), [9; 32]);
    });
}

#[test]
fn many_threads_share_the_token() {
    with_softhsm("many_threads_share_the_token", |_| {
        generate("root");
        let keys = Arc::new(load("root"));
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let keys = Arc::clone(&keys);
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let wrapped = keys.current().wrap(&[n], &[n; 32]).unwrap();
                        assert_eq!(*keys.current().unwrap(&[n], &wrapped).unwrap(), [n; 32]);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
