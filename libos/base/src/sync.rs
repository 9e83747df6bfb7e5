//! Sleeping locks. All processes of the enclave share them, so a waiter sleeps through the
//! platform on the lock's own word.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;
const SPINS: u32 = 100;

fn sleep(word: &AtomicU32, value: u32) {
    match crate::platform() {
        Some(pal) => pal.word_wait(word, value),
        None => core::hint::spin_loop(),
    }
}

fn wake(word: &AtomicU32, count: u32) {
    if let Some(pal) = crate::platform() {
        pal.word_wake(word, count);
    }
}

/// A mutual-exclusion lock without poisoning.
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time access to the value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above; `&Mutex` only hands out the value under the lock.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// An unlocked lock around `value`.
    pub const fn new(value: T) -> Self {
        Mutex {
            word: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self
            .word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_slow();
        }
        MutexGuard { lock: self }
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if self.word.load(Ordering::Relaxed) == FREE
                && self
                    .word
                    .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        while self.word.swap(CONTENDED, Ordering::Acquire) != FREE {
            sleep(&self.word, CONTENDED);
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(MutexGuard { lock: self })
    }

    /// The value, without locking: exclusive access proves that nobody holds the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized + core::fmt::Debug> core::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.try_lock() {
            Some(g) => g.fmt(f),
            None => f.write_str("<locked>"),
        }
    }
}

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.word.swap(FREE, Ordering::Release) == CONTENDED {
            wake(&self.lock.word, 1);
        }
    }
}

/// Many readers or one writer. Readers that come while a writer waits may still enter.
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    /// Bit 31: a writer; bit 30: somebody sleeps; the rest counts readers.
    word: AtomicU32,
    value: UnsafeCell<T>,
}

const WRITER: u32 = 1 << 31;
const SLEEPER: u32 = 1 << 30;

// SAFETY: the lock gives either shared access or one exclusive access.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers share `&T` across threads, hence `T: Sync`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    /// An unlocked lock around `value`.
    pub const fn new(value: T) -> Self {
        RwLock {
            word: AtomicU32::new(0),
            value: UnsafeCell::new(value),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer holds the lock.
    pub fn read(&self) -> ReadGuard<'_, T> {
        loop {
            let w = self.word.load(Ordering::Relaxed);
            if w & WRITER == 0 {
                if self
                    .word
                    .compare_exchange(w, w + 1, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return ReadGuard { lock: self };
                }
            } else {
                self.wait(w);
            }
        }
    }

    /// Waits until nobody holds the lock.
    pub fn write(&self) -> WriteGuard<'_, T> {
        loop {
            let w = self.word.load(Ordering::Relaxed);
            if w & !SLEEPER == 0 {
                if self
                    .word
                    .compare_exchange(w, w | WRITER, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return WriteGuard { lock: self };
                }
            } else {
                self.wait(w);
            }
        }
    }

    #[cold]
    fn wait(&self, seen: u32) {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if self.word.load(Ordering::Relaxed) & !SLEEPER != seen & !SLEEPER {
                return;
            }
        }
        let marked = seen | SLEEPER;
        if seen == marked
            || self
                .word
                .compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            sleep(&self.word, marked);
        }
    }
}

/// Shares a [`RwLock`].
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// Owns a [`RwLock`].
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard counts as a reader, so there is no writer.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        let before = self.lock.word.fetch_sub(1, Ordering::Release);
        if before == SLEEPER | 1
            && self
                .lock
                .word
                .compare_exchange(SLEEPER, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            wake(&self.lock.word, u32::MAX >> 1);
        }
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the writer.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the writer and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        if self.lock.word.swap(0, Ordering::Release) & SLEEPER != 0 {
            wake(&self.lock.word, u32::MAX >> 1);
        }
    }
}

/// A value that is set once.
pub struct Once<T> {
    state: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written once, before the state says so.
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: moving the cell moves the value.
unsafe impl<T: Send> Send for Once<T> {}

impl<T> Once<T> {
    /// Empty.
    pub const fn new() -> Self {
        Once {
            state: AtomicU32::new(0),
            value: UnsafeCell::new(None),
        }
    }

    /// The value, if set.
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != 2 {
            return None;
        }
        // SAFETY: state 2 says that the value is written and will not change.
        unsafe { (*self.value.get()).as_ref() }
    }

    /// The value, made by `make` if it was not set.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        // Readers of a value that is set must not write to its word.
        if let Some(v) = self.get() {
            return v;
        }
        if self
            .state
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Acquire)
            .is_ok()
        {
            let v = make();
            // SAFETY: state 1 belongs to this thread alone.
            unsafe { *self.value.get() = Some(v) };
            self.state.store(2, Ordering::Release);
            wake(&self.state, u32::MAX >> 1);
        }
        loop {
            if let Some(v) = self.get() {
                return v;
            }
            sleep(&self.state, 1);
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}
