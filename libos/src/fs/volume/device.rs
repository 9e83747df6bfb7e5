//! A volume's host file, and its anchor's.

use crate::fs::HostHandle;
use crate::{Errno, host_error, pal};
use alloc::vec;
use bastide_pal::IoVec;
use bastide_volume::{Anchor, Device, DeviceError, Error, Mark, Platform, Result};

/// The host file that holds a volume.
pub struct HostFile(pub HostHandle);

impl Device for HostFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> core::result::Result<(), DeviceError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let piece = IoVec {
                addr: rest.as_mut_ptr() as usize,
                len: rest.len(),
            };
            let at = offset.checked_add(done as u64).ok_or(DeviceError::Failed)?;
            let n = (pal().read(self.0.0, &[piece], Some(at))).map_err(|_| DeviceError::Failed)?;
            // More than was asked for is a lie, nothing is the end of the file.
            if n == 0 || n > rest.len() {
                return Err(DeviceError::Failed);
            }
            done += n;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> core::result::Result<(), DeviceError> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|r| !r.is_empty()) {
            let piece = IoVec {
                addr: rest.as_ptr() as usize,
                len: rest.len(),
            };
            let at = offset.checked_add(done as u64).ok_or(DeviceError::Failed)?;
            let n = (pal().write(self.0.0, &[piece], Some(at))).map_err(failed)?;
            if n == 0 || n > rest.len() {
                return Err(DeviceError::Failed);
            }
            done += n;
        }
        Ok(())
    }

    fn flush(&self) -> core::result::Result<(), DeviceError> {
        pal().fsync(self.0.0, true).map_err(failed)
    }

    fn len(&self) -> core::result::Result<u64, DeviceError> {
        (pal().stat(self.0.0, b"")).map_or(Err(DeviceError::Failed), |s| Ok(s.size))
    }
}

/// A full disk, a quota and a limit of file sizes can be helped.
fn failed(e: bastide_pal::Error) -> DeviceError {
    match host_error(e) {
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => DeviceError::Full,
        _ => DeviceError::Failed,
    }
}

/// Random numbers and the time of the enclave.
pub struct Enclave;

impl Platform for Enclave {
    fn random(&self, buf: &mut [u8]) -> Result<()> {
        pal().random(buf);
        Ok(())
    }

    fn now(&self) -> i64 {
        crate::time::realtime() as i64
    }
}

/// The file of an anchor: one sector, written in place.
pub struct AnchorFile(pub HostFile);

/// Bytes of the file: room for the text, and no more than a sector.
const ANCHOR: usize = 256;

impl Anchor for AnchorFile {
    fn load(&mut self) -> Result<Option<Mark>> {
        let len = self.0.len().map_err(|_| Error::Anchor)?;
        if len == 0 {
            return Ok(None);
        }
        let mut text = vec![0; len.min(ANCHOR as u64) as usize];
        self.0.read_at(0, &mut text).map_err(|_| Error::Anchor)?;
        let text = core::str::from_utf8(&text).map_err(|_| Error::Anchor)?;
        Mark::parse(text).map(Some).ok_or(Error::Anchor)
    }

    fn store(&mut self, mark: &Mark) -> Result<()> {
        let mut text = mark.text().into_bytes();
        text.resize(ANCHOR, b'\n');
        let written = self.0.write_at(0, &text).and_then(|()| self.0.flush());
        written.map_err(|_| Error::Anchor)
    }
}
