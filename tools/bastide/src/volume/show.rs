//! `bastide volume info`, `ls` and `cat`.

use super::cli::Access;
use super::host::to_hex;
use super::{copy, device, opened, path, wrong};
use crate::Failure;
use bastide_volume::{BLOCK, Error, Header, Inode, Kdf, Volume, mode};
use std::io::Write;
use std::path::Path;

/// What a volume is.
pub fn info(access: &Access) -> Result<(), Failure> {
    let (device, root_hash) = device(access, true)?;
    let copies = Header::copies(&*device).map_err(|e| wrong(access.volume.display(), e))?;
    let header = copies.first().copied();
    let header = header.ok_or_else(|| wrong(access.volume.display(), Error::NotAVolume))?;
    let public = header.kdf == Kdf::Public;
    let volume = match public || access.key.key().is_some() {
        true => Some(opened(access, device, true)?),
        false => None,
    };
    if let Some(hash) = root_hash {
        println!("image       root hash {}", to_hex(&hash));
        match access.root_hash {
            Some(_) => println!("            as given"),
            None => {
                println!("            (computed; whether it is the right one, --root-hash tells)")
            }
        }
    }
    println!("volume      {}", to_hex(&header.id));
    println!("format      1, AES-256-GCM, blocks of {BLOCK} bytes");
    match header.kdf {
        Kdf::Key => println!("key         32 bytes, kept somewhere"),
        Kdf::Argon2id {
            memory,
            passes,
            lanes,
        } => println!(
            "key         a passphrase's, Argon2id: {} MiB, {passes} passes, {lanes} lanes",
            memory / 1024
        ),
        Kdf::Public => println!("key         none: anybody can read it"),
    }
    println!(
        "contents    {}",
        match header.packs {
            true => "compressed with LZ4 where that saves blocks",
            false => "as they are, not compressed",
        }
    );
    let Some(mut volume) = volume else {
        println!("            (give the key to see more)");
        return Ok(());
    };
    let usage = volume.usage();
    let bytes = |blocks: u64| blocks * BLOCK as u64;
    match volume.is_image() {
        true => println!("size        {} bytes", bytes(usage.blocks)),
        false => println!(
            "size        {} bytes, {} of them free",
            bytes(usage.blocks),
            bytes(usage.free)
        ),
    }
    println!("files       {}", usage.inodes);
    if volume.packs() {
        let found = volume.packing();
        let found = found.map_err(|e| wrong(access.volume.display(), e))?;
        println!(
            "compressed  {} bytes of contents in {}: {:.2} to 1",
            bytes(found.contents),
            bytes(found.stored),
            found.contents.max(1) as f64 / found.stored.max(1) as f64
        );
    }
    println!("generation  {} of {}", usage.generation, time(usage.time));
    println!("root        {}", to_hex(&volume.root_tag()));
    Ok(())
}

/// Lists a directory, by name.
pub fn ls(volume: &mut Volume, path: &Path, long: bool) -> Result<(), Failure> {
    let failed = |e| wrong(path.display(), e);
    let ino = path::find(volume, path)?;
    let mut names = Vec::new();
    if volume.inode(ino).map_err(failed)?.is_dir() {
        volume
            .read_dir(ino, 0, &mut |e, _| {
                names.push((e.name.clone(), e.ino));
                true
            })
            .map_err(failed)?;
        names.sort();
    } else {
        names.push((path.as_os_str().as_encoded_bytes().to_vec(), ino));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (name, ino) in names {
        let mut line = Vec::new();
        if long {
            let inode = volume.stat(ino).map_err(failed)?;
            line.extend_from_slice(describe(&inode).as_bytes());
            line.push(b' ');
            line.extend_from_slice(&name);
            if inode.kind() == mode::LINK {
                line.extend_from_slice(b" -> ");
                line.extend_from_slice(&volume.read_link(ino).map_err(failed)?);
            }
        } else {
            line = name;
        }
        line.push(b'\n');
        if out.write_all(&line).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// As `ls -ln` shows it.
fn describe(inode: &Inode) -> String {
    let kind = match inode.kind() {
        mode::DIR => 'd',
        mode::LINK => 'l',
        mode::CHAR => 'c',
        mode::BLOCK => 'b',
        mode::FIFO => 'p',
        mode::SOCKET => 's',
        _ => '-',
    };
    let mut bits: Vec<char> = (0..9)
        .map(|i| match inode.mode >> (8 - i) & 1 {
            1 => ['r', 'w', 'x'][i % 3],
            _ => '-',
        })
        .collect();
    for (bit, at, set, unset) in [
        (0o4000, 2, 's', 'S'),
        (0o2000, 5, 's', 'S'),
        (0o1000, 8, 't', 'T'),
    ] {
        if inode.mode & bit != 0
            && let Some(c) = bits.get_mut(at)
        {
            *c = if *c == 'x' { set } else { unset };
        }
    }
    let bits: String = bits.into_iter().collect();
    format!(
        "{kind}{bits} {:>3} {:>5} {:>5} {:>10} {}",
        inode.nlink,
        inode.uid,
        inode.gid,
        inode.size,
        time(inode.mtime)
    )
}

/// Nanoseconds since 1970 as a date, UTC.
fn time(ns: i64) -> String {
    let seconds = ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of year 0: leap days are then the last of a year.
    let z = days + 719_468;
    let (era, day) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{date:02} {:02}:{:02}:{:02}",
        era * 400 + year + carry,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Writes a file to standard output.
pub fn cat(volume: &mut Volume, path: &Path) -> Result<(), Failure> {
    let ino = path::find(volume, path)?;
    let out = std::io::stdout().lock();
    match copy::copy_out(volume, ino, out, |_| {}) {
        Err(copy::CopyError::Host(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| e.of(path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_400_000_000_000), "2000-02-29 00:00:00");
        assert_eq!(time(1_764_080_400_999_999_999), "2025-11-25 14:20:00");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
    }
}
