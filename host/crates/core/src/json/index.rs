//! Owns the walk that every JSON text from outside takes once, and the
//! [`Index`] it leaves behind: where each key and value stands, so that
//! whoever needs a field borrows it and nobody reads the text again.

use super::{
    Reason, SyntaxError,
    keys::{Keys, ObjectKeys},
    lexer::{Fault, Lexer, Notation, Spelling},
};

/// The values and keys of a JSON text in its order. The text has to be passed
/// along: the index has offsets alone.
#[derive(Debug)]
pub(crate) struct Index(Vec<Entry>);

/// A key or a value, 8 bytes: 1 MiB of text has at most 4 MiB of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Byte offset of its first character, which tells what it is.
    pub(super) start: u32,
    /// Of an array or object: which entry comes after all inside of it. Of all
    /// others: the byte offset of the end, with [`ESCAPED`].
    link: u32,
}

/// Marks a string with escapes.
const ESCAPED: u32 = 1 << 31;

impl Entry {
    /// Of an object without keys that is the whole text.
    pub(super) const EMPTY: Self = Self { start: 0, link: 1 };

    #[inline]
    pub(super) fn end(self) -> usize {
        (self.link & !ESCAPED) as usize
    }

    #[inline]
    pub(super) fn spelling(self) -> Spelling {
        match self.link & ESCAPED {
            0 => Spelling::Plain,
            _ => Spelling::Escaped,
        }
    }

    /// The entry after all inside of this array or object.
    #[inline]
    pub(super) fn after(self) -> usize {
        self.link as usize
    }
}

impl Index {
    /// Checks that `text` is one JSON value that every reader takes, and takes
    /// in the same way, and indexes it.
    pub(crate) fn of(text: &str) -> Result<Self, SyntaxError> {
        // Enough for texts of everyday size; those of larger ones grow.
        let mut entries = Vec::with_capacity((text.len() / 12 + 4).min(1 << 12));
        walk(text, &mut entries)?;
        Ok(Self(entries))
    }

    /// The values in their order, the whole text first.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }
}

/// Checks `text` as [`Index::of`] does, for those who need no more.
pub(super) fn check(text: &str) -> Result<(), SyntaxError> {
    walk(text, &mut ())
}

fn walk(text: &str, record: &mut impl Record) -> Result<(), SyntaxError> {
    if text.len() >= ESCAPED as usize {
        let reason = Reason::TooLong;
        return Err(SyntaxError { at: 0, reason });
    }
    let mut walk = Walk {
        lexer: Lexer::new(text),
        keys: Keys::new(text),
        record,
    };
    walk.value(0)
        .and_then(|()| walk.lexer.end())
        .map_err(|fault| *fault)
}

/// What becomes of the keys and values that a walk meets.
trait Record {
    /// A key, or a value without parts.
    fn leaf(&mut self, start: usize, end: usize, spelling: Spelling);
    /// An array or object begins; returns what [`Record::close`] takes.
    fn open(&mut self, start: usize) -> usize;
    fn close(&mut self, opened: usize);
}

impl Record for () {
    fn leaf(&mut self, _: usize, _: usize, _: Spelling) {}

    fn open(&mut self, _: usize) -> usize {
        0
    }

    fn close(&mut self, _: usize) {}
}

impl Record for Vec<Entry> {
    #[inline]
    fn leaf(&mut self, start: usize, end: usize, spelling: Spelling) {
        let escaped = match spelling {
            Spelling::Plain => 0,
            Spelling::Escaped => ESCAPED,
        };
        self.push(Entry {
            start: start as u32,
            link: end as u32 | escaped,
        });
    }

    #[inline]
    fn open(&mut self, start: usize) -> usize {
        self.push(Entry {
            start: start as u32,
            link: 0,
        });
        self.len() - 1
    }

    #[inline]
    fn close(&mut self, opened: usize) {
        self[opened].link = self.len() as u32;
    }
}

struct Walk<'t, 'r, R> {
    lexer: Lexer<'t>,
    keys: Keys<'t>,
    record: &'r mut R,
}

impl<R: Record> Walk<'_, '_, R> {
    // One value without parts is most of what there is: inline where it is met.
    #[inline]
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        let first = self.lexer.peek();
        let start = self.lexer.offset();
        let mut spelling = Spelling::Plain;
        match first {
            b'"' => spelling = self.lexer.skip_string()?,
            b'{' => return self.object(start, depth),
            b'[' => return self.array(start, depth),
            b'-' | b'0'..=b'9' => {
                let notation = self.lexer.skip_number()?;
                let length = self.lexer.offset() - start;
                if notation == Notation::Scientific || length > SAFE_DIGITS {
                    self.check_range(start)?;
                }
            }
            b'n' => self.lexer.literal("null")?,
            b't' => self.lexer.literal("true")?,
            b'f' => self.lexer.literal("false")?,
            _ => return self.lexer.unexpected("a JSON value"),
        }
        self.record.leaf(start, self.lexer.offset(), spelling);
        Ok(())
    }

    #[inline(never)]
    fn array(&mut self, start: usize, depth: usize) -> Result<(), Fault> {
        self.lexer.check_depth(depth)?;
        let opened = self.record.open(start);
        self.lexer.advance();
        if self.lexer.peek() == b']' {
            self.lexer.advance();
        } else {
            loop {
                self.value(depth + 1)?;
                if !self.lexer.more(b']')? {
                    break;
                }
            }
        }
        self.record.close(opened);
        Ok(())
    }

    #[inline(never)]
    fn object(&mut self, start: usize, depth: usize) -> Result<(), Fault> {
        self.lexer.check_depth(depth)?;
        let opened = self.record.open(start);
        self.lexer.advance();
        if self.lexer.peek() == b'}' {
            self.lexer.advance();
        } else {
            let object = self.keys.open();
            loop {
                self.key(object)?;
                self.lexer.colon()?;
                self.value(depth + 1)?;
                if !self.lexer.more(b'}')? {
                    break;
                }
            }
            self.keys.close(object);
        }
        self.record.close(opened);
        Ok(())
    }

    #[inline]
    fn key(&mut self, object: ObjectKeys) -> Result<(), Fault> {
        if self.lexer.peek() != b'"' {
            return self.lexer.unexpected("a key in quotes");
        }
        let start = self.lexer.offset();
        let spelling = self.lexer.skip_string()?;
        let end = self.lexer.offset();
        self.record.leaf(start, end, spelling);
        self.keys.insert(object, start..end, spelling)
    }

    /// Refuses a number beyond the largest double.
    #[cold]
    fn check_range(&self, start: usize) -> Result<(), Fault> {
        match self.lexer.since(start).parse::<f64>() {
            Ok(double) if double.is_finite() => Ok(()),
            _ => {
                let reason = Reason::NumberOutOfRange;
                Err(Box::new(SyntaxError { at: start, reason }))
            }
        }
    }
}

/// The largest double has 309 digits before its point.
const SAFE_DIGITS: usize = 308;
