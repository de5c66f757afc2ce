//! `doorbook keys`: other keys in the place of those there are, and all of them in escrow.

use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::failure::{Failure, InOneLine};
use super::flags::BriefFlags;
use super::new_file::NewFile;
use super::outside::{Outside, block_on};
use super::rows::visible;
use super::sessions::{answers, open_config};
use crate::audit::counted;
use crate::config::Local;
use crate::control::{Answers, Rotated, RotatedKey};
use crate::domain::id::Secret;
use crate::serve::{Gone, NewEscrow, RestoredKeys};

/// A passphrase is not shorter: whoever has the escrow may try as long as they like.
const SHORTEST: usize = 12;

/// No passphrase is longer, in bytes.
const LONGEST: u64 = 4_096;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Rotate(Rotate),
    Escrow(Escrow),
    Restore(Restore),
}

/// Change the root key of keys/, or the key that signs for the log, for a new one
///
/// With a running server or without one; both keys where neither is named. What was sealed stays readable: only
/// the key above the other keys is another one. The old signing key vouches for the new one in the log, and is
/// gone. Asks first; without a terminal it needs --yes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook keys rotate --signer")]
pub(super) struct Rotate {
    /// The root key, which the other key files are sealed under
    #[arg(long)]
    kek: bool,
    /// The key that signs for the log
    #[arg(long)]
    signer: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

/// Write all keys into one file under a passphrase: what restores them beside a backup
///
/// With a running server or without one. New users, new months, erasures and a new signing key make it stale;
/// `serve` says so. ENCRYPT_SECRET is not in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  doorbook keys escrow /mnt/usb/doorbook.escrow\n  \
    doorbook keys escrow --passphrase-stdin --force /mnt/usb/doorbook.escrow < passphrase")]
pub(super) struct Escrow {
    /// Where to write it; never beside the log
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace that file if it is there
    #[arg(long)]
    force: bool,
    /// Read the passphrase from the first line of standard input
    #[arg(long)]
    passphrase_stdin: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

/// Give the keys of an escrow back to a data directory that has none
///
/// Before `restore` or `import`, or after either with --without-keys. A key file that is another one is never
/// replaced. Where the log is there, the keys of whoever was erased since the escrow was made are destroyed at once.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  doorbook keys restore /mnt/usb/doorbook.escrow --data-dir /var/lib/doorbook"
)]
pub(super) struct Restore {
    /// The file that `keys escrow` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read the passphrase from the first line of standard input
    #[arg(long)]
    passphrase_stdin: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    match command {
        Command::Rotate(args) => rotate(args, outside),
        Command::Escrow(args) => escrow(args, outside),
        Command::Restore(args) => restore(args, outside),
    }
}

fn rotate(args: Rotate, outside: &mut Outside) -> Result<(), Failure> {
    let (which, question): (&[_], _) = match (args.kek, args.signer) {
        (true, false) => (&[RotatedKey::Root], "Give the key files a new root key?"),
        (false, true) => (&[RotatedKey::Signer], "Let a new key sign for the log? The old one is gone then."),
        _ => (
            &[RotatedKey::Root, RotatedKey::Signer],
            "Give the key files a new root key, and let a new key sign for the log? The old ones are gone then.",
        ),
    };
    // Before anything is opened: it would be asked for in vain.
    if !args.yes && !outside.stdin_is_terminal {
        outside.confirm("", false)?;
    }
    let local = open_config(args.flags, outside)?;
    let world = outside.world();
    block_on(async {
        let answers = answers(local, world).await?;
        let rotated = rotate_by(&*answers, which, question, args.yes, outside).await;
        answers.close().await?;
        rotated
    })
}

async fn rotate_by(
    answers: &dyn Answers,
    which: &[RotatedKey],
    question: &str,
    yes: bool,
    outside: &mut Outside,
) -> Result<(), Failure> {
    if !outside.confirm(question, yes)? {
        return Err(Failure::No("nothing was changed".to_owned()));
    }
    for key in which {
        let Rotated { position, name } = answers.rotate_key(*key).await?;
        let name = visible(&name);
        let said = match key {
            RotatedKey::Root => {
                writeln!(outside.stdout, "root key     {name}, recorded at position {position}")
            }
            RotatedKey::Signer => {
                writeln!(outside.stdout, "signing key  {name}, from position {position} on")
            }
        };
        said.map_err(Failure::Output)?;
    }
    if which.contains(&RotatedKey::Signer) {
        outside.say(
            "Escrows from before have the signing key that is gone, and not the new one: make one anew.",
        )?;
    }
    Ok(())
}

fn escrow(args: Escrow, outside: &mut Outside) -> Result<(), Failure> {
    let path = outside.path(&args.file);
    if !args.force && path.exists() {
        return Err(Failure::Usage(format!("{} is there already; --force replaces it", path.display())));
    }
    let local = open_config(args.flags, outside)?;
    // A wrong ENCRYPT_SECRET is said before anybody thinks of a passphrase.
    crate::serve::check_keys(&local)?;
    let passphrase = new_passphrase(args.passphrase_stdin, outside)?;
    let world = outside.world();
    let NewEscrow { bytes, header } = crate::serve::escrow(&local, &passphrase, &world)?;
    let mut file = NewFile::create(&path)?;
    file.write_all(&bytes).map_err(|error| file.failed(error))?;
    file.finish()?;
    let of_whom = counted(header.subject_count, "user");
    let text = format!(
        "the keys of {of_whom} are in {}\n  log          {}\n  fingerprint  {}\n",
        path.display(),
        header.log,
        header.fingerprint
    );
    outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output)?;
    outside
        .say("With a backup it restores everything: keep it apart from the log, and from its passphrase.")?;
    outside.say(
        "ENCRYPT_SECRET is NOT in it. Where one is set, the keys open with nothing else: keep that as well.",
    )?;
    outside.say(
        "New users, new months, erasures and a new signing key make it stale; `serve` says when it is.",
    )?;
    outside.say("After an erasure destroy every older escrow: with an older copy of the log it opens what was erased.")?;
    if is_inside(&path, &local.data_dir) {
        outside.say("It lies in the data directory: whatever takes that takes both. Move it elsewhere.")?;
    }
    if let Err(error) = crate::serve::remember_escrow(&local, &header, &world) {
        outside.say(format_args!(
            "doorbook: that it was made could not be remembered, so `serve` cannot say when it is stale: {error}"
        ))?;
    }
    Ok(())
}

fn is_inside(path: &Path, dir: &Path) -> bool {
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

fn restore(args: Restore, outside: &mut Outside) -> Result<(), Failure> {
    let path = outside.path(&args.file);
    let local = open_config(args.flags, outside)?;
    let escrow = fs::read(&path).map_err(|source| Failure::File {
        what: "cannot be read",
        path: path.clone(),
        source,
    })?;
    let passphrase = match args.passphrase_stdin {
        true => first_line(outside)?,
        false => ask("Passphrase: ", outside)?,
    };
    let world = outside.world();
    let RestoredKeys { header, trouble } = crate::serve::restore_keys(&local, &escrow, &passphrase, &world)?;
    let (keys, users) = (local.data_dir.join("keys"), header.subject_count);
    writeln!(outside.stdout, "{} has the keys of log {} again, {users} users", keys.display(), header.log)
        .map_err(Failure::Output)?;
    outside
        .say(format_args!("They are as they were at {}: whoever came later has no key.", header.created))?;
    match trouble {
        Some(trouble) => outside.say(format_args!("They open nothing yet: {trouble}"))?,
        None => forget_gone(&local, outside)?,
    }
    if let Err(error) = crate::serve::remember_escrow(&local, &header, &world) {
        outside.say(format_args!("doorbook: which escrow it was could not be remembered: {error}"))?;
    }
    Ok(())
}

/// Destroys what the log says is gone, now that keys and log are together, and says so.
pub(super) fn forget_gone(local: &Local, outside: &mut Outside) -> Result<(), Failure> {
    let world = outside.world();
    // Keys and log are back whatever comes of this: a start does it too, and no failure undoes them.
    let forgotten = block_on(async { Ok(crate::serve::forget_gone(local, world).await) })?;
    match forgotten {
        Ok(Gone { users: 0, months: 0 }) => Ok(()),
        Ok(Gone { users, months }) => outside.say(format_args!(
            "What the log says is gone was in these keys again, and is gone now: {}, {}.",
            counted(users, "user"),
            counted(months, "month")
        )),
        Err(error) => outside.say(format_args!(
            "doorbook: they may open what the log says is gone, until the next start: {}",
            InOneLine(&error)
        )),
    }
}

fn new_passphrase(from_stdin: bool, outside: &mut Outside) -> Result<Secret, Failure> {
    let long_enough = |passphrase: &Secret| match passphrase.expose().chars().count() {
        ..SHORTEST => Err(Failure::Usage(format!("the passphrase has fewer than {SHORTEST} characters"))),
        _ => Ok(()),
    };
    if from_stdin {
        let passphrase = first_line(outside)?;
        long_enough(&passphrase)?;
        return Ok(passphrase);
    }
    let passphrase = ask(&format!("A passphrase of {SHORTEST} characters or more: "), outside)?;
    long_enough(&passphrase)?;
    let again = ask("The same once more: ", outside)?;
    if again.expose() != passphrase.expose() {
        return Err(Failure::Usage("these were two passphrases; nothing was written".to_owned()));
    }
    Ok(passphrase)
}

fn ask(question: &str, outside: &mut Outside) -> Result<Secret, Failure> {
    if !outside.stdin_is_terminal {
        let how = "without a terminal the passphrase comes from standard input, with --passphrase-stdin";
        return Err(Failure::Usage(how.to_owned()));
    }
    (outside.ask_hidden)(question).map(Secret::new).map_err(Failure::Input)
}

fn first_line(outside: &mut Outside) -> Result<Secret, Failure> {
    let mut line = Zeroizing::new(String::new());
    outside.stdin.by_ref().take(LONGEST).read_line(&mut line).map_err(Failure::Input)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
