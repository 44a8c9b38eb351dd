//! The script is run for real, with stand-ins for the image and for Derby's tool.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with the script, a volume and stand-ins for `hostname`, the
/// image's entrypoint and Derby's tool.
struct Pod {
    directory: tempfile::TempDir,
}

impl Pod {
    fn new(address: &str, ij: &str) -> Self {
        let pod = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(pod.path("vol")).unwrap();
        pod.program("entrypoint.sh", SCRIPT);
        pod.program("hostname", &format!("#!/bin/sh\necho {address}\n"));
        pod.program("image.sh", "#!/bin/sh\necho \"image $*\"\n");
        pod.program("ij", &format!("#!/bin/sh\ncat >>\"$(dirname \"$0\")/asked\"\n{ij}\n"));
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o744)).unwrap();
    }

    /// Starts the script. The end of its output is awaited, which the script in the
    /// background shares: when this returns, both have ended.
    fn start(&self) -> Output {
        Command::new(self.path("entrypoint.sh"))
            .args(["start", "now"])
            .env("PATH", format!("{}:/usr/bin:/bin", self.directory.path().display()))
            .env("MEMBER_NAME", "example-1")
            .env("XSLD_VOLUME", self.path("vol"))
            .env("XSLD_ENTRYPOINT", self.path("image.sh"))
            .env("XSLD_IJ", self.path("ij"))
            .env("XSLD_ADDRESS_ATTEMPTS", "3")
            .env("XSLD_ADDRESS_INTERVAL", "0.05")
            .output()
            .unwrap()
    }

    fn record(&self) -> PathBuf {
        self.path("vol/.xsld-operator-address")
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.path("asked")).unwrap_or_default()
    }
}

const UPDATED: &str = "echo '1 row inserted/updated/deleted'";

fn holds(file: &Path, text: &str) {
    assert_eq!(fs::read_to_string(file).unwrap_or_default().trim(), text);
}

#[test]
fn the_images_entrypoint_gets_the_arguments() {
    let output = Pod::new("10.0.0.1", UPDATED).start();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "image start now\n");
}

#[test]
fn a_new_address_is_written_to_the_database_and_remembered() {
    let pod = Pod::new("10.0.0.2", UPDATED);
    fs::write(pod.path("vol/data"), "x").unwrap();
    fs::write(pod.record(), "10.0.0.1\n").unwrap();
    let output = pod.start();
    holds(&pod.record(), "10.0.0.2");
    let asked = pod.asked();
    assert!(asked.contains("connect 'jdbc:derby://localhost:1527/xsld';"), "{asked}");
    assert!(asked.contains("IPADDRESS = '10.0.0.2' WHERE MEMBERNAME = 'example-1'"), "{asked}");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("knows example-1 at 10.0.0.2 (was 10.0.0.1)"), "{log}");
}

#[test]
fn a_volume_of_a_former_release_is_corrected_too() {
    let pod = Pod::new("10.0.0.2", UPDATED);
    fs::write(pod.path("vol/data"), "x").unwrap();
    pod.start();
    holds(&pod.record(), "10.0.0.2");
    assert!(pod.asked().contains("10.0.0.2"));
}

#[test]
fn the_same_address_asks_the_database_nothing() {
    let pod = Pod::new("10.0.0.1", UPDATED);
    fs::write(pod.record(), "10.0.0.1\n").unwrap();
    let output = pod.start();
    assert!(output.status.success());
    assert_eq!(pod.asked(), "");
}

#[test]
fn a_new_volume_is_left_empty_until_the_image_has_filled_it() {
    let pod = Pod::new("10.0.0.1", UPDATED);
    pod.program(
        "image.sh",
        "#!/bin/sh\ncd \"$XSLD_VOLUME\"\ntest -z \"$(ls -A)\" && echo empty\necho x >data\n",
    );
    let output = pod.start();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "empty\n");
    holds(&pod.record(), "10.0.0.1");
    assert_eq!(pod.asked(), "");
}

#[test]
fn a_database_that_does_not_answer_is_tried_again_and_then_left() {
    let pod = Pod::new("10.0.0.2", "echo 'ERROR 08001: no connection'");
    fs::write(pod.record(), "10.0.0.1\n").unwrap();
    let output = pod.start();
    assert!(output.status.success());
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("the next start tries again"), "{log}");
    // Three attempts, two hosts each.
    assert_eq!(pod.asked().matches("connect").count(), 6);
    assert!(pod.asked().contains("jdbc:derby://example-0.example:1527"));
    assert_eq!(fs::read_to_string(pod.record()).unwrap(), "10.0.0.1\n");
}

#[test]
fn a_missing_entrypoint_is_told_and_fails_the_start() {
    let pod = Pod::new("10.0.0.1", UPDATED);
    fs::remove_file(pod.path("image.sh")).unwrap();
    fs::rename(pod.path("entrypoint.sh"), pod.path("script.sh")).unwrap();
    let output = Command::new(pod.path("script.sh"))
        .env("XSLD_VOLUME", pod.path("vol"))
        .env("XSLD_ENTRYPOINT", pod.path("image.sh"))
        .output()
        .unwrap();
    if !Path::new("/entrypoint.sh").exists() {
        assert_eq!(output.status.code(), Some(127));
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains("XSLD_ENTRYPOINT"), "{log}");
    }
}
