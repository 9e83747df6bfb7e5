//! How much more than was asked for is read: nothing unless a file is read from the beginning on, or
//! from where the last read ended; then more and more.

use bastide_volume::BLOCK;

/// Bytes that come with the first miss of a sequence, and with one after many.
const FIRST: usize = 16 << 10;
const MOST: usize = 256 << 10;

/// What is known of those who read a file.
#[derive(Default)]
pub(super) struct Ahead {
    /// Where the last read ended.
    next: u64,
    /// Where the sequence began that it goes on with.
    start: u64,
    /// What came with the last miss.
    window: usize,
    sequential: bool,
}

impl Ahead {
    /// A read begins at an offset.
    pub(super) fn begin(&mut self, offset: u64) {
        self.sequential = offset == self.next;
        if !self.sequential {
            (self.start, self.window) = (offset, 0);
        }
    }

    /// Bytes that were read in order before this offset.
    pub(super) fn run(&self, offset: u64) -> u64 {
        offset.saturating_sub(self.start)
    }

    /// It ends.
    pub(super) fn end(&mut self, offset: u64) {
        self.next = offset;
    }

    /// What is at an offset is not in memory: bytes to read from there on, up to the end of a block.
    pub(super) fn miss(&mut self, offset: u64) -> usize {
        if !self.sequential {
            return 0;
        }
        self.window = (2 * self.window).clamp(FIRST, MOST);
        self.window - offset as usize % BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_and_more_comes_with_what_is_read_in_order_and_nothing_else() {
        let mut ahead = Ahead::default();
        let mut read = |from: u64, to: u64| {
            ahead.begin(from);
            let window = ahead.miss(from);
            ahead.end(to);
            window
        };
        assert_eq!(read(0, 100), FIRST);
        assert_eq!(read(100, 8192), 2 * FIRST - 100);
        assert_eq!(read(8192, 8193), 4 * FIRST);
        for at in 8193..8200 {
            read(at, at + 1);
        }
        assert_eq!(read(8200, 8201), MOST - 8);
        assert_eq!(read(4096, 8192), 0);
        assert_eq!(read(20480, 24576), 0);
        assert_eq!(read(24576, 24577), FIRST);
        ahead.begin(24577);
        assert_eq!(ahead.run(30000), 30000 - 20480);
    }
}
