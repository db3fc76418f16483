//! Typed headers over extension fields.
//!
//! Owns the [`Header`] trait, the `header!` macro (one row per field), and the errors a user sees
//! when a field is missing or malformed. RocketMQ's own broker only logs such errors and runs on with
//! nulls; here they become a refusal that names the field.
//! Never allocates: a decoded header borrows its texts, an encoded one goes straight to its sink.

use crate::ext::Ext;
use crate::text::Text;
use arrayvec::ArrayString;
use std::fmt;

/// One typed header: the extension fields of one request or response.
pub trait Header<'a>: Sized {
    /// Reads the fields. Unknown keys are ignored; of a repeated key the last one counts.
    ///
    /// # Errors
    /// The first field, in the order of the table, that is missing or malformed.
    fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError>;

    /// Writes the fields in the order of the table; absent optional ones are left out.
    fn encode<S: FieldSink>(&self, sink: &mut S);
}

/// Where encoded fields go. Keys are names of the protocol, so they need no escapes; a name that came from outside is not `'static`.
pub trait FieldSink {
    /// A string field.
    fn text(&mut self, key: &'static str, value: Text<'_>);
    /// An integer field, written in decimal.
    fn int(&mut self, key: &'static str, value: i64);
    /// A boolean field, written as `true` or `false`.
    fn boolean(&mut self, key: &'static str, value: bool);
}

/// How much of a malformed value an error repeats.
const EXCERPT_LEN: usize = 48;

/// A field that is missing or malformed, in words for the client's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderError {
    /// The field's name on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldProblem {
    /// A required field is absent.
    Missing,
    /// The value cannot be read as the field's type.
    Malformed {
        /// The front of the value as received.
        value: ArrayString<EXCERPT_LEN>,
        /// What it should have been, for example "a 32-bit integer".
        expected: &'static str,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            FieldProblem::Missing => write!(f, "{} is missing", self.field),
            FieldProblem::Malformed { value, expected } => {
                write!(f, "{}: '{value}' is not {expected}", self.field)
            }
        }
    }
}

impl std::error::Error for HeaderError {}

impl HeaderError {
    /// A required field that is absent.
    #[cold]
    pub fn missing(field: &'static str) -> Self {
        HeaderError { field, problem: FieldProblem::Missing }
    }

    /// A value that is not what the field holds.
    #[cold]
    pub fn malformed(field: &'static str, value: Text<'_>, expected: &'static str) -> Self {
        let mut excerpt = ArrayString::new();
        for character in value.to_cow().chars() {
            if excerpt.try_push(character).is_err() {
                break;
            }
        }
        HeaderError { field, problem: FieldProblem::Malformed { value: excerpt, expected } }
    }
}

/// A type that a header field can have.
pub trait Field<'a>: Sized {
    /// What a value should look like, for errors.
    const EXPECTED: &'static str;
    /// Reads a value.
    fn read(text: Text<'a>) -> Option<Self>;
    /// Writes a value.
    fn write<S: FieldSink>(&self, key: &'static str, sink: &mut S);
}

impl<'a> Field<'a> for Text<'a> {
    const EXPECTED: &'static str = "a string";

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text)
    }

    #[inline]
    fn write<S: FieldSink>(&self, key: &'static str, sink: &mut S) {
        sink.text(key, *self);
    }
}

impl<'a> Field<'a> for i32 {
    const EXPECTED: &'static str = "a 32-bit integer";

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse_i32()
    }

    #[inline]
    fn write<S: FieldSink>(&self, key: &'static str, sink: &mut S) {
        sink.int(key, i64::from(*self));
    }
}

impl<'a> Field<'a> for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse_i64()
    }

    #[inline]
    fn write<S: FieldSink>(&self, key: &'static str, sink: &mut S) {
        sink.int(key, *self);
    }
}

impl<'a> Field<'a> for bool {
    const EXPECTED: &'static str = "true or false";

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        text.parse_bool()
    }

    #[inline]
    fn write<S: FieldSink>(&self, key: &'static str, sink: &mut S) {
        sink.boolean(key, *self);
    }
}

/// An optional field. The empty string counts as absent for every type but text, because the binary
/// spelling cannot tell the two apart.
impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    #[inline(always)]
    fn read(text: Text<'a>) -> Option<Self> {
        match T::read(text) {
            None if text.is_empty() => Some(None),
            value => value.map(Some),
        }
    }

    #[inline]
    fn write<S: FieldSink>(&self, key: &'static str, sink: &mut S) {
        if let Some(value) = self {
            value.write(key, sink);
        }
    }
}

/// Reads one field that must be there.
#[inline(always)]
pub fn required<'a, T: Field<'a>>(field: &'static str, value: Option<Text<'a>>) -> Result<T, HeaderError> {
    let Some(text) = value else {
        return Err(HeaderError::missing(field));
    };
    T::read(text).ok_or_else(|| HeaderError::malformed(field, text, T::EXPECTED))
}

/// Reads one field that may be absent, in which case it is `default`.
#[inline(always)]
pub fn or_default<'a, T: Field<'a>>(
    field: &'static str,
    value: Option<Text<'a>>,
    default: T,
) -> Result<T, HeaderError> {
    match value {
        None => Ok(default),
        Some(text) => {
            let read = <Option<T> as Field>::read(text);
            let read = read.ok_or_else(|| HeaderError::malformed(field, text, T::EXPECTED))?;
            Ok(read.unwrap_or(default))
        }
    }
}

/// Declares typed headers, one row per field:
///
/// ```text
/// header! {
///     /// PULL_MESSAGE.
///     pub struct PullHeader<'a> {
///         topic: Text<'a> => "topic" required,
///         sub_version: i64 => "subVersion" default(0),
///         subscription: Option<Text<'a>> => "subscription" optional,
///         producer_group: Text<'a> => "producerGroup" | "a" required,
///     }
/// }
/// ```
///
/// Further names after `|` are accepted on reading; the first one is written.
#[macro_export]
macro_rules! header {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $(
                $(#[$field_meta:meta])*
                $field:ident : $type:ty => $wire:literal $(| $alias:literal)*
                    $kind:ident $(($default:expr))?
            ),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub struct $name $(<$life>)? {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl<'h $(, $life)?> $crate::header::Header<'h> for $name $(<$life>)?
        where
            $('h: $life, $life: 'h,)?
        {
            fn decode(ext: &$crate::ext::Ext<'h>) -> Result<Self, $crate::header::HeaderError> {
                // Numbers the fields.
                #[allow(non_camel_case_types)]
                enum At { $($field,)* Count }
                const ROWS: &[(&str, u8)] = &[$(
                    ($wire, At::$field as u8),
                    $(($alias, At::$field as u8),)*
                )*];
                static TABLE: $crate::key_table::KeyTable = $crate::key_table::KeyTable::of(ROWS);
                let found: [_; At::Count as usize] = ext.locate(&TABLE);
                Ok(Self {
                    $($field: {
                        let value = ext.located(found[At::$field as usize]);
                        $crate::header!(@read $kind $(($default))? $wire, value)
                    },)*
                })
            }

            #[inline]
            fn encode<S: $crate::header::FieldSink>(&self, sink: &mut S) {
                $($crate::header::Field::write(&self.$field, $wire, sink);)*
                let _ = sink;
            }
        }
    )*};
    (@read required $wire:literal, $value:ident) => {
        $crate::header::required($wire, $value)?
    };
    (@read optional $wire:literal, $value:ident) => {
        $crate::header::or_default($wire, $value, None)?
    };
    (@read default($default:expr) $wire:literal, $value:ident) => {
        $crate::header::or_default($wire, $value, $default)?
    };
}
