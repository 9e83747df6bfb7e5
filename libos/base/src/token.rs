//! Kernel objects as plain numbers, for the platform to keep and hand back.

use alloc::sync::Arc;

/// Turns a reference into a number. The count it holds is given up by [`release`].
pub fn share<T>(object: Arc<T>) -> usize {
    Arc::into_raw(object) as usize
}

/// Uses the object behind a token.
///
/// The token must come from [`share`] with the same `T` and not have been [`release`]d. The
/// platform keeps that promise: it hands back, on a thread, what that thread was started with.
pub fn with<T, R>(token: usize, f: impl FnOnce(&Arc<T>) -> R) -> R {
    // SAFETY: by the contract above the token is a live `Arc<T>`'s raw pointer; ManuallyDrop
    // leaves its count as it was.
    let arc = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(token as *const T) });
    f(&arc)
}

/// Takes the reference back out of a token.
pub fn release<T>(token: usize) -> Arc<T> {
    // SAFETY: by the contract of `with`, and the token is not used afterwards.
    unsafe { Arc::from_raw(token as *const T) }
}

/// A number turned into a reference that lives for ever, for objects that are never freed.
pub fn leak<T>(object: alloc::boxed::Box<T>) -> &'static T {
    alloc::boxed::Box::leak(object)
}

/// A reference that outlives the borrow checker's view of `object`.
///
/// The caller keeps a count of `object` until the platform no longer uses the reference; threads
/// do so by holding their task until they exit.
pub fn extend<T>(object: &Arc<T>) -> &'static T {
    // SAFETY: by the contract above a count is held for as long as the reference is used.
    unsafe { &*Arc::as_ptr(object) }
}
