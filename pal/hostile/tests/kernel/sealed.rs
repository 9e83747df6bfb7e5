//! Sealed volumes and an image for the kernel under test, with the same files as the other mounts.

use bastide_pal::HostFd;
use bastide_pal::boot::Source;
use bastide_volume::image::{Draft, seal};
use bastide_volume::{
    Device, DeviceError, Image, Kdf, New, Options, Platform, ROOT, Result, Volume, mode,
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

/// One mount writes each volume here, so its numbers need not be random.
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

/// A new volume, with the same files as the other trees.
fn create(device: Box<dyn Device>, compress: bool) -> Volume {
    let options = Options {
        compress,
        ..Options::new(Box::new(Test))
    };
    let mut v = Volume::create(device, 1 << 20, &KEY, Kdf::Key, None, options).unwrap();
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
    v
}

/// Makes volumes and an image in a directory.
pub fn make(dir: &Path) {
    drop(create(Box::new(Disk(open(&dir.join(VOLUME)))), false));
    drop(create(Box::new(Disk(open(&dir.join(CHANGES)))), true));
    let file = open(&dir.join(IMAGE));
    let disk = Disk(file.try_clone().unwrap());
    let v = create(Box::new(Draft(Disk(file))), true);
    let (_, len) = seal(v, &disk, &mut |_, _| {}).unwrap();
    disk.0.set_len(len).unwrap();
}

const VOLUME: &str = "sealed-volume";
const CHANGES: &str = "sealed-changes";
const IMAGE: &str = "sealed-image";

fn descriptor(path: &Path) -> HostFd {
    HostFd(open(path).into_raw_fd())
}

/// A volume, with an anchor.
pub fn volume(dir: &Path) -> Source {
    Source::Volume {
        file: descriptor(&dir.join(VOLUME)),
        key: KEY,
        anchor: Some(descriptor(&dir.join("anchor"))),
        cache: 1 << 20,
    }
}

/// An image whose contents are compressed.
pub fn image(dir: &Path) -> Source {
    let path = dir.join(IMAGE);
    let image = Image::open(Box::new(Disk(open(&path))), None).unwrap();
    Source::Image {
        file: descriptor(&path),
        key: KEY,
        root_hash: image.root_hash(),
        cache: 1 << 20,
    }
}

/// The image over another tree, and changes to both in a volume that compresses.
pub fn overlay(dir: &Path, below: Source) -> Source {
    Source::Overlay {
        lower: vec![image(dir), below],
        upper: Box::new(Source::Volume {
            file: descriptor(&dir.join(CHANGES)),
            key: KEY,
            anchor: None,
            cache: 1 << 20,
        }),
    }
}
