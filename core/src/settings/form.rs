//! What a setting's value may look like, and how it is read and printed.
//!
//! Owns `Form` (the shape, range and unit of one row, and the words that say what is expected) and `Value` (the Rust types a
//! row may have). It never knows a key.

/// Shape, unit and range of a setting's value.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// `true` or `false`, any case.
    Flag,
    /// A whole number in `min..=max`.
    Number { min: i64, max: i64, unit: Unit },
    /// One of these words, any case.
    Choice(&'static [&'static str]),
    /// Free text for which `fits` holds; `what` says it in words.
    Text { what: &'static str, fits: fn(&str) -> bool },
    /// A value the Java broker offers and this one does not: only `only` is accepted, and the refusal says why.
    Only { only: &'static str, why: &'static str },
}

/// The unit of a [`Form::Number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain count.
    Count,
    /// Bytes; `k`, `m` and `g` may follow (powers of 1024).
    Bytes,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Hours.
    Hours,
    /// Percent.
    Percent,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    Permission,
}

impl Unit {
    /// The unit's name as documentation shows it; empty for plain counts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Bytes => "bytes",
            Unit::Millis => "ms",
            Unit::Seconds => "s",
            Unit::Hours => "h",
            Unit::Percent => "%",
            Unit::Permission => "permission bits",
        }
    }
}

impl Form {
    /// What a value of this form looks like, in words for a refusal and for the documentation.
    #[must_use]
    pub fn expected(&self) -> String {
        match *self {
            Form::Flag => "true or false".to_owned(),
            Form::Number { min, max, unit } => {
                let unit = match unit {
                    Unit::Count => "a number".to_owned(),
                    Unit::Bytes => "bytes (k, m, g may follow)".to_owned(),
                    other => other.name().to_owned(),
                };
                if max == i64::MAX { format!("{unit}, {min} or more") } else { format!("{unit}, {min} to {max}") }
            }
            Form::Choice(words) => format!("one of {}", words.join(", ")),
            Form::Text { what, .. } => what.to_owned(),
            Form::Only { only, why } => format!("only {only}: {why}"),
        }
    }

    /// The number in `text`, when this form is a number and the text lies in its range.
    fn number(&self, text: &str) -> Option<i64> {
        if let Form::Only { only, .. } = *self {
            return (only == text).then(|| text.parse().ok()).flatten();
        }
        let Form::Number { min, max, unit } = *self else {
            return None;
        };
        let (digits, scale) = match (unit, text.as_bytes().last()?.to_ascii_lowercase()) {
            (Unit::Bytes, b'k') => (&text[..text.len() - 1], 1024),
            (Unit::Bytes, b'm') => (&text[..text.len() - 1], 1024 * 1024),
            (Unit::Bytes, b'g') => (&text[..text.len() - 1], 1024 * 1024 * 1024),
            _ => (text, 1),
        };
        let number = digits.trim_end().parse::<i64>().ok()?.checked_mul(scale)?;
        (min..=max).contains(&number).then_some(number)
    }

    /// The index of the word that `text` is, when this form is a choice.
    #[must_use]
    pub fn choice(&self, text: &str) -> Option<usize> {
        let Form::Choice(words) = *self else {
            return None;
        };
        words.iter().position(|word| word.eq_ignore_ascii_case(text))
    }
}

/// A Rust type that a row of a settings table may have.
pub trait Value: Sized {
    /// Reads `text` (already trimmed); `None` when it does not fit the form.
    fn read(text: &str, form: &Form) -> Option<Self>;
    /// The text that `read` turns into an equal value again.
    fn print(&self) -> String;
}

impl Value for bool {
    fn read(text: &str, form: &Form) -> Option<Self> {
        if let Form::Only { only, .. } = form
            && !only.eq_ignore_ascii_case(text)
        {
            return None;
        }
        [(true, "true"), (false, "false")]
            .into_iter()
            .find(|(_, word)| word.eq_ignore_ascii_case(text))
            .map(|(flag, _)| flag)
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn read(text: &str, form: &Form) -> Option<Self> {
        match form {
            Form::Text { fits, .. } => fits(text).then(|| text.to_owned()),
            Form::Only { only, .. } => only.eq_ignore_ascii_case(text).then(|| (*only).to_owned()),
            Form::Choice(words) => form.choice(text).map(|index| words[index].to_owned()),
            Form::Flag | Form::Number { .. } => None,
        }
    }

    fn print(&self) -> String {
        self.clone()
    }
}

/// Empty text is "not set".
impl<T: Value> Value for Option<T> {
    fn read(text: &str, form: &Form) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text, form).map(Some) }
    }

    fn print(&self) -> String {
        self.as_ref().map(Value::print).unwrap_or_default()
    }
}

macro_rules! number_values {
    ($($number:ty)*) => { $(
        impl Value for $number {
            fn read(text: &str, form: &Form) -> Option<Self> {
                form.number(text).and_then(|number| <$number>::try_from(number).ok())
            }

            fn print(&self) -> String {
                self.to_string()
            }
        }
    )* };
}
number_values! { u16 u32 u64 i32 i64 usize }

/// Defines an enum whose variants are the words of a [`Form::Choice`], in the same order.
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$variant_meta])* $variant),* }

        impl $name {
            /// The form of a row of this type.
            pub const FORM: $crate::settings::Form = $crate::settings::Form::Choice(&[$($word),*]);
        }

        impl $crate::settings::Value for $name {
            fn read(text: &str, _form: &$crate::settings::Form) -> Option<Self> {
                [$($name::$variant),*].get(Self::FORM.choice(text)?).copied()
            }

            fn print(&self) -> String {
                match self { $($name::$variant => $word.to_owned()),* }
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Form = Form::Number { min: 1024, max: 1 << 30, unit: Unit::Bytes };

    #[test]
    fn numbers_keep_to_their_range_and_bytes_take_suffixes() {
        assert_eq!(u32::read("4096", &BYTES), Some(4096));
        assert_eq!(u32::read("4m", &BYTES), Some(4 << 20));
        assert_eq!(u32::read("1G", &BYTES), Some(1 << 30));
        assert_eq!(u32::read("2g", &BYTES), None);
        assert_eq!(u32::read("1023", &BYTES), None);
        assert_eq!(u32::read("-4k", &BYTES), None);
        assert_eq!(u32::read("9223372036854775807g", &BYTES), None);
        assert_eq!(u32::read("", &BYTES), None);
        assert_eq!(u64::read("4k", &Form::Number { min: 0, max: 9999, unit: Unit::Count }), None);
    }

    #[test]
    fn flags_and_choices_ignore_case() {
        assert_eq!(bool::read("True", &Form::Flag), Some(true));
        assert_eq!(bool::read("yes", &Form::Flag), None);
        let only = Form::Only { only: "false", why: "not served" };
        assert_eq!(bool::read("FALSE", &only), Some(false));
        assert_eq!(bool::read("true", &only), None);
    }

    #[test]
    fn an_optional_value_is_unset_by_empty_text() {
        let form = Form::Text { what: "a word", fits: |text| !text.contains(' ') };
        assert_eq!(<Option<String>>::read("", &form), Some(None));
        assert_eq!(<Option<String>>::read("a", &form), Some(Some("a".to_owned())));
        assert_eq!(<Option<String>>::read("a b", &form), None);
    }
}
