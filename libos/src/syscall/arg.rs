//! Typed system call arguments.

use super::Handler;
use crate::user::UserAddr;
use crate::{SysResult, Task};
use alloc::sync::Arc;
use bastide_pal::Context;

/// A type that a register turns into, with C's widths: an `int` is the low half.
pub trait FromArg {
    fn from_arg(raw: u64) -> Self;
}

macro_rules! widths {
    ($($t:ty),*) => { $(impl FromArg for $t { fn from_arg(raw: u64) -> Self { raw as $t } })* };
}
widths!(i32, u32, i64, u64, usize, isize, u16, u8);

impl FromArg for UserAddr {
    fn from_arg(raw: u64) -> Self {
        UserAddr(raw as usize)
    }
}

/// A handler of typed arguments; `M` is the function's shape.
pub struct H<F, M>(pub F, pub core::marker::PhantomData<fn() -> M>);

/// Wraps a function `fn(&Arc<Task>, A, B, …) -> SysResult` for the table.
pub const fn h<F, M>(f: F) -> H<F, M> {
    H(f, core::marker::PhantomData)
}

/// Marks functions that also take the register frame: `fn(&Arc<Task>, &mut Context, A, …)`.
pub struct Frame;

macro_rules! shapes {
    ($(($($n:ident : $i:tt),*))*) => { $(
        impl<FN, $($n),*> Handler for H<FN, ($($n,)*)>
        where FN: Fn(&Arc<Task>, $($n),*) -> SysResult + Sync, $($n: FromArg),*
        {
            fn call(&self, t: &Arc<Task>, ctx: &mut Context) -> SysResult {
                let _args = ctx.args();
                (self.0)(t, $($n::from_arg(_args[$i])),*)
            }
        }
        impl<FN, $($n),*> Handler for H<FN, (Frame, $($n,)*)>
        where FN: Fn(&Arc<Task>, &mut Context, $($n),*) -> SysResult + Sync, $($n: FromArg),*
        {
            fn call(&self, t: &Arc<Task>, ctx: &mut Context) -> SysResult {
                let _args = ctx.args();
                (self.0)(t, ctx, $($n::from_arg(_args[$i])),*)
            }
        }
    )* };
}
shapes! {
    ()
    (A: 0)
    (A: 0, B: 1)
    (A: 0, B: 1, C: 2)
    (A: 0, B: 1, C: 2, D: 3)
    (A: 0, B: 1, C: 2, D: 3, E: 4)
    (A: 0, B: 1, C: 2, D: 3, E: 4, F: 5)
}
