//! Address spaces on the mock platform.

use super::*;
use crate::testing::{boot, mapped};
use alloc::vec;

const RW: Prot = Prot::READ.union(Prot::WRITE);
const P: usize = PAGE;
const PL: u64 = PAGE as u64;

fn mm() -> Arc<Mm> {
    boot();
    Mm::new()
}

fn request(addr: usize, pages: usize, backing: Backing) -> MapRequest {
    MapRequest {
        addr,
        len: pages * P,
        prot: RW,
        shared: false,
        fixed: addr != 0,
        noreplace: false,
        growsdown: false,
        backing,
    }
}

fn shared(object: &Arc<PageObject>, addr: usize, pages: usize, from: usize) -> MapRequest {
    let backing = Backing::Object {
        object: object.clone(),
        offset: from as u64 * PL,
        name: "",
    };
    MapRequest {
        shared: true,
        ..request(addr, pages, backing)
    }
}

fn read_fault(mm: &Mm, addr: usize) -> FaultOutcome {
    mm.fault_with(|| Limits::NONE, addr, false, false)
}

/// What a page should be.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    None,
    Anon,
    /// Page of the object.
    Object(usize),
}

/// Random operations in a window, against a page-by-page model: the map and what the platform
/// has must agree with it.
#[test]
fn agrees_with_a_flat_model() {
    const BASE: usize = 0x5000_0000;
    const N: usize = 64;
    let mm = mm();
    let object = PageObject::new();
    object.set_size(48 * PL).unwrap();
    object.allocate(0, 16 * PL).unwrap();
    let mut model = [(Kind::None, Prot::empty()); N];
    let mut x = 99u64;
    let mut next = |n: usize| {
        x = x
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (x >> 33) as usize % n
    };
    for step in 0..4000 {
        let at = next(N);
        let len = (next(12) + 1).min(N - at);
        let addr = BASE + at * P;
        let prot = [Prot::empty(), Prot::READ, RW][next(3)];
        match next(6) {
            0 => {
                let r = MapRequest {
                    prot,
                    ..request(addr, len, Backing::Anon)
                };
                assert_eq!(mm.map(&r), Ok(addr));
                model[at..at + len].fill((Kind::Anon, prot));
            }
            1 => {
                let from = next(40);
                let r = MapRequest {
                    prot,
                    ..shared(&object, addr, len, from)
                };
                assert_eq!(mm.map(&r), Ok(addr));
                for i in 0..len {
                    model[at + i] = (Kind::Object(from + i), prot);
                }
            }
            2 => {
                mm.unmap(addr, len * P).unwrap();
                model[at..at + len].fill((Kind::None, Prot::empty()));
            }
            3 => {
                let whole = model[at..at + len].iter().all(|m| m.0 != Kind::None);
                let done = mm.protect(&Limits::NONE, addr, addr + len * P, prot, false);
                assert_eq!(done.is_ok(), whole, "step {step}");
                for m in model[at..at + len]
                    .iter_mut()
                    .take_while(|m| m.0 != Kind::None)
                {
                    m.1 = prot;
                }
            }
            4 => {
                let to = next(N - len + 1);
                let dest = BASE + to * P;
                let same = mm.find_map(addr).is_some_and(|m| m.end >= addr + len * P);
                let apart = to + len <= at || at + len <= to;
                let flags = move_::MAYMOVE | move_::FIXED;
                let done = mm.remap(&Limits::NONE, addr, len * P, len * P, flags, dest);
                assert_eq!(done.is_ok(), same && apart, "step {step} {done:?}");
                if done.is_ok() {
                    let piece = model[at..at + len].to_vec();
                    model[at..at + len].fill((Kind::None, Prot::empty()));
                    model[to..to + len].copy_from_slice(&piece);
                } else if apart && model[at].0 != Kind::None {
                    // The target is gone even so, as on Linux.
                    model[to..to + len].fill((Kind::None, Prot::empty()));
                }
            }
            _ => {
                let expected = match model[at] {
                    (Kind::None, _) => FaultOutcome::Segv(1),
                    (_, p) if p.is_empty() => FaultOutcome::Segv(2),
                    (Kind::Object(n), _) if n >= 48 => FaultOutcome::Bus,
                    _ => FaultOutcome::Repaired,
                };
                assert_eq!(read_fault(&mm, addr + 5), expected, "step {step}");
            }
        }
        let maps = mm.describe_maps();
        assert!(maps.windows(2).all(|w| w[0].end <= w[1].start));
        for (i, (kind, prot)) in model.iter().enumerate() {
            let page = BASE + i * P;
            let info = maps.iter().find(|m| m.start <= page && page < m.end);
            let host = mapped(page);
            match kind {
                Kind::None => {
                    assert!(info.is_none() && host.is_none(), "step {step} page {i}");
                }
                Kind::Anon => {
                    assert_eq!(info.map(|m| m.prot), Some(*prot), "step {step} page {i}");
                    assert_eq!(host, Some((*prot, MapSource::Anon)), "step {step} page {i}");
                }
                Kind::Object(n) => {
                    let info = info.unwrap();
                    let offset = info.offset + (page - info.start) as u64;
                    assert_eq!((info.prot, offset), (*prot, *n as u64 * PL));
                    if let Some(host) = host {
                        let r = object.extent(offset, PL).unwrap();
                        let source = MapSource::Kernel {
                            addr: r.pages.addr() + r.offset,
                            shared: true,
                        };
                        assert_eq!(host, (*prot, source), "step {step} page {i}");
                    }
                }
            }
        }
        let pages = model.iter().filter(|m| m.0 != Kind::None).count() as u64;
        let s = mm.sizes(false);
        assert_eq!(s.total, pages * PL);
    }
}

#[test]
fn beyond_the_end_is_a_bus_error_and_truncation_takes_pages_away() {
    let mm = mm();
    let o = PageObject::new();
    o.set_size(3 * PL).unwrap();
    let at = mm.map(&shared(&o, 0, 8, 0)).unwrap();
    assert_eq!(mapped(at), None);
    assert_eq!(read_fault(&mm, at + 2 * P), FaultOutcome::Repaired);
    assert!(mapped(at + 2 * P).is_some());
    assert_eq!(read_fault(&mm, at + 3 * P), FaultOutcome::Bus);
    o.set_size(PL).unwrap();
    mm.settle();
    assert_eq!(mapped(at + 2 * P), None);
    assert_eq!(read_fault(&mm, at + 2 * P), FaultOutcome::Bus);
    o.set_size(8 * PL).unwrap();
    assert_eq!(read_fault(&mm, at + 7 * P), FaultOutcome::Repaired);
}

#[test]
fn sealed_objects_are_mapped_for_reading_only() {
    let mm = mm();
    let o = PageObject::with_seals(0);
    o.set_size(PL).unwrap();
    let at = mm.map(&shared(&o, 0, 1, 0)).unwrap();
    let write = crate::abi::raw::general::F_SEAL_WRITE;
    assert_eq!(o.add_seals(write), Err(Errno::EBUSY));
    mm.unmap(at, P).unwrap();
    o.add_seals(write).unwrap();
    assert_eq!(mm.map(&shared(&o, 0, 1, 0)), Err(Errno::EPERM));
    let read = MapRequest {
        prot: Prot::READ,
        ..shared(&o, 0, 1, 0)
    };
    let at = mm.map(&read).unwrap();
    assert_eq!(
        mm.protect(&Limits::NONE, at, at + P, RW, false),
        Err(Errno::EACCES)
    );
}

#[test]
fn stacks_grow_to_their_limit_and_keep_their_distance() {
    let mm = mm();
    let top = mm.map_stack(1 << 20, RW).unwrap();
    let limits = Limits {
        stack: 1 << 20,
        ..Limits::NONE
    };
    let fault = |addr| mm.fault_with(|| limits, addr, true, false);
    assert_eq!(fault(top - (200 << 10)), FaultOutcome::Repaired);
    assert!(mapped((top - (200 << 10)) & !(P - 1)).is_some());
    assert_eq!(fault(top - (1 << 20)), FaultOutcome::Repaired);
    assert_eq!(fault(top - (1 << 20) - 1), FaultOutcome::Segv(1));

    let mm = self::mm();
    let base = 0x7000_0000;
    mm.map(&MapRequest {
        growsdown: true,
        ..request(base, 1, Backing::Anon)
    })
    .unwrap();
    mm.map(&request(base - 300 * P, 1, Backing::Anon)).unwrap();
    let fault = |addr| mm.fault_with(|| Limits::NONE, addr, true, false);
    // 256 pages stay free above the neighbour at 300 pages below.
    assert_eq!(fault(base - 43 * P), FaultOutcome::Repaired);
    assert_eq!(fault(base - 44 * P), FaultOutcome::Segv(1));
}

#[test]
fn limits_bind() {
    let mm = mm();
    let r = request(0, 4, Backing::Anon);
    let tight = Limits {
        space: 3 * PL,
        ..Limits::NONE
    };
    let none = MapExtra::default();
    assert_eq!(mm.map_with(&tight, &r, none), Err(Errno::ENOMEM));
    let tight = Limits {
        data: 3 * PL,
        ..Limits::NONE
    };
    assert_eq!(mm.map_with(&tight, &r, none), Err(Errno::ENOMEM));
    let read = MapRequest {
        prot: Prot::READ,
        ..request(0, 4, Backing::Anon)
    };
    let at = mm.map_with(&tight, &read, none).unwrap();
    assert_eq!(
        mm.protect(&tight, at, at + 4 * P, RW, false),
        Err(Errno::ENOMEM)
    );
    let tight = Limits {
        locked: 3 * PL,
        ..Limits::NONE
    };
    let locked = MapExtra {
        locked: true,
        ..none
    };
    assert_eq!(mm.map_with(&tight, &r, locked), Err(Errno::EAGAIN));
    assert_eq!(
        mm.lock_range(&tight, at, at + 4 * P, VmFlags::LOCKED),
        Err(Errno::ENOMEM)
    );
}

#[test]
fn places_are_checked_as_linux_does() {
    let mm = mm();
    let at = |addr| request(addr, 1, Backing::Anon);
    assert_eq!(mm.map(&at(0x5000_0001)), Err(Errno::EINVAL));
    assert_eq!(mm.map(&at(0x1000)), Err(Errno::EPERM));
    assert_eq!(mm.map(&at(USER_END)), Err(Errno::ENOMEM));
    let fresh = MapRequest {
        noreplace: true,
        ..at(0x5000_0000)
    };
    assert_eq!(mm.map(&fresh), Ok(0x5000_0000));
    assert_eq!(mm.map(&fresh), Err(Errno::EEXIST));
    let hint = MapRequest {
        fixed: false,
        ..at(0x5000_1000)
    };
    assert_eq!(mm.map(&hint), Ok(0x5000_1000));
    assert_ne!(mm.map(&hint), Ok(0x5000_1000));
    assert_eq!(mm.unmap(0x5000_0001, P), Err(Errno::EINVAL));
    assert_eq!(mm.unmap(0x5000_0000, 0), Err(Errno::EINVAL));
    assert_eq!(mm.unmap(0x5000_0000, USER_END), Err(Errno::EINVAL));
}

#[test]
fn stubs_stay_in_a_hole_that_is_unmapped() {
    let mm = mm();
    let at = 0x5000_0000;
    mm.map(&request(at, 3, Backing::Anon)).unwrap();
    let stubs = Backing::Object {
        object: PageObject::sized(P as u64),
        offset: 0,
        name: patch::STUBS,
    };
    mm.map(&request(at + P, 1, stubs)).unwrap();
    mm.unmap(at, 3 * P).unwrap();
    assert!(mm.covers(at + P, at + 2 * P));
    assert!(!mm.covers(at, at + P) && !mm.covers(at + 2 * P, at + 3 * P));
    mm.unmap(at + P, P).unwrap();
    assert!(mm.covers(at + P, at + 2 * P));
}

#[test]
fn brk_and_mremap_grow_in_place_where_they_can() {
    let mm = mm();
    let t = crate::testing::task();
    mm.set_brk_start(0x10_0000);
    let (start, _) = mm.brk(&t, 0);
    assert_eq!(mm.brk(&t, start + 3 * P).0, start + 3 * P);
    assert!(mapped(start + 2 * P).is_some());
    assert_eq!(mm.brk(&t, start + P).0, start + P);
    assert!(mapped(start + 2 * P).is_none());
    mm.map(&request(start + 8 * P, 1, Backing::Anon)).unwrap();
    assert_eq!(mm.brk(&t, start + 9 * P).0, start + P);

    let a = 0x6000_0000;
    mm.map(&request(a, 2, Backing::Anon)).unwrap();
    let grow = |old, new, flags| mm.remap(&Limits::NONE, a, old * P, new * P, flags, 0);
    assert_eq!(grow(2, 4, 0), Ok(a));
    mm.map(&request(a + 4 * P, 1, Backing::Anon)).unwrap();
    mm.protect(&Limits::NONE, a + 4 * P, a + 5 * P, Prot::READ, false)
        .unwrap();
    assert_eq!(grow(4, 6, 0), Err(Errno::ENOMEM));
    let moved = grow(4, 6, move_::MAYMOVE).unwrap();
    assert!(moved != a && mapped(moved + 5 * P).is_some() && mapped(a).is_none());
    assert_eq!(grow(1, 1, move_::FIXED), Err(Errno::EINVAL));
    assert_eq!(
        mm.remap(&Limits::NONE, moved, 0, P, move_::MAYMOVE, 0),
        Err(Errno::EINVAL)
    );
}

#[test]
fn shared_memory_can_be_mapped_twice_by_mremap() {
    let mm = mm();
    let r = MapRequest {
        shared: true,
        ..request(0, 2, Backing::Anon)
    };
    let a = mm.map(&r).unwrap();
    assert_eq!(read_fault(&mm, a), FaultOutcome::Repaired);
    let b = mm
        .remap(&Limits::NONE, a, 0, 2 * P, move_::MAYMOVE, 0)
        .unwrap();
    assert_ne!(a, b);
    assert_eq!(mapped(a).unwrap(), mapped(b).unwrap());
    let (ka, kb) = (mm.futex_key(a + 8, false), mm.futex_key(b + 8, false));
    assert_eq!(ka, kb);
    assert_ne!(ka, mm.futex_key(a + 8, true));
}

/// `madvise(2)` in a map.
fn advise(mm: &Arc<Mm>, addr: usize, len: usize, advice: u32) -> crate::SysResult {
    let t = crate::testing::task();
    let old = t.set_mm(mm.clone());
    let r = super::advise::sys_madvise(&t, addr, len, advice);
    t.set_mm(old);
    r
}

#[test]
fn the_platform_hears_of_large_pages() {
    use crate::abi::raw::general::{MADV_HUGEPAGE, MADV_NOHUGEPAGE};
    use crate::testing::large_pages;
    let mm = mm();
    let a = mm.map(&request(0x5000_0000, 4, Backing::Anon)).unwrap();
    let object = Backing::Object {
        object: PageObject::sized(4 * P as u64),
        offset: 0,
        name: "",
    };
    let shared = mm.map(&request(0x6000_0000, 4, object)).unwrap();
    large_pages();
    assert_eq!(advise(&mm, a, 2 * P, MADV_HUGEPAGE), Ok(0));
    assert_eq!(advise(&mm, a + P, P, MADV_NOHUGEPAGE), Ok(0));
    assert_eq!(advise(&mm, shared, P, MADV_HUGEPAGE), Ok(0));
    assert_eq!(large_pages(), [(a, 2 * P, true), (a + P, P, false)]);
}

#[test]
fn children_inherit_what_they_should() {
    let mm = mm();
    let a = mm.map(&request(0x5000_0000, 4, Backing::Anon)).unwrap();
    let advise = |from: usize, to: usize, what| advise(&mm, a + from * P, (to - from) * P, what);
    use crate::abi::raw::general::*;
    assert_eq!(advise(1, 2, MADV_DONTFORK), Ok(0));
    assert_eq!(advise(3, 5, MADV_RANDOM), Err(Errno::ENOMEM));
    assert_eq!(advise(0, 1, MADV_REMOVE), Err(Errno::EINVAL));
    assert_eq!(advise(0, 1, 77), Err(Errno::EINVAL));
    mm.lock_range(&Limits::NONE, a, a + P, VmFlags::LOCKED)
        .unwrap();
    let child = mm.fork().unwrap();
    child.after_fork_child();
    assert!(mapped(a).is_some() && mapped(a + P).is_none());
    assert!(child.find_map(a + P).is_none());
    let first = child.find_map(a).unwrap();
    assert!(!first.flags.contains(VmFlags::LOCKED));
    let spans: Vec<_> = child
        .describe_maps()
        .iter()
        .map(|m| m.end - m.start)
        .collect();
    assert_eq!(spans, vec![P, P, P]);
}

#[test]
fn shared_memory_lies_so_that_large_pages_can_be_mapped() {
    const N: usize = LARGE / P;
    let mm = mm();
    let object = PageObject::sized(4 * LARGE as u64);
    for from in [0, 3] {
        let at = mm.map(&shared(&object, 0, 2 * N, from)).unwrap();
        assert_eq!(at % LARGE, from * P);
    }
    let a = mm.map(&shared(&object, 0, N - 1, 0)).unwrap();
    let b = mm.map(&shared(&object, 0, 1, 0)).unwrap();
    assert_eq!(b, a - P);
}

#[test]
fn shared_memory_is_expected_where_all_before_it_is_used() {
    let mm = mm();
    let object = PageObject::sized(4 * LARGE as u64);
    let at = mm.map(&shared(&object, 0, 4 * LARGE / P, 0)).unwrap();
    let expected = |block: usize| {
        crate::testing::expected_kernel_pages();
        assert_eq!(read_fault(&mm, at + block * LARGE), FaultOutcome::Repaired);
        let run = object.extent((block * LARGE) as u64, LARGE as u64).unwrap();
        crate::testing::expected_kernel_pages().contains(&(run.pages.addr(), LARGE))
    };
    assert!(!expected(0));
    crate::testing::use_kernel_pages(100);
    assert!(!expected(1));
    crate::testing::use_kernel_pages(LARGE / P);
    assert!(expected(2));
    crate::testing::use_kernel_pages(0);
    assert!(!expected(3));
}
