//! A sealed volume for the kernel under test, with the same files as the other mounts.

use bastide_pal::HostFd;
use bastide_pal::boot::Source;
use bastide_volume::{
    Device, DeviceError, Kdf, New, Options, Platform, ROOT, Result, Volume, mode,
};
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

const KEY: [u8; 32] = [9; 32];

struct Disk(File);

impl Device for Disk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), DeviceError> {
        self.0
            .read_exact_at(buf, offset)
            .map_err(|_| DeviceError::Failed)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> std::result::Result<(), DeviceError> {
        self.0
            .write_all_at(data, offset)
            .map_err(|_| DeviceError::Failed)
    }

    fn flush(&self) -> std::result::Result<(), DeviceError> {
        Ok(())
    }

    fn len(&self) -> std::result::Result<u64, DeviceError> {
        self.0
            .metadata()
            .map(|m| m.len())
            .map_err(|_| DeviceError::Failed)
    }
}

/// One mount writes the volume here, so its numbers need not be random.
struct Test;

impl Platform for Test {
    fn random(&self, buf: &mut [u8]) -> Result<()> {
        buf.fill(1);
        Ok(())
    }

    fn now(&self) -> i64 {
        0
    }
}

fn open(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).unwrap()
}

/// Makes the volume.
pub fn make(path: &Path) {
    let disk = Box::new(Disk(open(path)));
    let options = Options::new(Box::new(Test));
    let mut v = Volume::create(disk, 1 << 20, &KEY, Kdf::Key, None, options).unwrap();
    let new = |mode| New {
        mode,
        ..New::default()
    };
    let file = (v.create_file(ROOT, b"file", &new(mode::FILE | 0o644))).unwrap();
    assert_eq!(v.write(file, 0, &[b'f'; 10_000]), Ok(10_000));
    let dir = (v.create_file(ROOT, b"dir", &new(mode::DIR | 0o755))).unwrap();
    (v.create_file(dir, b"inner", &new(mode::FILE | 0o644))).unwrap();
    v.symlink(ROOT, b"sym", b"file", &new(0)).unwrap();
    v.commit().unwrap();
}

/// What the kernel is told to mount.
pub fn source(path: &Path) -> Source {
    Source::Volume {
        file: HostFd(open(path).into_raw_fd()),
        key: KEY,
        anchor: None,
    }
}
