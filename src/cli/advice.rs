//! What an operator can do about a failure, where a command knows more than what failed.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::failure::Failure;
use crate::control::ControlError;
use crate::event_log::start::StartError;
use crate::serve::{ImportError, KeysError, OpenError, ServeError};

/// The user who may do everything.
const ROOT: u32 = 0;

/// Returns what is said in place of the error.
pub(super) fn instead_of(failure: &Failure) -> Option<String> {
    match failure {
        // To hand it over would stop the service whose it is.
        Failure::Serve(ServeError::Open(OpenError::Start(error)))
        | Failure::Keys(KeysError::Start(error))
        | Failure::Import(ImportError::Start(error)) => match error {
            StartError::NotOurs { dir, owner, uid: ROOT, .. } => Some(format!(
                "the data directory {} belongs to user {owner}; run it as that user: {}",
                dir.display(),
                as_user(*owner)
            )),
            _ => None,
        },
        _ => None,
    }
}

/// Returns what is said behind the error.
pub(super) fn beside(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Serve(ServeError::Open(OpenError::NoLog { .. })) => {
            Some("name the directory with --data-dir, or data_dir in /etc/doorbook/doorbook.toml".to_owned())
        }
        Failure::Control(error) | Failure::Serve(ServeError::Control(error)) => match error {
            ControlError::Io { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("run it as its owner: {}", as_user(owner_of(path)?)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn as_user(uid: u32) -> String {
    format!("sudo -u '#{uid}' doorbook …")
}

/// Returns whose the socket is, or the nearest directory above it that anybody may look at.
fn owner_of(socket: &Path) -> Option<u32> {
    let mut found = socket.ancestors().filter_map(|path| std::fs::symlink_metadata(path).ok());
    found.next().map(|found| found.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_told_whose_it_is_and_not_to_take_it_away() {
        let not_ours = |uid| {
            let dir = "/var/lib/doorbook".into();
            let error = StartError::NotOurs { dir, owner: 65_534, uid, gid: uid };
            Failure::Serve(ServeError::Open(OpenError::Start(error))).to_string()
        };
        assert_eq!(
            not_ours(ROOT),
            "the data directory /var/lib/doorbook belongs to user 65534; \
             run it as that user: sudo -u '#65534' doorbook …"
        );
        assert!(not_ours(1_000).ends_with("chown -R 1000:1000 /var/lib/doorbook"), "{}", not_ours(1_000));
    }

    #[test]
    fn a_socket_of_somebody_else_names_the_line_to_use() {
        let dir = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(dir.path()).unwrap().uid();
        let of = |kind: io::ErrorKind| {
            let path = dir.path().join("not-there/doorbook.sock");
            Failure::Control(ControlError::Io { path, source: kind.into() }).to_string()
        };
        let denied = of(io::ErrorKind::PermissionDenied);
        assert!(
            denied.ends_with(&format!("; run it as its owner: sudo -u '#{owner}' doorbook …")),
            "{denied}"
        );
        assert!(!of(io::ErrorKind::ConnectionReset).contains("sudo"));
    }

    #[test]
    fn where_no_log_is_it_is_said_how_to_name_the_directory() {
        let data_dir = "/x/data".into();
        let said = Failure::Serve(ServeError::Open(OpenError::NoLog { data_dir })).to_string();
        let how = "name the directory with --data-dir, or data_dir in /etc/doorbook/doorbook.toml";
        assert_eq!(said, format!("there is no log in /x/data; {how}"));
    }
}
