//! A file that is there whole or not at all: written under another name, and renamed at the end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// A file that is being written, for this user alone; dropping it leaves nothing.
pub(super) struct NewFile {
    path: PathBuf,
    unfinished: Option<PathBuf>,
    out: BufWriter<File>,
}

impl NewFile {
    /// Begins to write beside the place where it will stand.
    pub(super) fn create(path: &Path) -> Result<NewFile, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let unfinished = path.with_file_name(name);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.map_err(failed(path))?;
        Ok(NewFile { path: path.into(), unfinished: Some(unfinished), out: BufWriter::new(file) })
    }

    /// Brings what was written to stable storage, and gives it to be read back before it gets its name.
    pub(super) fn written(&mut self) -> Result<File, Failure> {
        let written = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        let written = written.and_then(|()| {
            use std::io::Seek as _;
            let mut file = self.out.get_ref().try_clone()?;
            file.rewind()?;
            Ok(file)
        });
        written.map_err(failed(&self.path))
    }

    /// Gives it its name.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.written()?;
        let Some(unfinished) = self.unfinished.take() else { return Ok(()) };
        let named = fs::rename(&unfinished, &self.path).and_then(|()| sync_directory_of(&self.path));
        if named.is_err() {
            self.unfinished = Some(unfinished);
        }
        named.map_err(failed(&self.path))
    }

    /// Returns the failure of a write.
    pub(super) fn failed(&self, source: io::Error) -> Failure {
        failed(&self.path)(source)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(unfinished) = self.unfinished.take() {
            // What is left of it has a name that says so.
            let _ = fs::remove_file(unfinished);
        }
    }
}

/// Brings the name of a file to stable storage.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::File { what: "cannot be written", path: path.into(), source }
}
