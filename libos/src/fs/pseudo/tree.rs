//! Fixed trees of generated files.

use super::{Content, Home, TextFile, child_ino, set_attr};
use crate::fs::{Dirent, FileOps, FileSystem, Inode, Kind, SetAttr, Stat};
use crate::{Errno, Result, Task};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bastide_base::sync::Once;
use core::any::Any;

/// What a node is.
enum Body {
    Dir(Vec<Arc<Node>>),
    /// A directory that nobody may ever look into.
    Later(fn() -> Vec<Node>, Once<Vec<Arc<Node>>>),
    Text(Arc<dyn Content>),
    Link(Cow<'static, str>),
    /// A link with another text for each reader.
    OwnLink(fn(&Task) -> Vec<u8>),
}

fn shared(nodes: Vec<Node>) -> Vec<Arc<Node>> {
    nodes.into_iter().map(Arc::new).collect()
}

/// A name in a tree and what is there.
pub struct Node {
    name: Cow<'static, str>,
    /// Permission bits.
    mode: u32,
    body: Body,
}

impl Node {
    /// A directory.
    pub fn dir(name: impl Into<Cow<'static, str>>, nodes: Vec<Node>) -> Node {
        Node {
            name: name.into(),
            mode: 0o555,
            body: Body::Dir(shared(nodes)),
        }
    }

    /// A directory whose entries are made when somebody looks for them.
    pub fn later(name: &'static str, make: fn() -> Vec<Node>) -> Node {
        Node {
            name: Cow::Borrowed(name),
            mode: 0o555,
            body: Body::Later(make, Once::new()),
        }
    }

    /// A file that anyone may read.
    pub fn text(
        name: impl Into<Cow<'static, str>>,
        make: impl Fn(&Task) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Node {
        Node::file(name, 0o444, make)
    }

    /// A file that always says the same; a newline is added.
    pub fn fixed(name: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Node {
        let text = text.into();
        Node::text(name, move |_: &Task| Ok([text.as_bytes(), b"\n"].concat()))
    }

    /// A file that is empty.
    pub fn empty(name: impl Into<Cow<'static, str>>) -> Node {
        Node::text(name, |_: &Task| Ok(Vec::new()))
    }

    /// A file.
    pub fn file(
        name: impl Into<Cow<'static, str>>,
        mode: u32,
        content: impl Content + 'static,
    ) -> Node {
        Node {
            name: name.into(),
            mode,
            body: Body::Text(Arc::new(content)),
        }
    }

    /// A symbolic link.
    pub fn link(name: impl Into<Cow<'static, str>>, target: impl Into<Cow<'static, str>>) -> Node {
        Node {
            name: name.into(),
            mode: 0o777,
            body: Body::Link(target.into()),
        }
    }

    /// A symbolic link that leads each reader elsewhere.
    pub fn own_link(name: &'static str, target: fn(&Task) -> Vec<u8>) -> Node {
        Node {
            name: Cow::Borrowed(name),
            mode: 0o777,
            body: Body::OwnLink(target),
        }
    }

    fn kind(&self) -> Kind {
        match &self.body {
            Body::Dir(_) | Body::Later(..) => Kind::Dir,
            Body::Text(_) => Kind::Regular,
            Body::Link(_) | Body::OwnLink(_) => Kind::Symlink,
        }
    }

    fn nodes(&self) -> &[Arc<Node>] {
        match &self.body {
            Body::Dir(nodes) => nodes,
            Body::Later(make, made) => made.get_or_init(|| shared(make())),
            _ => &[],
        }
    }

    /// The entry of a directory.
    pub fn child(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.nodes().iter().find(|n| n.name.as_bytes() == name)
    }

    /// Emits a directory's entries from a position; false if the reader has enough. Positions
    /// are 0, 1, 2, ….
    pub fn list(&self, ino: u64, from: u64, emit: &mut dyn FnMut(Dirent<'_>) -> bool) -> bool {
        let nodes = self.nodes().iter().enumerate();
        for (i, n) in nodes.skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            let name = n.name.as_bytes();
            let entry = Dirent {
                ino: child_ino(ino, name),
                next: i as u64 + 1,
                kind: n.kind().dirent(),
                name,
            };
            if !emit(entry) {
                return false;
            }
        }
        true
    }

    /// How many entries and subdirectories it has.
    pub fn counts(&self) -> (u64, u64) {
        let dirs = self
            .nodes()
            .iter()
            .filter(|n| n.kind() == Kind::Dir)
            .count();
        (self.nodes().len() as u64, dirs as u64)
    }
}

/// A node as a file of a file system.
pub struct TreeInode {
    home: Home,
    ino: u64,
    node: Arc<Node>,
}

impl TreeInode {
    /// The node's inode.
    pub fn new(home: Home, ino: u64, node: Arc<Node>) -> Arc<TreeInode> {
        Arc::new(TreeInode { home, ino, node })
    }

    /// The entry `name` of the directory `node` whose inode number is `ino`.
    pub fn child(home: &Home, ino: u64, node: &Node, name: &[u8]) -> Option<Arc<dyn Inode>> {
        let found = node.child(name)?.clone();
        Some(TreeInode::new(home.clone(), child_ino(ino, name), found))
    }
}

impl Inode for TreeInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.home.fs.clone()
    }
    fn kind(&self) -> Kind {
        self.node.kind()
    }
    fn stat(&self) -> Result<Stat> {
        let kind = self.kind();
        let mut st = self.home.stat(self.ino, kind.bits() | self.node.mode);
        match &self.node.body {
            Body::Dir(_) | Body::Later(..) => st.nlink = 2 + self.node.counts().1,
            Body::Text(_) => st.size = self.home.size,
            Body::Link(text) => st.size = text.len() as u64,
            Body::OwnLink(_) => {}
        }
        Ok(st)
    }
    fn set_attr(&self, attr: &SetAttr) -> Result<()> {
        set_attr(attr)
    }
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.kind() != Kind::Dir {
            return Err(Errno::ENOTDIR);
        }
        TreeInode::child(&self.home, self.ino, &self.node, name).ok_or(Errno::ENOENT)
    }
    fn create(
        &self,
        _name: &[u8],
        _mode: u32,
        _rdev: u64,
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(self.home.refusal)
    }
    fn symlink(
        &self,
        _name: &[u8],
        _target: &[u8],
        _uid: u32,
        _gid: u32,
    ) -> Result<Arc<dyn Inode>> {
        Err(self.home.refusal)
    }
    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.node.body {
            Body::Link(text) => Ok(text.as_bytes().to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }
    fn link_text(&self, t: &Task) -> Result<Vec<u8>> {
        match &self.node.body {
            Body::OwnLink(text) => Ok(text(t)),
            _ => self.read_link(),
        }
    }
    fn open(self: Arc<Self>, _t: &Task, _flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.node.body {
            Body::Dir(_) | Body::Later(..) => Ok(Arc::new(TreeDir(self))),
            Body::Text(content) => Ok(TextFile::open(content.clone())),
            Body::Link(_) | Body::OwnLink(_) => Err(Errno::ELOOP),
        }
    }
}

struct TreeDir(Arc<TreeInode>);

impl FileOps for TreeDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }
    fn read(
        &self,
        _t: &Task,
        _f: &crate::fs::File,
        _dst: &mut crate::uio::IoDst<'_>,
        _offset: Option<u64>,
    ) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn pollable(&self) -> bool {
        false
    }
    fn read_dir(
        &self,
        _t: &Task,
        position: u64,
        emit: &mut dyn FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        self.0.node.list(self.0.ino, position, emit);
        Ok(())
    }
}

/// A boxed content, where the type differs by case.
impl Content for Box<dyn Content> {
    fn text(&self, t: &Task) -> Result<Vec<u8>> {
        (**self).text(t)
    }
    fn store(&self, t: &Task, data: &[u8], offset: u64) -> Result<()> {
        (**self).store(t, data, offset)
    }
    fn watched(&self) -> bool {
        (**self).watched()
    }
}
