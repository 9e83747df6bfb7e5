//! A file system in memory that does what a volume must do, and random operations on both.

use super::{DIR, Dump, FILE, Rng, hash};
use bastide_volume::{Error, New, ROOT, Rename, Result, SetAttr, SetXattr, Volume, mode};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub mode: u32,
    pub uid: u32,
    pub nlink: u32,
    pub data: Vec<u8>,
    pub names: BTreeMap<Vec<u8>, u64>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The model's files by the volume's inode numbers, those without a name included.
#[derive(Clone, PartialEq, Eq)]
pub struct Model(pub BTreeMap<u64, Node>);

impl Default for Model {
    fn default() -> Model {
        let root = Node {
            mode: DIR,
            nlink: 2,
            ..Node::default()
        };
        Model([(ROOT, root)].into())
    }
}

impl Model {
    /// What [`super::dump`] shows of a volume with these files.
    pub fn dump(&self) -> Dump {
        let mut out = Dump::new();
        let mut waiting = vec![(ROOT, b"/".to_vec())];
        while let Some((ino, path)) = waiting.pop() {
            let node = &self.0[&ino];
            let mut text = format!("{:o} {} {}", node.mode, node.uid, node.nlink);
            for (name, ino) in &node.names {
                waiting.push((*ino, [&path[..], name, b"/"].concat()));
            }
            if matches!(node.mode & mode::TYPE, mode::FILE | mode::LINK) {
                write!(text, " {}:{:016x}", node.data.len(), hash(&node.data)).unwrap();
            }
            for (name, value) in &node.xattrs {
                write!(text, " {}={:x}", name.escape_ascii(), hash(value)).unwrap();
            }
            out.insert(path, text);
        }
        out
    }

    fn is_dir(&self, ino: u64) -> bool {
        self.0[&ino].mode & mode::TYPE == mode::DIR
    }

    fn kind(&self, ino: u64) -> u32 {
        self.0[&ino].mode & mode::TYPE
    }

    fn node(&mut self, ino: u64) -> &mut Node {
        self.0.get_mut(&ino).unwrap()
    }

    fn drop_link(&mut self, ino: u64, held: &[u64]) {
        let node = self.node(ino);
        node.nlink -= 1;
        if node.nlink == 0 && !held.contains(&ino) {
            self.0.remove(&ino);
        }
    }

    fn remove_dir(&mut self, ino: u64) {
        self.0.remove(&ino);
    }

    fn below(&self, dir: u64, top: u64) -> bool {
        dir == top || (self.0[&top].names.values()).any(|n| self.is_dir(*n) && self.below(dir, *n))
    }

    /// A random file that has a name (or is held), of those that `wanted` wants.
    fn pick(&self, rng: &mut Rng, wanted: impl Fn(u64, &Node) -> bool) -> Option<u64> {
        let all: Vec<u64> = (self.0.iter())
            .filter(|(ino, n)| wanted(**ino, n))
            .map(|(ino, _)| *ino)
            .collect();
        (!all.is_empty()).then(|| all[rng.below(all.len() as u64) as usize])
    }
}

/// How large the files of a workload get.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Bytes of one write at most.
    pub write: u64,
    /// Bytes of a file at most.
    pub file: u64,
    /// Different names.
    pub names: u64,
}

/// What an operation did, as far as durability goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Did {
    Change,
    /// All was made durable.
    Commit,
    /// One file was made durable.
    Sync(u64),
}

/// A volume and its model.
pub struct Both {
    pub volume: Volume,
    pub model: Model,
    pub held: Vec<u64>,
    pub rng: Rng,
    pub shape: Shape,
}

impl Both {
    /// One random operation on both. They must agree, except that the volume may be full: then
    /// nothing has changed.
    pub fn step(&mut self) -> Did {
        let rng = &mut self.rng;
        let (v, m) = (&mut self.volume, &mut self.model);
        let dir = (m.pick(rng, |_, n| n.mode & mode::TYPE == mode::DIR)).unwrap_or(ROOT);
        let name = format!("n{}", rng.below(self.shape.names)).into_bytes();
        let there = m.0[&dir].names.get(&name).copied();
        match rng.below(32) {
            0..=5 => {
                let mode = match rng.below(8) {
                    0..=4 => FILE,
                    5..=6 => DIR,
                    _ => mode::FIFO | 0o600,
                };
                let new = New {
                    mode,
                    uid: rng.below(5) as u32,
                    ..New::default()
                };
                let made = v.create_file(dir, &name, &new);
                if full(&made) {
                    return Did::Change;
                }
                if there.is_some() {
                    assert_eq!(made, Err(Error::Exists));
                    return Did::Change;
                }
                let ino = made.unwrap();
                let is_dir = mode == DIR;
                let node = Node {
                    mode,
                    uid: new.uid,
                    nlink: 1 + u32::from(is_dir),
                    ..Node::default()
                };
                m.0.insert(ino, node);
                m.node(dir).names.insert(name, ino);
                m.node(dir).nlink += u32::from(is_dir);
            }
            6 => {
                let most = if rng.one_in(4) { 4095 } else { 60 };
                let len = 1 + rng.below(most);
                let target = rng.bytes(len as usize);
                let made = v.symlink(dir, &name, &target, &New::default());
                if full(&made) {
                    return Did::Change;
                }
                if there.is_some() {
                    assert_eq!(made, Err(Error::Exists));
                    return Did::Change;
                }
                let ino = made.unwrap();
                assert_eq!(v.read_link(ino).unwrap(), target);
                let node = Node {
                    mode: mode::LINK | 0o777,
                    nlink: 1,
                    data: target,
                    ..Node::default()
                };
                m.0.insert(ino, node);
                m.node(dir).names.insert(name, ino);
            }
            7 => {
                let Some(ino) = m.pick(rng, |_, _| true) else {
                    return Did::Change;
                };
                let done = v.link(dir, &name, ino);
                if full(&done) {
                    return Did::Change;
                }
                if m.is_dir(ino) {
                    assert_eq!(done, Err(Error::NotPermitted));
                } else if there.is_some() {
                    assert_eq!(done, Err(Error::Exists));
                } else {
                    done.unwrap();
                    m.node(ino).nlink += 1;
                    m.node(dir).names.insert(name, ino);
                }
            }
            8..=9 => {
                let done = v.unlink(dir, &name);
                match there {
                    None => assert_eq!(done, Err(Error::NotFound)),
                    Some(ino) if m.is_dir(ino) => assert_eq!(done, Err(Error::IsDir)),
                    Some(ino) => {
                        done.unwrap();
                        m.node(dir).names.remove(&name);
                        m.drop_link(ino, &self.held);
                    }
                }
            }
            10 => {
                let done = v.rmdir(dir, &name);
                match there {
                    None => assert_eq!(done, Err(Error::NotFound)),
                    Some(ino) if !m.is_dir(ino) => assert_eq!(done, Err(Error::NotDir)),
                    Some(ino) if !m.0[&ino].names.is_empty() => {
                        assert_eq!(done, Err(Error::NotEmpty));
                    }
                    Some(ino) => {
                        done.unwrap();
                        m.node(dir).names.remove(&name);
                        m.node(dir).nlink -= 1;
                        m.remove_dir(ino);
                    }
                }
            }
            11..=13 => {
                let to = (m.pick(rng, |_, n| n.mode & mode::TYPE == mode::DIR)).unwrap_or(ROOT);
                let new_name = format!("n{}", rng.below(self.shape.names)).into_bytes();
                let how = match rng.below(4) {
                    0 => Rename::NoReplace,
                    1 => Rename::Exchange,
                    _ => Rename::Replace,
                };
                let done = v.rename(dir, &name, to, &new_name, how);
                if full(&done) {
                    return Did::Change;
                }
                let expected = m.rename((dir, &name), (to, &new_name), how, &self.held);
                assert_eq!(done, expected, "rename {how:?}");
            }
            14..=22 => {
                let Some(ino) = m.pick(rng, |_, n| n.mode & mode::TYPE == mode::FILE) else {
                    return Did::Change;
                };
                let at = match rng.below(3) {
                    0 => m.0[&ino].data.len() as u64,
                    1 => rng.below(m.0[&ino].data.len() as u64 + 1),
                    _ => rng.below(self.shape.file),
                };
                let len = 1 + match rng.below(3) {
                    0 => rng.below(self.shape.write),
                    _ => rng.below(300),
                };
                let data = rng.contents(len as usize);
                let done = v.write(ino, at, &data);
                if full(&done) {
                    return Did::Change;
                }
                let n = done.unwrap();
                let contents = &mut m.node(ino).data;
                let end = at as usize + n;
                contents.resize(contents.len().max(end), 0);
                contents[at as usize..end].copy_from_slice(&data[..n]);
            }
            23 => {
                let Some(ino) = m.pick(rng, |_, n| n.mode & mode::TYPE == mode::FILE) else {
                    return Did::Change;
                };
                let size = match rng.below(4) {
                    0 => 0,
                    1 => rng.below(self.shape.file),
                    _ => rng.below(m.0[&ino].data.len() as u64 + 1),
                };
                let done = super::set_size(v, ino, size);
                if !full(&done) {
                    done.unwrap();
                    m.node(ino).data.resize(size as usize, 0);
                }
            }
            24 => {
                let Some(ino) = m.pick(rng, |_, n| n.mode & mode::TYPE == mode::FILE) else {
                    return Did::Change;
                };
                let (at, len) = (rng.below(self.shape.file), rng.below(self.shape.write * 2));
                let done = v.punch(ino, at, len);
                if !full(&done) {
                    done.unwrap();
                    let data = &mut m.node(ino).data;
                    let end = data.len().min((at + len) as usize);
                    data.get_mut(at as usize..end).unwrap_or_default().fill(0);
                }
            }
            25 => {
                let Some(ino) = m.pick(rng, |_, _| true) else {
                    return Did::Change;
                };
                let bits = rng.below(0o7777) as u32;
                let attr = SetAttr {
                    mode: Some(bits),
                    uid: Some(rng.below(9) as u32),
                    ..SetAttr::default()
                };
                v.set_attr(ino, &attr).unwrap();
                let kind = m.kind(ino);
                m.node(ino).mode = kind | bits;
                m.node(ino).uid = attr.uid.unwrap();
            }
            26 => {
                let Some(ino) = m.pick(rng, |_, _| true) else {
                    return Did::Change;
                };
                let name = format!("user.{}", rng.below(3)).into_bytes();
                if rng.one_in(3) {
                    let done = v.remove_xattr(ino, &name);
                    match m.node(ino).xattrs.remove(&name) {
                        Some(_) => done.unwrap(),
                        None => assert_eq!(done, Err(Error::NoAttribute)),
                    }
                } else {
                    let most = if rng.one_in(6) { 6000 } else { 50 };
                    let len = rng.below(most);
                    let value = rng.bytes(len as usize);
                    let done = v.set_xattr(ino, &name, &value, SetXattr::Any);
                    if !full(&done) {
                        done.unwrap();
                        m.node(ino).xattrs.insert(name, value);
                    }
                }
            }
            27 => {
                // Holds a file, or lets one go.
                if self.held.len() < 3
                    && let Some(ino) = m.pick(rng, |_, n| n.mode & mode::TYPE == mode::FILE)
                {
                    v.hold(ino);
                    self.held.push(ino);
                } else if let Some(ino) = self.held.pop() {
                    v.release(ino).unwrap();
                    if m.0[&ino].nlink == 0 && !self.held.contains(&ino) {
                        m.0.remove(&ino);
                    }
                }
            }
            28..=30 => {
                let Some(ino) = m.pick(rng, |_, n| n.mode & mode::TYPE == mode::FILE) else {
                    return Did::Change;
                };
                v.fsync(ino).unwrap();
                return Did::Sync(ino);
            }
            _ => {
                v.commit().unwrap();
                return Did::Commit;
            }
        }
        Did::Change
    }
}

/// The volume had no room: this is allowed at any time, and then nothing has changed.
fn full<T: std::fmt::Debug>(r: &Result<T>) -> bool {
    matches!(r, Err(Error::NoSpace))
}

impl Model {
    fn rename(
        &mut self,
        (dir, name): (u64, &[u8]),
        (to, new_name): (u64, &[u8]),
        how: Rename,
        held: &[u64],
    ) -> Result<()> {
        let moved = *self.0[&dir].names.get(name).ok_or(Error::NotFound)?;
        let target = self.0[&to].names.get(new_name).copied();
        let is_dir = self.is_dir(moved);
        if is_dir && self.below(to, moved) {
            return Err(Error::Invalid);
        }
        if how == Rename::Exchange {
            let target = target.ok_or(Error::NotFound)?;
            if self.is_dir(target) && self.below(dir, target) {
                return Err(Error::Invalid);
            }
            let change = i64::from(self.is_dir(target)) - i64::from(is_dir);
            self.node(dir).names.insert(name.into(), target);
            self.node(to).names.insert(new_name.into(), moved);
            self.node(dir).nlink = (i64::from(self.0[&dir].nlink) + change) as u32;
            self.node(to).nlink = (i64::from(self.0[&to].nlink) - change) as u32;
            return Ok(());
        }
        if let Some(target) = target {
            if how == Rename::NoReplace {
                return Err(Error::Exists);
            }
            if target == moved {
                return Ok(());
            }
            match (is_dir, self.is_dir(target)) {
                (true, false) => return Err(Error::NotDir),
                (false, true) => return Err(Error::IsDir),
                (true, true) if !self.0[&target].names.is_empty() => return Err(Error::NotEmpty),
                _ => {}
            }
            if is_dir {
                self.node(to).nlink -= 1;
                self.remove_dir(target);
            } else {
                self.drop_link(target, held);
            }
        }
        self.node(dir).names.remove(name);
        self.node(to).names.insert(new_name.into(), moved);
        self.node(dir).nlink -= u32::from(is_dir);
        self.node(to).nlink += u32::from(is_dir);
        Ok(())
    }
}
