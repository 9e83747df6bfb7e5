//! Files whose contents are made when they are read.

use crate::fs::{File, FileOps};
use crate::uio::{IoDst, IoSrc};
use crate::wait::{Events, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, PollTable};
use crate::{Errno, Result, SysResult, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Mutex;
use core::any::Any;
use core::fmt::{self, Write};

/// Longest write that a generated file takes.
const MAX_WRITE: usize = 1 << 16;

/// What a generated file contains and does.
pub trait Content: Send + Sync {
    /// The whole text, for the task that reads it.
    fn text(&self, t: &Task) -> Result<Vec<u8>>;
    /// Takes what was written at an offset, all of it.
    fn store(&self, _t: &Task, _data: &[u8], _offset: u64) -> Result<()> {
        Err(Errno::EIO)
    }
    /// `ioctl(2)`.
    fn ioctl(&self, _t: &Task, _request: u32, _arg: usize) -> SysResult {
        Err(Errno::ENOTTY)
    }
    /// `poll(2)` and epoll work with it.
    fn watched(&self) -> bool {
        false
    }
}

impl<F: Fn(&Task) -> Result<Vec<u8>> + Send + Sync> Content for F {
    fn text(&self, t: &Task) -> Result<Vec<u8>> {
        self(t)
    }
}

/// Text under construction. Lines are written with `write!`; that cannot fail.
#[derive(Default)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds formatted text.
    pub fn put(&mut self, args: fmt::Arguments<'_>) -> &mut Self {
        let _ = self.write_fmt(args);
        self
    }

    /// Adds bytes as they are.
    pub fn bytes(&mut self, b: &[u8]) -> &mut Self {
        self.0.extend_from_slice(b);
        self
    }

    /// Adds bytes with those in `special`, and backslashes, as `\ooo`.
    pub fn escaped(&mut self, b: &[u8], special: &[u8]) -> &mut Self {
        for &c in b {
            if c == b'\\' || special.contains(&c) {
                self.put(format_args!("\\{c:03o}"));
            } else {
                self.0.push(c);
            }
        }
        self
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// An open generated file. The text is made by the read at offset 0, so that whoever seeks back
/// sees the present; later reads go on in the same text.
pub struct TextFile {
    content: Arc<dyn Content>,
    made: Mutex<Option<Arc<Vec<u8>>>>,
}

impl TextFile {
    /// Opens a generated file.
    pub fn open(content: Arc<dyn Content>) -> Arc<dyn FileOps> {
        Arc::new(TextFile {
            content,
            made: Mutex::new(None),
        })
    }

    fn text(&self, t: &Task, offset: u64) -> Result<Arc<Vec<u8>>> {
        if offset != 0
            && let Some(text) = self.made.lock().clone()
        {
            return Ok(text);
        }
        let text = Arc::new(self.content.text(t)?);
        *self.made.lock() = Some(text.clone());
        Ok(text)
    }
}

impl FileOps for TextFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, t: &Task, _f: &File, dst: &mut IoDst<'_>, offset: Option<u64>) -> Result<usize> {
        let offset = offset.unwrap_or(0);
        let text = self.text(t, offset)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        match text.get(from..) {
            Some(rest) if !rest.is_empty() => dst.put(rest),
            _ => Ok(0),
        }
    }

    fn write(
        &self,
        t: &Task,
        _f: &File,
        src: &mut IoSrc<'_>,
        offset: Option<u64>,
    ) -> Result<usize> {
        if src.left() > MAX_WRITE {
            return Err(Errno::ENOMEM);
        }
        let data = src.take_vec(MAX_WRITE)?;
        self.content.store(t, &data, offset.unwrap_or(0))?;
        Ok(data.len())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    fn append_position(&self) -> Result<u64> {
        Ok(0)
    }

    fn poll(&self, _f: &File, _table: Option<&mut PollTable>) -> Events {
        POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
    }

    fn pollable(&self) -> bool {
        self.content.watched()
    }

    fn ioctl(&self, t: &Task, _f: &File, request: u32, arg: usize) -> SysResult {
        self.content.ioctl(t, request, arg)
    }

    fn truncate(&self, _len: u64) -> Result<()> {
        Ok(())
    }
}
